"""Photographs as a network wants them: resized, and square crops of boxes for a second look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image


def network_size(height: int, width: int, min_side: int, max_side: int) -> tuple[int, int]:
    """(height, width) with the shortest side `min_side`, the longest at most `max_side` (detectron2's rule)."""
    scale = min_side / min(height, width)
    if round(max(height, width) * scale, 6) > max_side:
        scale = max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resized(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Bilinear, with the area of each pixel taken into account when it shrinks (Pillow's)."""
    image = np.ascontiguousarray(image)
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


Pixels = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photograph at the network's size; its own pixels are no longer needed.

    Attributes:
        pixels: [h, w, 3] BGR, 0..255.
        height, width: of the photograph, pixels.
        shape: rows and columns with the padding that the backbone asks for; photographs of one shape can share a pass.
        source: [H, W, 3] BGR, what crops are cut from; None where the network takes no second look.
    """

    pixels: Pixels
    height: int
    width: int
    shape: tuple[int, int]
    source: Pixels | None = None

    @property
    def scale(self) -> Float[np.ndarray, "4"]:
        """Pixels of the network's input for one of the photograph: x, y, x, y."""
        rows, columns = self.pixels.shape[:2]
        return np.array([columns / self.width, rows / self.height] * 2, dtype=np.float32)


MARGIN = 1.25  # side of a crop over the longer side of its box
SOURCE_SIDE = 1024  # photographs are cut from at most this size: a crop needs no more
Square = tuple[float, float, float]


def square_of(box: Float[np.ndarray, "4"]) -> Square:
    """(left, top, side) of the square crop around a box, pixels; boxes of no area get a side of a pixel."""
    x0, y0, x1, y1 = (float(value) for value in box)
    side = MARGIN * max(x1 - x0, y1 - y0, 1.0)
    return (x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side


def crop_of(image: Pixels, square: Square, side: int, filling: tuple[float, float, float]) -> Pixels:
    """The square, scaled with the area of each pixel taken into account; what lies beyond the image has one colour."""
    left, top, extent = square
    x0, y0 = int(np.floor(left)), int(np.floor(top))
    size = int(np.ceil(left + extent)) - x0, int(np.ceil(top + extent)) - y0
    canvas = np.empty((size[1], size[0], 3), dtype=np.uint8)
    canvas[:] = np.round(filling)
    height, width = image.shape[:2]
    rows, columns = slice(max(y0, 0), min(y0 + size[1], height)), slice(max(x0, 0), min(x0 + size[0], width))
    if rows.start < rows.stop and columns.start < columns.stop:
        canvas[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = image[rows, columns]
    part = (left - x0, top - y0, left - x0 + extent, top - y0 + extent)
    return np.asarray(Image.fromarray(canvas).resize((side, side), Image.Resampling.BILINEAR, part))


def region_of(square: Square, width: int, height: int) -> Float[np.ndarray, "4"]:
    """The part of a crop that lies in the image, xyxy."""
    left, top, side = square
    return np.clip([left, top, left + side, top + side], 0, [width, height, width, height])


def part_of_maps(
    maps: Float[torch.Tensor, "c s s"], square: Square, region: Float[np.ndarray, "4"]
) -> Float[torch.Tensor, "c s s"]:
    """The maps of a crop, read again so that they cover a region of it; bilinear, without corner alignment."""
    left, top, side = square
    count = maps.shape[-1]
    share = (torch.arange(count, device=maps.device) + 0.5) / count
    x = 2 * (region[0] - left + share * (region[2] - region[0])) / side - 1
    y = 2 * (region[1] - top + share * (region[3] - region[1])) / side - 1
    grid = torch.stack([x[None].expand(count, -1), y[:, None].expand(-1, count)], dim=2).to(maps.dtype)
    return torch.nn.functional.grid_sample(maps[None], grid[None], align_corners=False, padding_mode="border")[0]
