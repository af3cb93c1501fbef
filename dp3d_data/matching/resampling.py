"""New."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from dp3d_data.errors import ShapeError


def integer_box(box: Iterable[float]) -> tuple[int, int, int, int]:
    """The whole pixels that stand for a box.

    The reference's rule: the corner (x0, y0) and the size (x1 - x0, y1 - y0) are truncated towards zero, each on its
    own and in single precision, and the size is at least 1. So pixel (column j, row i) of the resized answer is image
    pixel (x + j, y + i), with its centre at (x + j + 0.5, y + i + 0.5), up to half a pixel away from where the exact
    box would put it.

    Args:
        box: xyxy in image pixels, finite.

    Returns:
        x, y, width, height in whole pixels.

    Raises:
        ShapeError: not four finite numbers, or the right edge left of the left one.
    """
    values = np.array([*box], dtype=np.float64)
    if values.shape != (4,) or not np.isfinite(values).all() or (values[2:] < values[:2]).any():
        raise ShapeError("a box is four finite numbers", got=np.array2string(values), expected="x0 <= x1, y0 <= y1")
    x0, y0, x1, y1 = values.astype(np.float32)
    return int(x0), int(y0), max(int(x1 - x0), 1), max(int(y1 - y0), 1)


def resize_to(
    maps: Float[np.ndarray, "channels side_y side_x"], width: int, height: int
) -> Float[np.ndarray, "h w channels"]:
    """Bilinear resize without corner alignment: pixel centres lie at + 0.5 in both grids, borders are repeated.

    Args:
        maps: [C, S, S] what the network answered.
        width: columns wanted, at least 1.
        height: rows wanted, at least 1.

    Returns:
        [height, width, C] float32, channels last, so that the pixels of a mask are rows of a matrix.

    Raises:
        ShapeError: not three axes, or an empty size.
    """
    if maps.ndim != 3 or 0 in maps.shape or width < 1 or height < 1:
        got = f"maps {maps.shape}, size {width} x {height}"
        raise ShapeError("resize takes [C, S, S] and a size of at least 1 x 1", got=got)
    import torch

    source = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[None]
    source = source.contiguous(memory_format=torch.channels_last)
    resized = torch.nn.functional.interpolate(source, size=(height, width), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def object_mask(coarse_segm: Float[np.ndarray, "2 side_y side_x"], width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The object's pixels: where the second of the two segmentation channels is the larger after the resize.

    Raises:
        ShapeError: not two channels, or an empty size.
    """
    if coarse_segm.ndim != 3 or len(coarse_segm) != 2:
        raise ShapeError("coarse segmentation has two channels", got=coarse_segm.shape, expected="[2, S, S]")
    resized = resize_to(coarse_segm, width, height)
    return resized[..., 1] > resized[..., 0]
