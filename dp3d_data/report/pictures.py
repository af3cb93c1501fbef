"""Pictures inside the page: files and arrays as data addresses, and crops of instances with their keypoints."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dp3d_data.errors import Dp3dError, InputCorrupt
from dp3d_data.sources.images import read_image

_WHOLE = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_LARGEST = 1_500_000
_GROUND = "#f1f5f9"


def jpeg_address(image: Image.Image, max_side: int = 720, quality: int = 86) -> str:
    """An image as a JPEG data address, made smaller where it is larger than max_side."""
    image = image.convert("RGB")
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return _address("image/jpeg", stream.getvalue())


def file_address(path: Path, max_side: int = 1200) -> str:
    """A picture file as a data address: as it is where small or animated, else as a smaller JPEG.

    Raises:
        InputCorrupt: not a picture.
    """
    try:
        with Image.open(path) as image:
            image.load()
            animated = getattr(image, "n_frames", 1) > 1
            if path.suffix.lower() in _WHOLE and (animated or path.stat().st_size <= _LARGEST):
                return _address(_WHOLE[path.suffix.lower()], path.read_bytes())
            return jpeg_address(image, max_side)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputCorrupt("not a picture", got=error, path=path) from error


def is_wide(path: Path) -> bool:
    """Whether a picture is more than twice as wide as high."""
    with Image.open(path) as image:
        return image.width > 2 * image.height


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def crops(rows: Sequence[Mapping[str, Any]], colours: np.ndarray, side: int = 300) -> Iterator[Image.Image]:
    """The crop of each instance; where its image cannot be read, its keypoints on a plain ground."""
    for row in rows:
        yield instance_crop(_pixels(row["image_path"]), row, colours, side)


def _pixels(path: str | None) -> np.ndarray | None:
    try:
        return None if path is None else read_image(path).pixels
    except Dp3dError:
        return None


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
