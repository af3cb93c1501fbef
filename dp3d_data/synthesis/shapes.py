"""Random painted things: furniture, stones, limbs and furry blobs, behind or before the animal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFilter

from dp3d_data.synthesis.coats import PALETTES
from dp3d_data.synthesis.effects import pixel_noise, pixel_octaves

BEFORE = {"thing": 0.35, "lead": 0.18, "legs": 0.13, "arm": 0.12, "grass": 0.15, "furniture": 0.07}
SKINS = ((0.85, 0.66, 0.54), (0.72, 0.5, 0.38), (0.5, 0.33, 0.24), (0.3, 0.2, 0.15))
CLOTHS = (
    (0.16, 0.2, 0.32),
    (0.3, 0.36, 0.5),
    (0.08, 0.08, 0.09),
    (0.5, 0.45, 0.35),
    (0.6, 0.12, 0.12),
    (0.8, 0.8, 0.78),
)
GRASSES = ((0.25, 0.38, 0.14), (0.4, 0.5, 0.2), (0.55, 0.52, 0.3), (0.15, 0.25, 0.1))


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


def paint(
    rng: np.random.Generator, picture: Float[np.ndarray, "S S 3"], alpha: Float[np.ndarray, "S S"], colours: tuple = ()
) -> None:
    """Fill an outline with a lit texture, in place; of one of some colours, or any."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if len(rows) < 2 or len(columns) < 2:
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    cover = alpha[part][:, :, None]
    colour = surface(rng, cover.shape[0], cover.shape[1], colours)
    if colours:  # limbs are round
        soft = Image.fromarray(np.round(255 * alpha[part]).astype(np.uint8))
        soft = soft.filter(ImageFilter.BoxBlur(len(picture) / 40))
        colour = colour * (0.25 + 0.85 * np.asarray(soft, dtype=np.float32)[:, :, None] / 255)
    picture[part] += cover * (colour - picture[part])


def surface(rng: np.random.Generator, height: int, width: int, colours: tuple = ()) -> Float[np.ndarray, "H W 3"]:
    """A texture in one of some colours, or any, half of them a coat's, with grain and light from one side."""
    if colours:
        colour = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.6, 1.2)
    elif rng.random() < 0.5:
        colour = np.array(list(PALETTES.values())[rng.integers(len(PALETTES))][rng.integers(3)])
    else:
        colour = rng.uniform(0.05, 0.95) * np.clip(1 + rng.normal(0, 0.25, 3), 0.1, 1.6)
    tone = 1 + rng.uniform(0, 0.35) * pixel_noise(rng, height, width, 2)
    if rng.random() < 0.6:
        cells, aspect = rng.uniform(0.05, 0.3) * height, rng.choice([0.3, 1.0, 3.0])
        grain = pixel_octaves(rng, height, width, cells, 3, aspect=aspect)
        tone = tone + rng.uniform(0.05, 0.4) * grain
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    tone = tone + rng.normal(0, 0.25) * down + rng.normal(0, 0.25) * across
    return np.clip(colour * tone[:, :, None], 0, 1).astype(np.float32)


def random_outline(
    rng: np.random.Generator, size: int, extent: float, centre: Float[np.ndarray, "2"], square: float = 0.35
) -> Float[np.ndarray, "S S"]:
    """The cover 0..1 of a box, blob, limb or animal-like group of blobs."""
    shares = (square, (1 - square) * 0.5, (1 - square) * 0.25, (1 - square) * 0.25)
    kind = rng.choice(("box", "blob", "limbs", "beast"), p=shares)
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
            low, high = np.array([x, y]) - width / 2, np.array([x, y]) + width / 2
            draw.ellipse([*low.tolist(), *high.tolist()], fill=255)


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


def occluders(
    rng: np.random.Generator,
    picture: Float[np.ndarray, "S S 3"],
    mask: Bool[np.ndarray, "S S"],
    neck: Float[np.ndarray, "2"],
) -> Bool[np.ndarray, "S S"]:
    """Paint one to three things before the animal, in place; returns the pixels they cover. At most half of it hides.

    Args:
        neck: where a lead begins, pixels.
    """
    covered = np.zeros_like(mask)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return covered
    box = np.array([columns.min(), rows.min(), columns.max(), rows.max()], dtype=np.float64)
    for _ in range(int(rng.integers(1, 4))):
        pick = rng.integers(len(rows))
        kind = str(rng.choice(list(BEFORE), p=list(BEFORE.values())))
        alpha, colours = before(rng, kind, len(picture), box, np.array([columns[pick], rows[pick]]), neck)
        hides = covered | (alpha > 0.5)
        if (hides & mask).sum() > 0.5 * len(rows):
            continue
        paint(rng, picture, alpha, colours)
        covered = hides
    return covered


def before(
    rng: np.random.Generator,
    kind: str,
    size: int,
    box: Float[np.ndarray, "4"],
    target: Float[np.ndarray, "2"],
    neck: Float[np.ndarray, "2"],
) -> tuple[Float[np.ndarray, "S S"], tuple]:
    """The cover 0..1 of one of BEFORE at a pixel of an animal in a box, and the colours it may have (none: any)."""
    reach = max(*(box[2:] - box[:2]), 8.0)
    if kind == "thing":
        return random_outline(rng, size, reach * rng.uniform(0.1, 0.5), target + rng.normal(0, 0.15 * reach, 2)), ()
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    if kind == "lead":
        middle = (neck + target) / 2 + rng.normal(0, 0.3 * size, 2)
        _curve(draw, [neck, middle, _border(rng, size)], [max(1, round(size * rng.uniform(0.004, 0.014)))] * 2)
    elif kind == "legs":
        x, width = target[0] + rng.normal(0, 0.2 * reach), reach * rng.uniform(0.07, 0.2)
        foot = box[3] + reach * rng.uniform(-0.2, 0.2)
        for side in range(int(rng.integers(1, 3))):
            start = np.array([x + 1.4 * side * width + rng.normal(0, 0.3 * width), foot])
            end = np.array([x + width * side, -width])
            _curve(draw, [start, (start + end) / 2 + rng.normal(0, 0.2 * width, 2), end], [0.6 * width, 1.3 * width])
    elif kind == "arm":
        width = reach * rng.uniform(0.05, 0.13)
        start = _border(rng, size)
        _curve(draw, [target, (start + target) / 2 + rng.normal(0, 0.15 * reach, 2), start], [0.7 * width, 1.4 * width])
        for _ in range(4):
            middle, angle = target + rng.normal(0, 0.6 * width, 2), rng.uniform(0, 2 * np.pi)
            end = target + 1.1 * width * np.array([np.cos(angle), np.sin(angle)])
            _curve(draw, [target, middle, end], [0.4 * width, 0.25 * width])
    elif kind == "grass":
        for x in rng.uniform(box[0] - 0.1 * reach, box[2] + 0.1 * reach, int(rng.integers(20, 120))):
            foot, height = np.array([x, box[3] + rng.uniform(0, 0.08) * reach]), reach * rng.uniform(0.03, 0.16)
            end = foot + [rng.normal(0, 0.3) * height, -height]
            _curve(draw, [foot, foot - [0, 0.6 * height], end], [0.008 * size, 1])
    else:
        low = box[3] - reach * rng.uniform(0, 0.3)
        tilt = rng.normal(0, 0.06, 2) * size
        corners = [(-1.0, low + tilt[0]), (size, low + tilt[1]), (size, 2.0 * size), (-1.0, 2.0 * size)]
        draw.polygon([tuple(map(float, corner)) for corner in corners], fill=255)
    colours = {"legs": CLOTHS + SKINS, "arm": SKINS + CLOTHS, "grass": GRASSES}.get(kind, ())
    return np.asarray(image, dtype=np.float32) / 255, colours


def _border(rng: np.random.Generator, size: int) -> Float[np.ndarray, "2"]:
    """A place outside the image, not below it."""
    return np.array([[-0.1, rng.random()], [1.1, rng.random()], [rng.random(), -0.1]])[rng.integers(3)] * size


def _curve(draw, points: list, widths: list) -> None:
    """A bent stroke through a start, towards a middle, to an end, whose width changes from the first to the last."""
    start, middle, end = points
    steps = np.linspace(0, 1, 13)[:, None]
    path = (1 - steps) ** 2 * start + 2 * steps * (1 - steps) * middle + steps**2 * end
    for first, second, width in zip(path[:-1], path[1:], np.linspace(widths[0], widths[-1], 12), strict=True):
        draw.line([*map(float, first), *map(float, second)], fill=255, width=max(1, round(float(width))))
        if width > 3:
            x, y, half = *map(float, second), float(width) / 2
            draw.ellipse([x - half, y - half, x + half, y + half], fill=255)
