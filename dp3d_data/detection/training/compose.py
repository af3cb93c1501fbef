"""Training images and crops from rendered ones: random crops, rotations, mirroring, colour jitter and copy-paste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageFilter
from scipy.ndimage import convolve, distance_transform_edt, generate_binary_structure, maximum_filter

from dp3d_data.detection.crops import MARGIN

ZOOM = 1.5  # strongest enlargement of an image
TURN = 0.2  # largest rotation, radians
PASTED = (0.35, 1.15)  # scale of an animal that is laid over another image
HIDDEN = 0.6  # most of an animal that one laid over it may hide
GREY = (127, 127, 127)  # beyond the border of an image
LEAST_PIXELS = 40  # animals of which less is seen are no objects


@dataclass(frozen=True)
class Picture:
    """An image with what is true of each pixel.

    image: RGB. objects: which animal a pixel shows, -1 for none. vertex_map: its template vertex, -1 outside.
    """

    image: UInt8[np.ndarray, "H W 3"]
    objects: Int[np.ndarray, "H W"]
    vertex_map: Int[np.ndarray, "H W"]


def warped(picture: Picture, source_from_target: Float[np.ndarray, "2 3"], side: int = 0) -> Picture:
    """The picture under an affine map of pixel positions; what lies outside is grey and shows nothing.

    Args:
        side: of the square result, pixels; 0 for the picture's own size.
    """
    height, width = (side, side) if side else picture.objects.shape

    affine = (width, height), Image.Transform.AFFINE, source_from_target.ravel().tolist()
    # Both maps travel as one, shifted so that nothing is 0 and an area that is brought in from outside shows nothing.
    joint = np.where(picture.objects >= 0, 1 + picture.objects + 256 * picture.vertex_map.astype(np.int64), 0)
    numbers = Image.fromarray(joint.astype(np.int32)).transform(*affine, Image.Resampling.NEAREST, fillcolor=0)
    image = Image.fromarray(picture.image).transform(*affine, Image.Resampling.BILINEAR, fillcolor=GREY)
    joint = np.asarray(numbers)
    shown = joint > 0
    objects = np.where(shown, (joint - 1) % 256, -1).astype(np.int32)
    vertices = np.where(shown, (joint - 1) // 256, -1).astype(np.int32)
    return Picture(np.asarray(image), objects, vertices)


def similarity(
    scale: float, turn: float, centre: Float[np.ndarray, "2"], place: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "2 3"]:
    """source_from_target of an enlargement and a turn that bring `centre` to `place`, pixels and radians."""
    inverse = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
    return np.concatenate([inverse, (centre - inverse @ place)[:, None]], axis=1)


def random_crop(rng: np.random.Generator, picture: Picture) -> Picture:
    """Turn a little, enlarge so that no corner is empty, and move what is cut off."""
    side = np.array(picture.objects.shape[::-1], dtype=np.float64)
    turn = rng.uniform(-TURN, TURN) if rng.random() < 0.5 else 0.0
    cover = abs(np.cos(turn)) + abs(np.sin(turn))  # of a square that holds the turned square
    scale = cover * np.exp(rng.uniform(0, np.log(ZOOM)) if rng.random() < 0.5 else 0.0)
    spare = (1 - cover / scale) / 2 * side
    return warped(picture, similarity(scale, turn, side / 2 + rng.uniform(-1, 1, 2) * spare, side / 2))


def mirrored(picture: Picture, symmetry: Int[np.ndarray, "vertices"]) -> Picture:
    """The mirror image: left becomes right in the picture and on the template."""
    flipped = picture.vertex_map[:, ::-1]
    ids = np.where(flipped >= 0, symmetry[np.maximum(flipped, 0)], -1).astype(picture.vertex_map.dtype)
    return Picture(picture.image[:, ::-1], picture.objects[:, ::-1], ids)


def copy_pasted(rng: np.random.Generator, picture: Picture, other: Picture) -> Picture:
    """One animal of `other` cut out, resized, turned, and laid over; the picture itself where it would hide too much.

    Animals that the border of their image cuts are left there: the cut would be seen.
    """
    rim = np.concatenate([other.objects[[0, -1]].ravel(), other.objects[:, [0, -1]].ravel()])
    whole = np.setdiff1d(other.objects, [-1, *rim])
    if not len(whole):
        return picture
    chosen = int(whole[rng.integers(len(whole))])
    rows, columns = np.nonzero(other.objects == chosen)
    centre = np.array([columns.mean(), rows.mean()]) + 0.5
    side = np.array(picture.objects.shape[::-1])
    place = rng.uniform(0.05, 0.95, 2) * side
    scale = np.exp(rng.uniform(*np.log(PASTED)))
    cut = warped(other, similarity(scale, rng.uniform(-TURN, TURN), centre, place))
    cover = cut.objects == chosen
    for name in np.unique(picture.objects[picture.objects >= 0]):
        mine = picture.objects == name
        if (cover & mine).sum() > HIDDEN * mine.sum():
            return picture
    # The share of a cross of five pixels that is covered, nothing beyond the cover itself.
    share = convolve(cover.astype(np.float32), generate_binary_structure(2, 1), mode="nearest") / 5
    alpha = (cover * share)[:, :, None]
    tone = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3))
    image = picture.image + alpha * (cut.image * tone - picture.image)
    number = picture.objects.max() + 1
    return Picture(
        np.clip(np.round(image), 0, 255).astype(np.uint8),
        np.where(cover, number, picture.objects),
        np.where(cover, cut.vertex_map, picture.vertex_map),
    )


def coarsened(rng: np.random.Generator, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Now and then as if enlarged from a small photograph, or out of focus: sharpness says nothing of what is shown."""
    kind = rng.random()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if kind < 0.25:
        small = max(16, int(len(image) * rng.uniform(0.25, 0.7)))
        picture = picture.resize((small, small), Image.Resampling.BILINEAR)
        picture = picture.resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    elif kind < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.5))))
    return np.asarray(picture)


def colour_jittered(rng: np.random.Generator, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Brightness, contrast, colour cast and now and then no colour."""
    values = np.arange(256) / 255
    gamma, contrast = np.exp(rng.normal(0, 0.2)), np.exp(rng.normal(0, 0.15))
    curves = [np.clip(((values**gamma) * np.exp(rng.normal(0, 0.06)) - 0.5) * contrast + 0.5, 0, 1) for _ in range(3)]
    table = np.round(255 * np.stack(curves)).astype(np.uint8)
    lit = np.stack([table[channel][image[:, :, channel]] for channel in range(3)], axis=2)
    if rng.random() < 0.06:
        lit[:] = np.asarray(Image.fromarray(lit).convert("L"))[:, :, None]
    return lit


THICK = 0.09  # of the crop's side: parts of at least this half-width have weight 1
SHIFT, LOOSE, TIGHT = 0.08, 1.35, 0.85  # how detectors' boxes differ from true ones: centre, side


# One animal in the middle of a square: image [S, S, 3] RGB; mask [S, S], its pixels; vertex_map [S, S], its vertex,
# -1 where it is unknown or another's; weights [S, S] of each pixel, larger in and around thin parts.
Crop = tuple[UInt8[np.ndarray, "S S 3"], Bool[np.ndarray, "S S"], Int[np.ndarray, "S S"], Float[np.ndarray, "S S"]]


@dataclass(frozen=True)
class Batch:
    """Images side by side, their objects one after the other; or crops side by side, each with one object.

    Attributes:
        images: [n, 3, H, W] uint8, BGR.
        image_of: [m] image of each object, ascending.
        classes: [m] class of each object.
        boxes: [m, 4] xyxy, image pixels; of crops the whole crop.
        masks: [m, H, W] the objects' pixels.
        points: [P, 2] centres of drawn object pixels, image pixels.
        vertices: [P] their template vertices.
        owner: [P] object of each point.
        weights: [m, H, W] of each pixel of crops.
        crops: for networks that look again at each box.
    """

    images: torch.Tensor
    image_of: torch.Tensor
    classes: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    points: torch.Tensor
    vertices: torch.Tensor
    owner: torch.Tensor
    weights: torch.Tensor | None = None
    crops: Batch | None = None

    def by_image(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Boxes, classes or others of all objects, for each image."""
        return [values[self.image_of == index] for index in range(len(self.images))]

    def to(self, device: str) -> Batch:
        """The batch with all its tensors there."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if value is not None})


def cropped(rng: np.random.Generator, picture: Picture, chosen: int, side: int, most: float) -> Crop | None:
    """The animal `chosen` under a box as a detector would give it, turned a little; None where too little is seen.

    Args:
        side: of the crop, pixels.
        most: weight of the thinnest parts.
    """
    rows, columns = np.nonzero(picture.objects == chosen)
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    extent = (high - low).max()
    centre = (low + high) / 2 + rng.uniform(-SHIFT, SHIFT, 2) * extent
    scale = side / (MARGIN * extent * np.exp(rng.uniform(np.log(TIGHT), np.log(LOOSE))))
    turn = rng.normal(0, TURN) if rng.random() < 0.6 else 0.0
    cut = warped(picture, similarity(scale, turn, centre, np.array([side, side]) / 2), side)
    mask = cut.objects == chosen
    if mask.sum() < LEAST_PIXELS:
        return None
    return cut.image, mask, np.where(mask, cut.vertex_map, -1), thin_weights(mask, most)


def thin_weights(mask: Bool[np.ndarray, "S S"], most: float) -> Float[np.ndarray, "S S"]:
    """Weight of each pixel: 1 in thick parts and far from the animal, up to `most` in thin parts and beside them
    (ours).

    A part's thickness is the largest distance to the border nearby; the weight is inverse to it.
    """
    if most <= 1:
        return np.ones(mask.shape, dtype=np.float32)
    quarter = mask[::2, ::2]
    thick = THICK * len(mask) / 2
    reach = 2 * int(thick) + 1
    depth = maximum_filter(distance_transform_edt(quarter), size=reach)
    weight = np.where(quarter, np.clip(thick / np.maximum(depth, 0.5), 1, most), 1)
    weight = maximum_filter(weight, size=max(3, int(0.5 * thick)))
    return np.kron(weight, np.ones((2, 2)))[: len(mask), : len(mask)].astype(np.float32)


def drawn_points(
    vertex_map: Int[np.ndarray, "h w"],
    count: int,
    rng: np.random.Generator,
    weights: Float[np.ndarray, "h w"] | None = None,
) -> tuple[Float[np.ndarray, "points 2"], Int[np.ndarray, "points"]]:
    """Up to `count` object pixels, uniformly or by weight: centres [P, 2] in image pixels, and vertices [P]."""
    rows, columns = np.nonzero(vertex_map >= 0)
    shares = None
    if weights is not None and len(rows):
        shares = weights[rows, columns] / weights[rows, columns].sum(dtype=np.float64)
    chosen = rng.choice(len(rows), size=min(count, len(rows)), replace=False, p=shares)
    points = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32) + 0.5
    return points, vertex_map[rows[chosen], columns[chosen]].astype(np.int64)


def stacked(crops: Sequence[tuple[np.random.Generator, Crop, int]], points: int) -> Batch:
    """Crops with their classes, side by side."""
    drawn = [drawn_points(vertex_map, points, rng, weights) for rng, (_, _, vertex_map, weights), _ in crops]
    images = np.stack([image[:, :, ::-1].transpose(2, 0, 1) for _, (image, _, _, _), _ in crops])
    return Batch(
        torch.from_numpy(images),
        torch.arange(len(crops)),
        torch.tensor([class_id for _, _, class_id in crops]),
        torch.tensor([0.0, 0.0, images.shape[3], images.shape[2]]).repeat(len(crops), 1),
        torch.from_numpy(np.stack([mask for _, (_, mask, _, _), _ in crops])),
        torch.from_numpy(np.concatenate([places for places, _ in drawn])),
        torch.from_numpy(np.concatenate([vertices for _, vertices in drawn])),
        torch.from_numpy(np.repeat(np.arange(len(drawn)), [len(vertices) for _, vertices in drawn])),
        torch.from_numpy(np.stack([weights for _, (_, _, _, weights), _ in crops])),
    )
