"""One colour for each soft part."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float, UInt8


def part_palette(count: int) -> UInt8[np.ndarray, "m 3"]:
    """Colours far from each other: hues by the golden ratio, two levels of brightness."""
    rows = []
    for i in range(count):
        hue = (0.03 + i * 0.618034) % 1.0
        rows.append(colorsys.hls_to_rgb(hue, 0.62 if i % 2 else 0.5, 0.72))
    return (np.array(rows).reshape(-1, 3) * 255).round().astype(np.uint8)


def part_colours(weights: Float[np.ndarray, "k m"]) -> UInt8[np.ndarray, "k 3"]:
    """The colour of each vertex, mixed by its assignment to the parts."""
    return (weights @ part_palette(weights.shape[1]).astype(np.float64)).round().clip(0, 255).astype(np.uint8)
