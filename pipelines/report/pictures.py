"""Pictures inside the page: files and arrays as data addresses, and crops of instances with their keypoints."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from dp3d_data.datasets.images import local_pixels, read_image

_WHOLE = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_LARGEST, _LARGEST_ANIMATION = 1_500_000, 20_000_000
_GROUND = "#f1f5f9"


def jpeg_address(image: Image.Image, max_side: int = 720, quality: int = 86) -> str:
    """An image as a JPEG data address, made smaller where it is larger than max_side."""
    image = image.convert("RGB")
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return _address("image/jpeg", stream.getvalue())


class Shown(NamedTuple):
    """A picture file for the page: its data address, and whether it is more than twice as wide as high."""

    address: str
    wide: bool


def shown_file(path: Path, max_side: int = 1200) -> Shown:
    """A picture file: as it is where small or animated, else as a smaller JPEG.

    Raises:
        InputMissing, InputCorrupt: no picture of a format that is read, or too large.
    """
    pixels = read_image(path).pixels
    wide, kind = pixels.shape[1] > 2 * pixels.shape[0], path.suffix.lower()
    if kind in _WHOLE and path.stat().st_size <= (_LARGEST_ANIMATION if kind == ".gif" else _LARGEST):
        return Shown(_address(_WHOLE[kind], path.read_bytes()), wide)
    return Shown(jpeg_address(Image.fromarray(pixels), max_side), wide)


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def crops(rows: Sequence[Mapping[str, Any]], colours: np.ndarray, side: int = 300) -> Iterator[Image.Image]:
    """The crop of each instance; where its image cannot be read, its keypoints on a plain ground."""
    for row in rows:
        yield instance_crop(local_pixels(row["image_path"]), row, colours, side)


def instance_crop(pixels: np.ndarray | None, row: Mapping[str, Any], colours: np.ndarray, side: int) -> Image.Image:
    """A square around the box of an instance, side x side, paled, with keypoints in their vertices' colours.

    Args:
        pixels: [H, W, 3] RGB of the whole image; white is added where the square leaves it. None: a plain ground.
        row: a row of the instance table.
        colours: [K, 3] RGB of the template's vertices.
    """
    x0, y0, x1, y1 = (float(row[name]) for name in ("box_x0", "box_y0", "box_x1", "box_y1"))
    extent = 1.1 * max(x1 - x0, y1 - y0, 1)
    left, top, scale = (x0 + x1 - extent) / 2, (y0 + y1 - extent) / 2, side / extent
    part = Image.new("RGB", (side, side), _GROUND) if pixels is None else _cut(pixels, left, top, scale, side)
    draw, radius = ImageDraw.Draw(part), max(side / 200, 1.2)
    for vertex, x, y in zip(row["vertex_ids"], row["keypoints_x"], row["keypoints_y"], strict=True):
        u, v = (x - left) * scale, (y - top) * scale
        draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=tuple(int(c) for c in colours[vertex]))
    return part


def _cut(pixels: np.ndarray, left: float, top: float, scale: float, side: int) -> Image.Image:
    """The square at (left, top), enlarged by `scale` and paled."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    reduced = max(int(1 / scale), 1)
    matrix = tuple(value / reduced for value in (1 / scale, 0, left, 0, 1 / scale, top))
    small = image.reduce(reduced)
    part = small.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor="white")
    return Image.blend(part, Image.new("RGB", part.size, "white"), 0.25)
