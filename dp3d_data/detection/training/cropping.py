"""Square crops around single animals, cut from rendered pictures as the network's second look cuts them from
photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import distance_transform_edt, maximum_filter

from dp3d_data.detection.crops import MARGIN
from dp3d_data.detection.training.compose import LEAST_PIXELS, TURN, Picture, similarity, warped

THICK = 0.09  # of the crop's side: parts of at least this half-width have weight 1
SHIFT, LOOSE, TIGHT = 0.08, 1.35, 0.85  # how detectors' boxes differ from true ones: centre, side


@dataclass(frozen=True)
class Crop:
    """One animal in the middle of a square.

    image [S, S, 3] RGB. mask [S, S]: its pixels. vertex_map [S, S]: template vertex, -1 where it is unknown or
    another's. weights [S, S]: of each pixel, larger in and around thin parts.
    """

    image: UInt8[np.ndarray, "S S 3"]
    mask: Bool[np.ndarray, "S S"]
    vertex_map: Int[np.ndarray, "S S"]
    weights: Float[np.ndarray, "S S"]


@dataclass(frozen=True)
class Crops:
    """Crops side by side.

    Attributes:
        images: [n, 3, S, S] uint8, BGR.
        classes: [n] class of each.
        masks: [n, S, S] the animals' pixels.
        weights: [n, S, S] of each pixel.
        points: [P, 2] centres of drawn pixels, crop pixels.
        vertices: [P] their template vertices.
        owner: [P] crop of each.
    """

    images: torch.Tensor
    classes: torch.Tensor
    masks: torch.Tensor
    weights: torch.Tensor
    points: torch.Tensor
    vertices: torch.Tensor
    owner: torch.Tensor


def cropped(rng: np.random.Generator, picture: Picture, chosen: int, side: int, most: float) -> Crop | None:
    """The animal `chosen` under a box as a detector would give it, turned a little; None where too little is seen of
    it.

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
    return Crop(cut.image, mask, np.where(mask, cut.vertex_map, -1), thin_weights(mask, most))


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
    """Up to `count` object pixels, uniformly or by weight: centres [P, 2] in image pixels, and template vertices
    [P]."""
    rows, columns = np.nonzero(vertex_map >= 0)
    shares = (
        None
        if weights is None or not len(rows)
        else weights[rows, columns] / weights[rows, columns].sum(dtype=np.float64)
    )
    chosen = rng.choice(len(rows), size=min(count, len(rows)), replace=False, p=shares)
    points = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32) + 0.5
    return points, vertex_map[rows[chosen], columns[chosen]].astype(np.int64)


def stacked(crops: Sequence[tuple[np.random.Generator, Crop, int]], points: int) -> Crops:
    """Crops with their classes, side by side."""
    drawn = [drawn_points(crop.vertex_map, points, rng, crop.weights) for rng, crop, _ in crops]
    return Crops(
        torch.from_numpy(np.stack([crop.image[:, :, ::-1].transpose(2, 0, 1) for _, crop, _ in crops])),
        torch.tensor([class_id for _, _, class_id in crops]),
        torch.from_numpy(np.stack([crop.mask for _, crop, _ in crops])),
        torch.from_numpy(np.stack([crop.weights for _, crop, _ in crops])),
        torch.from_numpy(np.concatenate([places for places, _ in drawn])),
        torch.from_numpy(np.concatenate([vertices for _, vertices in drawn])),
        torch.from_numpy(np.repeat(np.arange(len(drawn)), [len(vertices) for _, vertices in drawn])),
    )
