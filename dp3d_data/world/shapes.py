"""Random painted things: furniture, stones, limbs and furry blobs, behind or before the animal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from dp3d_data.world.coats import PALETTES
from dp3d_data.world.noise import pixel_noise, pixel_octaves


def paint_shapes(
    rng: np.random.Generator,
    picture: Float[np.ndarray, "S S 3"],
    count: int,
    *,
    smallest: float,
    largest: float,
    square: float = 0.35,
) -> None:
    """Paint shapes over a picture, in place; sizes are shares of its side, `square` the share of boxes."""
    size = len(picture)
    for _ in range(count):
        extent = size * np.exp(rng.uniform(np.log(smallest), np.log(largest)))
        paint(rng, picture, random_outline(rng, size, extent, rng.uniform(-0.1, 1.1, 2) * size, square))


def paint(rng: np.random.Generator, picture: Float[np.ndarray, "S S 3"], alpha: Float[np.ndarray, "S S"]) -> None:
    """Fill an outline with a lit texture, in place."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) < 2 or len(columns) < 2:
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cover = alpha[part][:, :, None]
    picture[part] += cover * (surface(rng, *cover.shape[:2]) - picture[part])


def surface(rng: np.random.Generator, height: int, width: int) -> Float[np.ndarray, "H W 3"]:
    """A texture of one thing: a colour, half of them a coat's, with grain and light from one side."""
    if rng.random() < 0.5:
        colour = np.array(list(PALETTES.values())[rng.integers(len(PALETTES))][rng.integers(3)])
    else:
        colour = rng.uniform(0.05, 0.95) * np.clip(1 + rng.normal(0, 0.25, 3), 0.1, 1.6)
    tone = 1 + rng.uniform(0, 0.35) * pixel_noise(rng, height, width, 2)
    if rng.random() < 0.6:
        grain = pixel_octaves(rng, height, width, rng.uniform(0.05, 0.3) * height, 3, aspect=rng.choice([0.3, 1.0, 3.0]))
        tone = tone + rng.uniform(0.05, 0.4) * grain
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    tone = tone + rng.normal(0, 0.25) * down + rng.normal(0, 0.25) * across
    return np.clip(colour * tone[:, :, None], 0, 1).astype(np.float32)


def random_outline(
    rng: np.random.Generator, size: int, extent: float, centre: Float[np.ndarray, "2"], square: float = 0.35
) -> Float[np.ndarray, "S S"]:
    """The cover 0..1 of a box, blob, limb or animal-like group of blobs."""
    kind = rng.choice(("box", "blob", "limbs", "beast"), p=(square, (1 - square) * 0.5, (1 - square) * 0.25, (1 - square) * 0.25))
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    if kind == "box":
        _polygon(draw, rng, extent, centre, 4, 0.03)
    elif kind == "blob":
        _polygon(draw, rng, extent, centre, int(rng.integers(7, 24)), 0.2)
    elif kind == "limbs":
        _limbs(draw, rng, extent, centre, int(rng.integers(1, 4)))
    else:
        _beast(draw, rng, extent, centre)
    return np.asarray(image, dtype=np.float32) / 255


def _polygon(draw, rng: np.random.Generator, extent: float, centre: np.ndarray, corners: int, wobble: float) -> None:
    turn = rng.normal(0, 0.15) + np.pi / 4 if corners == 4 else rng.uniform(0, 6.3)
    angle = turn + 2 * np.pi * np.arange(corners) / corners
    radius = extent * 0.5 * np.exp(rng.normal(0, wobble, corners))
    stretch = np.exp(rng.normal(0, 0.5, 2))
    points = centre + stretch * np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    draw.polygon([tuple(map(float, point)) for point in points], fill=255)


def _limbs(draw, rng: np.random.Generator, extent: float, centre: np.ndarray, count: int) -> None:
    for _ in range(count):
        start = centre + rng.normal(0, 0.2 * extent, 2)
        end = start + np.array([rng.normal(0, 0.25), rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)]) * extent
        width = max(int(extent * rng.uniform(0.05, 0.25)), 1)
        draw.line([tuple(map(float, start)), tuple(map(float, end))], fill=255, width=width)
        for x, y in (start, end):
            draw.ellipse([float(x - width / 2), float(y - width / 2), float(x + width / 2), float(y + width / 2)], fill=255)


def _beast(draw, rng: np.random.Generator, extent: float, centre: np.ndarray) -> None:
    """A body, a head and sticks under it, that is no dog."""
    for _ in range(int(rng.integers(1, 4))):
        half = extent * rng.uniform(0.15, 0.5, 2)
        x, y = centre + rng.normal(0, 0.3 * extent, 2)
        draw.ellipse([float(x - half[0]), float(y - half[1]), float(x + half[0]), float(y + half[1])], fill=255)
    if rng.random() < 0.6:
        _limbs(draw, rng, 0.5 * extent, centre + np.array([0, 0.4 * extent]), int(rng.integers(2, 5)))


def paint_lines(rng: np.random.Generator, picture: Float[np.ndarray, "S S 3"]) -> None:
    """A fence, a grid, branches or stalks, in place: thin things that are no legs."""
    size = len(picture)
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    kind, width = rng.choice(("fence", "grid", "branches")), max(1, int(size * rng.uniform(0.003, 0.02)))
    if kind == "branches":
        for _ in range(int(rng.integers(4, 30))):
            steps = rng.normal(rng.normal(0, 0.02, 2), 0.03, (int(rng.integers(3, 9)), 2)) * size
            path = np.cumsum(np.concatenate([rng.uniform(0, size, (1, 2)), steps]), axis=0)
            draw.line([tuple(map(float, point)) for point in path], fill=255, width=width)
    else:
        gap, lean, reach = size * rng.uniform(0.03, 0.2), rng.normal(0, 0.05), np.sort(rng.uniform(0, 1, 2)) * size
        for x in np.arange(rng.uniform(0, gap), size, gap):
            draw.line([float(x), float(reach[0]), float(x + lean * size), float(reach[1])], fill=255, width=width)
        rows = np.arange(reach[0], reach[1], gap) if kind == "grid" else reach[0] + np.ptp(reach) * rng.uniform(0, 1, 2)
        for y in rows:
            draw.line([0.0, float(y), float(size), float(y + lean * size)], fill=255, width=width)
    paint(rng, picture, np.asarray(image, dtype=np.float32) / 255)


def occluders(rng: np.random.Generator, picture: Float[np.ndarray, "S S 3"], mask: Bool[np.ndarray, "S S"]) -> Bool[np.ndarray, "S S"]:
    """Paint one to three things before the animal, in place; returns the pixels they cover. At most half of it hides."""
    size = len(picture)
    covered = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return covered
    reach = float(max(np.ptp(rows), np.ptp(columns), 8))
    for _ in range(int(rng.integers(1, 4))):
        pick = rng.integers(len(rows))
        centre = np.array([columns[pick], rows[pick]]) + rng.normal(0, 0.15 * reach, 2)
        alpha = random_outline(rng, size, reach * rng.uniform(0.1, 0.5), centre)
        hides = covered | (alpha > 0.5)
        if (hides & mask).sum() > 0.5 * len(rows):
            continue
        paint(rng, picture, alpha)
        covered = hides
    return covered
