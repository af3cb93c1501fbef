"""What lies behind the animal: landscapes, rooms, textures, clutter, or the user's photographs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter

from dp3d_data.datasets.images import open_image
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.synthesis.effects import Picture, blurred, paths_below, pixel_noise, pixel_octaves
from dp3d_data.synthesis.shapes import paint_lines, paint_shapes

PHOTO_SHARE = 0.5
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

GROUNDS = (
    (0.25, 0.38, 0.14),
    (0.36, 0.46, 0.20),
    (0.45, 0.42, 0.24),
    (0.55, 0.48, 0.36),
    (0.72, 0.64, 0.50),
    (0.42, 0.40, 0.38),
    (0.60, 0.59, 0.57),
    (0.88, 0.89, 0.92),
    (0.30, 0.23, 0.16),
    (0.50, 0.35, 0.22),
    (0.18, 0.28, 0.12),
)
FLOORS = (
    (0.55, 0.38, 0.22),
    (0.70, 0.55, 0.38),
    (0.35, 0.22, 0.14),
    (0.75, 0.73, 0.70),
    (0.45, 0.45, 0.47),
    (0.6, 0.3, 0.25),
    (0.3, 0.35, 0.5),
)
WALLS = (
    (0.85, 0.82, 0.76),
    (0.72, 0.76, 0.78),
    (0.60, 0.62, 0.55),
    (0.80, 0.70, 0.60),
    (0.45, 0.48, 0.55),
    (0.9, 0.9, 0.9),
    (0.35, 0.3, 0.3),
)
SKIES = ((0.55, 0.70, 0.92), (0.80, 0.86, 0.92), (0.70, 0.72, 0.75), (0.92, 0.85, 0.78), (0.40, 0.55, 0.80))


@lru_cache(maxsize=8)
def photo_paths(folder: str) -> tuple[Path, ...]:
    """The photographs of a folder and its subfolders, in order; see `paths_below`."""
    return paths_below(folder, SUFFIXES, "photographs", "backgrounds")


def random_background(rng: np.random.Generator, size: int, elevation: float, folder: str = "") -> Picture:
    """A background, RGB 0..1; `elevation` of the camera, radians, decides where the horizon lies."""
    if folder and rng.random() < PHOTO_SHARE:
        photo = photo_crop(rng, size, photo_paths(folder))
        if photo is not None:
            return photo
    kind = rng.choice(("outdoors", "indoors", "texture", "plain"), p=(0.5, 0.28, 0.14, 0.08))
    make = {"outdoors": outdoors, "indoors": indoors, "texture": texture, "plain": plain}[str(kind)]
    picture = make(rng, size, elevation)
    blur = rng.choice([0.0, rng.uniform(0.3, 1.2), rng.uniform(1, 5)], p=[0.3, 0.35, 0.35]) * size / 256
    return blurred(picture, blur)


def photo_crop(rng: np.random.Generator, size: int, paths: tuple[Path, ...]) -> Picture | None:
    """A square part of a photograph, mirrored in half of the cases; None if the file is no picture."""
    path = paths[rng.integers(len(paths))]
    place, part, flip = rng.random(2), rng.uniform(0.4, 1), rng.random() < 0.5
    try:
        with open_image(path) as image:
            image.draft("RGB", (2 * size, 2 * size))
            side = max(int(part * min(image.size)), 1)
            left, top = (int(p * (extent - side)) for p, extent in zip(place, image.size, strict=True))
            square = left, top, left + side, top + side
            crop = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, square)
    except (InputMissing, InputCorrupt):
        return None
    picture = np.asarray(crop, dtype=np.float32) / 255
    return picture[:, ::-1] if flip else picture


def horizon_row(rng: np.random.Generator, size: int, elevation: float) -> int:
    """Where sky or wall meets the ground; above the image for steep views."""
    return int(size * (0.42 - 1.3 * elevation + rng.normal(0, 0.12)))


def outdoors(rng: np.random.Generator, size: int, elevation: float) -> Picture:
    """Sky, far trees or houses, and ground whose texture grows towards the viewer."""
    picture = np.empty((size, size, 3), dtype=np.float32)
    horizon = int(np.clip(horizon_row(rng, size, elevation), 0, size))
    rows = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    sky = np.array(SKIES[rng.integers(len(SKIES))], dtype=np.float32)
    clouds = pixel_octaves(rng, size, size, 3, 4, aspect=0.5)[:, :, None]
    picture[:] = np.clip(sky + (1 - sky) * (0.5 * rows + 0.35 * np.clip(clouds, 0, 1)), 0, 1)
    if rng.random() < 0.8 and horizon > 4:
        _skyline(rng, picture, horizon)
    picture[horizon:] = ground(rng, size, GROUNDS)[horizon:]
    if rng.random() < 0.35:
        paint_lines(rng, picture)
    paint_shapes(rng, picture, int(rng.integers(0, 7)), smallest=0.05, largest=0.5)
    return picture


def _skyline(rng: np.random.Generator, picture: Picture, horizon: int) -> None:
    """Trees, hedges or hills between sky and ground."""
    size = len(picture)
    colours = ((0.12, 0.2, 0.08), (0.25, 0.3, 0.15), (0.35, 0.38, 0.4), (0.3, 0.22, 0.15), (0.2, 0.28, 0.25))
    colour = np.array(rng.choice(colours))
    outline = pixel_octaves(rng, 2, size, 2, 5, aspect=0.04 * size)[0] if rng.random() < 0.7 else np.zeros(size)
    height = size * rng.uniform(0.05, 0.6)
    top = horizon - height * (1 + 0.5 * outline)
    tone = 1 + rng.uniform(0.3, 0.9) * pixel_octaves(rng, size, size, rng.uniform(6, 40), 4, fade=0.9)[:, :, None]
    inside = np.arange(size)[:, None] > top[None]
    picture[inside] = np.clip(colour * tone, 0, 1)[inside]


def ground(rng: np.random.Generator, size: int, colours) -> Picture:
    """A textured ground: patches, grain and blades or boards."""
    first, second = (np.array(colours[i]) for i in rng.integers(len(colours), size=2))
    patch = np.clip(0.5 + pixel_octaves(rng, size, size, rng.uniform(1.5, 6), 3, aspect=0.5), 0, 1)[:, :, None]
    colour = first + 0.6 * patch * (second - first)
    fine = pixel_octaves(rng, size, size, size / rng.uniform(5, 12), 3, fade=0.9, aspect=rng.choice([0.5, 1.0, 2.5]))
    return np.clip(colour * (1 + rng.uniform(0.05, 0.55) * fine[:, :, None]), 0, 1).astype(np.float32)


def indoors(rng: np.random.Generator, size: int, elevation: float) -> Picture:
    """A wall, a floor of boards, tiles or carpet, and furniture."""
    wall = np.array(WALLS[rng.integers(len(WALLS))])
    lean = pixel_noise(rng, size, size, 2)[:, :, None]
    picture = np.clip(wall * (1 + 0.2 * lean + 0.03 * rng.normal(size=(size, size, 1))), 0, 1).astype(np.float32)
    if rng.random() < 0.3:
        _stripes(rng, picture)
    horizon = int(np.clip(horizon_row(rng, size, elevation), 0, size))
    floor = ground(rng, size, FLOORS)
    if rng.random() < 0.5:
        _stripes(rng, floor)
    picture[horizon:] = floor[horizon:]
    if 2 < horizon < size - 8 and rng.random() < 0.6:
        picture[horizon - max(size // 40, 1) : horizon] = rng.uniform(0.2, 0.95) * np.array([1, 0.97, 0.93])
    if rng.random() < 0.2:
        paint_lines(rng, picture)
    paint_shapes(rng, picture, int(rng.integers(2, 10)), smallest=0.1, largest=0.8, square=0.7)
    return picture


def _stripes(rng: np.random.Generator, picture: Picture) -> None:
    """Lines of boards, tiles or cloth."""
    size = len(picture)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    position = (np.cos(turn) * columns + np.sin(turn) * rows) / (size * rng.uniform(0.03, 0.2)) % 1
    picture *= np.where(position < rng.uniform(0.05, 0.5), rng.uniform(0.6, 1.1), 1.0)[:, :, None]
    np.clip(picture, 0, 1, out=picture)


def texture(rng: np.random.Generator, size: int, elevation: float) -> Picture:
    """Coloured noise of many scales."""
    mix = rng.normal(0, 0.2, (3, 1)) + rng.normal(0, 0.07, (3, 3))
    fields = [pixel_octaves(rng, size, size, rng.uniform(2, 20), 4, fade=rng.uniform(0.4, 0.95)) for _ in range(3)]
    picture = rng.uniform(0.15, 0.85) + rng.normal(0, 0.1, 3) + np.stack(fields, axis=2) @ mix
    picture = np.clip(picture, 0, 1).astype(np.float32)
    paint_shapes(rng, picture, int(rng.integers(0, 12)), smallest=0.05, largest=0.6)
    return picture


def plain(rng: np.random.Generator, size: int, elevation: float) -> Picture:
    """A gradient, as behind a studio portrait."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)[:, :, :, None] / size
    start = rng.uniform(0.05, 0.95) + rng.normal(0, 0.1, 3)
    down, across = rng.normal(0, 0.25) + rng.normal(0, 0.06, 3), rng.normal(0, 0.15)
    return np.clip(start + rows * down + columns * across, 0, 1).astype(np.float32)


def cast_shadow(picture: Picture, points: Float[np.ndarray, "K 2"], strength: float, radius: float) -> Picture:
    """Darken the ground where `points` lie: the animal's vertices along the sun on the ground, pixels."""
    size = len(picture)
    low = 64
    cells = np.floor(points * low / size).astype(int)
    inside = ((cells >= 0) & (cells < low)).all(axis=1)
    dark = np.zeros((low, low), dtype=np.uint8)
    dark[cells[inside, 1], cells[inside, 0]] = 255
    image = Image.fromarray(dark).filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(radius))
    shade = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    return picture * (1 - strength * shade[:, :, None])
