"""Photographs to the size a network wants."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def network_size(height: int, width: int, min_side: int, max_side: int) -> tuple[int, int]:
    """(height, width) with the shortest side `min_side`, unless the longest would pass `max_side` (detectron2's
    rule)."""
    scale = min_side / min(height, width)
    if round(max(height, width) * scale, 6) > max_side:
        scale = max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resized(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Bilinear, with the area of each pixel taken into account when it shrinks (Pillow's)."""
    if image.shape[:2] == size:
        return np.ascontiguousarray(image)
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(image)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    )
