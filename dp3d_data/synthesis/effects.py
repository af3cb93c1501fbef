"""What a camera does to a picture, and the smooth random fields behind scenes and coats."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

from dp3d_data.errors import InputMissing, NothingToDo

SIDE = 32


class SolidNoise:
    """Value noise over space: a periodic random lattice, read with trilinear weights; values about -1..1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.lattice = rng.uniform(-1, 1, SIDE**3).astype(np.float32)
        self.shift = rng.uniform(0, SIDE, 3).astype(np.float32)

    def __call__(
        self, points: Float[np.ndarray, "N 3"], frequency: float | Float[np.ndarray, "3"]
    ) -> Float[np.ndarray, "N"]:
        """The field at points, with `frequency` cells per unit of length (one number, or one per axis)."""
        cells = points.astype(np.float32) * np.asarray(frequency, dtype=np.float32) + self.shift
        low = np.floor(cells)
        part = cells - low
        x, y, z = (part * part * (3 - 2 * part)).T
        first = low.astype(np.int32) % SIDE
        (i, j, k), (near, over, up) = first.T, ((first + 1) % SIDE).T
        edges = []
        for row, column in ((i, j), (i, over), (near, j), (near, over)):
            cell = (row * SIDE + column) * SIDE
            start = self.lattice[cell + k]
            edges.append(start + z * (self.lattice[cell + up] - start))
        left, right = edges[0] + y * (edges[1] - edges[0]), edges[2] + y * (edges[3] - edges[2])
        return 1.7 * (left + x * (right - left))

    def octaves(self, points: Float[np.ndarray, "N 3"], frequency: float, count: int = 3) -> Float[np.ndarray, "N"]:
        """A sum of `count` octaves, each twice as fine and half as strong as the one before."""
        total = np.zeros(len(points), dtype=np.float32)
        for octave in range(count):
            total += 0.5**octave * self(points, frequency * 2**octave)
        return total


def pixel_noise(
    rng: np.random.Generator, height: int, width: int, cells: float, *, aspect: float = 1.0
) -> Float[np.ndarray, "H W"]:
    """Smooth noise over an image, about -1..1: `cells` bumps along the height, `aspect` of them sideways."""
    rows = int(np.clip(round(cells), 1, height))
    columns = int(np.clip(round(cells * aspect * width / height), 1, width))
    field = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
    return np.asarray(field.resize((width, height), Image.Resampling.BICUBIC))


def pixel_octaves(
    rng: np.random.Generator,
    height: int,
    width: int,
    cells: float,
    count: int,
    *,
    fade: float = 0.55,
    aspect: float = 1.0,
) -> Float[np.ndarray, "H W"]:
    """Several octaves of pixel_noise, each twice as fine and `fade` as strong, scaled to about -1..1."""
    total, strength = np.zeros((height, width), dtype=np.float32), 0.0
    for octave in range(count):
        total += fade**octave * pixel_noise(rng, height, width, cells * 2**octave, aspect=aspect)
        strength += fade ** (2 * octave)
    return total / strength**0.5


Picture = Float[np.ndarray, "S S 3"]


def paths_below(folder: str, suffixes: set[str], what: str, use: str) -> tuple[Path, ...]:
    """The pictures of a folder and its subfolders, in order.

    Raises:
        InputMissing: no such folder.
        NothingToDo: none in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputMissing(f"no such folder of {use}", path=folder)
    paths = tuple(sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes))
    if not paths:
        raise NothingToDo(f"no {what} in the folder of {use}", got=folder, expected=", ".join(sorted(suffixes)))
    return paths


def matted(background: Picture, colours: Picture, mask: np.ndarray) -> Picture:
    """Lay the animal over the background with a soft edge of about a pixel; `colours` is read inside the mask only."""
    cover = np.asarray(mask, dtype=np.float32)[:, :, None]
    wide, paint = _smooth(cover), _smooth(colours * cover)
    edge = paint / np.maximum(wide, 1e-6)
    inner = np.where(cover > 0, colours, edge)
    return background + wide * (inner - background)


def blurred(picture: Picture, radius: float) -> Picture:
    """A Gaussian blur, pixels."""
    if radius < 0.2:
        return picture
    image = Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(radius))), dtype=np.float32) / 255


def _smooth(picture: np.ndarray) -> np.ndarray:
    """Weights 1 2 1 along both axes."""
    for axis in (0, 1):
        after, before = np.roll(picture, 1, axis), np.roll(picture, -1, axis)
        picture = 0.5 * picture + 0.25 * (after + before)
    return picture


def photographed(rng: np.random.Generator, picture: Picture) -> UInt8[np.ndarray, "S S 3"]:
    """Linear-ish light 0..1 to the bytes of a photograph."""
    dark = rng.random() < 0.07  # low light
    # Exposure meters bring most pictures to a middle grey.
    target = rng.uniform(0.2, 0.33) if dark else rng.uniform(0.33, 0.6)
    cast = np.exp(rng.normal(0, rng.choice([0.04, 0.1], p=[0.8, 0.2]), 3))
    exposure = np.clip(target / max(float(picture.mean()), 1e-3), 0.4 if dark else 0.6, 2.3)
    picture = np.clip(picture * exposure * cast, 0, 4) ** rng.uniform(0.7, 1.2)
    middle = 0.3 + 0.4 * min(float(picture.mean()), 1.0)
    contrast = rng.choice([rng.uniform(0.8, 1.2), rng.uniform(0.55, 1.5)], p=[0.7, 0.3])
    picture = middle + (picture - middle) * contrast + rng.normal(0, 0.03)
    grey = picture @ np.array([0.3, 0.59, 0.11], dtype=np.float32)
    saturation = 0.0 if rng.random() < 0.04 else rng.uniform(0.6, 1.4)
    picture = grey[:, :, None] + saturation * (picture - grey[:, :, None])
    image = Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    image = _noisy(rng, _focused(rng, image), rng.uniform(2, 9) if dark else 0.0)
    if rng.random() < 0.65:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.uniform(18, 96)))
        image = Image.open(buffer).convert("RGB")
    return np.asarray(image)


def _focused(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Out of focus, moved, enlarged from a small picture, or sharpened too much."""
    side = image.size[0]
    blur = rng.choice([0.0, rng.uniform(0.2, 0.7), rng.uniform(0.6, 1.8)], p=[0.45, 0.4, 0.15])
    image = image.filter(ImageFilter.GaussianBlur(float(side / 256 * blur)))
    if rng.random() < 0.08:  # a streak of five pixels
        kernel = [np.eye(5), np.eye(5)[::-1], np.eye(5)[[2] * 5].T, np.eye(5)[[2] * 5]][rng.integers(4)]
        image = image.filter(ImageFilter.Kernel((5, 5), kernel.ravel().tolist()))
    if rng.random() < 0.12:
        small = max(int(side * rng.uniform(0.35, 0.8)), 1)
        image = image.resize((small, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.BICUBIC)
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.UnsharpMask(1.5 * side / 256, int(rng.uniform(50, 180)), 2))
    return image


def _noisy(rng: np.random.Generator, image: Image.Image, more: float) -> Image.Image:
    """Grain, of each colour by itself or of all."""
    noise = rng.standard_normal((*image.size, int(rng.choice([1, 3]))), dtype=np.float32)
    strength = more + rng.choice([0.5, rng.uniform(1, 4), rng.uniform(4, 14)], p=[0.4, 0.45, 0.15])
    noisy = np.asarray(image, dtype=np.float32) + np.float32(strength) * noise
    return Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8))
