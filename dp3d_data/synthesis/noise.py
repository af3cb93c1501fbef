"""Smooth random fields: over points of space for coats, over pixels for scenes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image

SIDE = 32


class SolidNoise:
    """Value noise over space: a periodic random lattice, read with trilinear weights; values about -1..1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.lattice = rng.uniform(-1, 1, SIDE**3).astype(np.float32)
        self.shift = rng.uniform(0, SIDE, 3).astype(np.float32)

    def __call__(self, points: Float[np.ndarray, "N 3"], frequency: float | Float[np.ndarray, "3"]) -> Float[np.ndarray, "N"]:
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


def pixel_noise(rng: np.random.Generator, height: int, width: int, cells: float, *, aspect: float = 1.0) -> Float[np.ndarray, "H W"]:
    """One octave of smooth noise over an image, about -1..1: `cells` bumps along the height, `aspect` of them sideways."""
    rows = int(np.clip(round(cells), 1, height))
    columns = int(np.clip(round(cells * aspect * width / height), 1, width))
    field = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32))
    return np.asarray(field.resize((width, height), Image.Resampling.BICUBIC))


def pixel_octaves(
    rng: np.random.Generator, height: int, width: int, cells: float, count: int, *, fade: float = 0.55, aspect: float = 1.0
) -> Float[np.ndarray, "H W"]:
    """Several octaves of pixel_noise, each twice as fine and `fade` as strong, scaled to about -1..1."""
    total, strength = np.zeros((height, width), dtype=np.float32), 0.0
    for octave in range(count):
        total += fade**octave * pixel_noise(rng, height, width, cells * 2**octave, aspect=aspect)
        strength += fade ** (2 * octave)
    return total / strength**0.5
