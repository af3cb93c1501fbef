"""Pictures of a run: photographs with the boxes found and the keypoints coloured by template vertex."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont

from dp3d_data.datasets.images import read_image
from dp3d_data.errors import Dp3dError
from dp3d_data.files import write_picture
from dp3d_data.geometry import Template
from dp3d_data.geometry.renderer import BACKGROUND, colour_by_vertex, turntable
from dp3d_data.records import ImageRecord
from dp3d_data.shards.files import read_table
from dp3d_data.shards.runs import OVERLAYS

COLUMNS = ["image_id", "score", "box_x0", "box_y0", "box_x1", "box_y1", "vertex_ids", "keypoints_x", "keypoints_y"]
LONGEST = 960
KEY_HEIGHT = 128
NOTHING = "nothing found"


def draw_overlays(folder: Path, records: Sequence[ImageRecord], template: Template, count: int) -> list[Path]:
    """Draw `count` images of a run whose chunks are there, those with instances first, evenly, each above its key.

    An image without instances is drawn too, as it says something; one that cannot be read is left out. Other pictures
    there go.

    Returns:
        The pictures, named by their place in the run.
    """
    pictures: list[Path] = []
    files = sorted(folder.glob("instances-*.parquet")) if count else []
    with_instances = {name for path in files for name in read_table(path, ["image_id"])["image_id"].to_pylist()}
    places = chosen([record.image_id in with_instances for record in records], count)
    found = _instances(files, [records[place].image_id for place in places])
    if places:
        colours = colour_by_vertex(template)
        key = turntable(template.vertices, template.faces, colours, size=KEY_HEIGHT)
    for place in places:
        record = records[place]
        try:
            pixels = read_image(record.path).pixels
        except Dp3dError:
            continue
        picture = with_key(overlay(pixels, found.get(record.image_id, []), colours), key)
        path = folder / OVERLAYS / f"{place:06d}.jpg"
        pictures.append(write_picture(path, picture, quality=88))
    for other in set((folder / OVERLAYS).glob("*.jpg")) - set(pictures):
        other.unlink()
    return pictures


def chosen(has_instances: Sequence[bool], count: int) -> list[int]:
    """Places of the images to draw: of those with instances, then of the others, each evenly spaced; ascending."""
    flags = np.asarray(has_instances, dtype=bool)
    first = _spaced(np.flatnonzero(flags), count)
    return sorted([*first, *_spaced(np.flatnonzero(~flags), count - len(first))])


def _spaced(places: np.ndarray, count: int) -> list[int]:
    count = max(0, min(count, len(places)))
    return [int(place) for place in places[np.arange(count) * len(places) // max(count, 1)]]


def _instances(files: Sequence[Path], wanted: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Image id -> its instances, of the wanted images alone: a run may hold more than memory does."""
    found: dict[str, list[dict[str, Any]]] = {}
    names = pa.array(wanted, type=pa.string())
    for path in files:
        table = read_table(path, COLUMNS)
        for row in table.filter(pc.is_in(table["image_id"], value_set=names)).to_pylist():
            found.setdefault(row["image_id"], []).append(row)
    return found


def overlay(pixels: np.ndarray, instances: Sequence[dict[str, Any]], colours: np.ndarray) -> Image.Image:
    """One photograph, dimmed, with box, score and coloured keypoints of each instance.

    Args:
        pixels: [H, W, 3] uint8 RGB.
        instances: rows of the instance table; keypoints and boxes in image pixels.
        colours: [K, 3] RGB of each template vertex.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photograph = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    picture = Image.blend(photograph, Image.new("RGB", size, (24, 24, 24)), 0.35)
    draw = ImageDraw.Draw(picture)
    for row in instances:
        _draw_instance(draw, row, scale, colours)
    if not instances:
        _label(draw, (4, 4), NOTHING)
    return picture


def with_key(picture: Image.Image, key: np.ndarray) -> Image.Image:
    """A picture with the coloured template below it, so that a colour's place on the body can be read off."""
    scale = min(1.0, picture.width / key.shape[1])
    strip = Image.fromarray(key).resize((max(1, round(key.shape[1] * scale)), max(1, round(key.shape[0] * scale))))
    page = Image.new("RGB", (picture.width, picture.height + strip.height), (BACKGROUND,) * 3)
    page.paste(picture, (0, 0))
    page.paste(strip, ((page.width - strip.width) // 2, picture.height))
    return page


def _draw_instance(draw: ImageDraw.ImageDraw, row: dict[str, Any], scale: float, colours: np.ndarray) -> None:
    x0, y0, x1, y1 = (scale * row[name] for name in ("box_x0", "box_y0", "box_x1", "box_y1"))
    draw.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=(255, 255, 255), width=2)
    radius = float(np.clip(np.hypot(x1 - x0, y1 - y0) / 180, 1.2, 5.0))
    for vertex, x, y in zip(row["vertex_ids"], row["keypoints_x"], row["keypoints_y"], strict=True):
        draw_circle(draw, (scale * x, scale * y), radius, fill=tuple(colours[vertex].tolist()))
    _label(draw, (x0 + 4, y0 + 4), f"{row['score']:.2f} · {len(row['vertex_ids'])} vertices")


def draw_circle(draw: ImageDraw.ImageDraw, centre: Sequence[float], radius: float, **style: Any) -> None:
    """A ring or a dot, in pixels of the picture."""
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), **style)


def _label(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str) -> None:
    font = ImageFont.load_default(size=13)
    draw.rectangle(draw.textbbox(corner, text, font=font), fill=(24, 24, 24))
    draw.text(corner, text, fill=(255, 255, 255), font=font)
