"""Pictures of lifted instances: the body beside its photograph, over it, and turning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from dp3d_data.files import write_picture
from dp3d_data.geometry.renderer import BACKGROUND, Colours, render, view_from


def save_turntable(
    path: Path,
    vertices: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    colours: Colours,
    views: int = 36,
    size: int = 320,
) -> Path:
    """Write an animated WebP of the body turning once in three seconds."""
    frames = [Image.fromarray(view_from(360.0 * i / views, vertices, faces, colours, size)) for i in range(views)]
    options = {"save_all": True, "append_images": frames[1:], "duration": 3000 // views, "loop": 0, "quality": 82}
    return write_picture(path, frames[0], **options)


def crop_box(points: Float[np.ndarray, "k 2"], margin: float = 0.12) -> tuple[float, float, float]:
    """The square around points, with a margin: left, top, side, image pixels."""
    low, high = points.min(0), points.max(0)
    side = float((high - low).max()) * (1 + 2 * margin)
    centre = (low + high) / 2
    return float(centre[0] - side / 2), float(centre[1] - side / 2), max(side, 1.0)


def square_in(pixels: UInt8[np.ndarray, "h w 3"], crop: tuple[float, float, float], size: int) -> Image.Image:
    """A square of an image (left, top, side in its pixels), resized and grey where the image ends.

    Memory goes with the image and `size`, however far the square reaches beyond the image.
    """
    image, (left, top, side) = Image.fromarray(pixels), crop
    ground = Image.new("RGB", (size, size), (BACKGROUND,) * 3)
    box = max(left, 0.0), max(top, 0.0), min(left + side, image.width), min(top + side, image.height)
    if box[0] >= box[2] or box[1] >= box[3]:
        return ground
    x0, y0, x1, y1 = (round((edge - start) * size / side) for edge, start in zip(box, (left, top) * 2, strict=True))
    ground.paste(image.resize((max(x1 - x0, 1), max(y1 - y0, 1)), Image.Resampling.BILINEAR, box), (x0, y0))
    return ground


def _blank(size: int) -> Image.Image:
    """What stands for a photograph that is not there."""
    blank = Image.new("RGB", (size, size), (BACKGROUND,) * 3)
    ImageDraw.Draw(blank).text((8, size // 2 - 6), "no photograph", fill=(150, 150, 150))
    return blank


def draw_points(
    picture: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "v 2"], colours: UInt8[np.ndarray, "v 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Dots at points given in pixels of the picture."""
    drawn = picture.copy()
    x, y = (np.floor(points[:, i]).astype(int) for i in (0, 1))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        inside = (x + dx >= 0) & (x + dx < picture.shape[1]) & (y + dy >= 0) & (y + dy < picture.shape[0])
        drawn[y[inside] + dy, x[inside] + dx] = colours[inside]
    return drawn


def beside_photograph(
    pixels: UInt8[np.ndarray, "h w 3"] | None,
    keypoints: Float[np.ndarray, "v 2"],
    keypoint_colours: UInt8[np.ndarray, "v 3"],
    projected: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    colours: UInt8[np.ndarray, "k 3"],
    size: int = 200,
    textured: Colours | None = None,
) -> UInt8[np.ndarray, "size width 3"]:
    """Three tiles from the photograph's own camera: the crop with its keypoints, the body over it, the body alone.

    Args:
        pixels: the photograph, RGB; None where there is none.
        projected: x, y in image pixels, z away from the viewer in the same unit.
        textured: colours of the body alone, in place of `colours`.
    """
    left, top, side = crop = crop_box(np.concatenate([keypoints, projected[:, :2]]))
    zoom = size / side
    shift = np.array([left, top])
    photo = np.asarray(_blank(size) if pixels is None else square_in(pixels, crop, size))
    placed = np.concatenate([(projected[:, :2] - shift) * zoom, projected[:, 2:] * zoom], axis=1)
    body, mask = render(placed, faces, colours, size, size)
    over = photo.copy()
    over[mask] = (0.35 * photo[mask] + 0.65 * body[mask]).astype(np.uint8)
    if textured is not None:
        body, _ = render(placed, faces, textured, size, size)
    return np.concatenate([draw_points(photo, (keypoints - shift) * zoom, keypoint_colours), over, body], axis=1)


def labelled(picture: UInt8[np.ndarray, "h w 3"], text: str, height: int = 22) -> UInt8[np.ndarray, "taller w 3"]:
    """A picture with a line of text below it."""
    strip = Image.new("RGB", (picture.shape[1], height), (255, 255, 255))
    ImageDraw.Draw(strip).text((8, 4), text, fill=(60, 60, 60), font=ImageFont.load_default(size=13))
    return np.concatenate([picture, np.asarray(strip)], axis=0)
