"""The files that people look at: the learned parts, and every lifted instance with its pictures."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from dp3d_data.datasets.images import local_pixels
from dp3d_data.files import write_arrays, write_picture, write_text
from dp3d_data.geometry.renderer import BACKGROUND, Colours, colour_by_part, render, turntable, view_from
from dp3d_data.run_lengths import mask_pixels
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.evaluation.quality import FIGURES
from dp3d_model.export.meshes import (
    Texture,
    export_mesh,
    export_textured,
    prediction_rows,
    prediction_table,
    texture_of,
    write_rig,
)
from dp3d_model.geometry.surface import Surface
from dp3d_model.lifting.prediction import Prediction
from dp3d_model.networks.lifter import Lifter


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
    if pixels is None:
        blank = Image.new("RGB", (size, size), (BACKGROUND,) * 3)
        ImageDraw.Draw(blank).text((8, size // 2 - 6), "no photograph", fill=(150, 150, 150))
    photo = np.asarray(blank if pixels is None else square_in(pixels, crop, size))
    placed = np.concatenate([(projected[:, :2] - shift) * zoom, projected[:, 2:] * zoom], axis=1)
    body, mask = render(placed, faces, colours, size, size)
    over = photo.copy()
    over[mask] = (0.35 * photo[mask] + 0.65 * body[mask]).astype(np.uint8)
    if textured is not None:
        body, _ = render(placed, faces, textured, size, size)
    return np.concatenate([draw_points(photo, (keypoints - shift) * zoom, keypoint_colours), over, body], axis=1)


SHEET_ROWS, TILE = 8, 280
LONGEST_NAME = 150


def part_weights(lifter: Lifter) -> np.ndarray:
    """How much each template vertex belongs to each learned part, [K, M]; one part where the body has none."""
    with torch.no_grad():
        weights = lifter.body(lifter.functions.new_zeros(1, lifter.body.size)).part_weights.cpu().numpy()
    return weights if weights.shape[1] else np.ones((len(weights), 1))


def model_colours(lifter: Lifter) -> np.ndarray:
    """The colour of each template vertex by its learned parts; one colour where the body has none."""
    return colour_by_part(part_weights(lifter))


def draw_parts(lifter: Lifter, path: str | Path) -> Path:
    """The template from six sides, coloured by its learned parts."""
    surface = lifter.surface
    picture = turntable(surface.vertices.numpy(), surface.faces.numpy(), model_colours(lifter), size=260)
    return write_picture(path, picture)


def write_predictions(
    lifter: Lifter,
    instances: KeypointBatch,
    lifted: Sequence[Prediction],
    rejected: Mapping[str, str],
    folder: str | Path,
    *,
    formats: Sequence[str] = ("glb", "npz"),
    pictures: bool = True,
    rig: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> tuple[KeypointBatch, list[Prediction]]:
    """Write the files of each instance that is not rejected, named NNN-NAME; figures.csv of all.

    Args:
        lifted: the predictions of all, some after the other; see `lift_to_keep`.
        formats: glb, obj, ply (meshes), npz (all that is known), turn (an animated WebP), table (predictions.parquet).
        pictures: a row of pictures of each, and lifted.png of the surest.
        rig: the GLB files carry a skeleton, a joint for each part; without, the photograph as texture.
        done: told of so many more finished instances.

    Returns:
        The instances that are written, in order, and their predictions.

    Raises:
        UsageError: a rig of a body without parts.
    """
    folder, start = Path(folder), 0
    skin = part_weights(lifter), model_colours(lifter)
    files = pictures or bool(set(formats) - {"table"})
    sheet: list[tuple[float, np.ndarray]] = []
    kept: list[int] = []
    predictions: list[Prediction] = []
    with prediction_table(folder / "predictions.parquet") if "table" in formats else nullcontext() as table:
        for many in lifted:
            some = instances.take(range(start, start + len(many.scale)))
            sure = [i for i, name in enumerate(some.ids) if name not in rejected]
            if table is not None and sure:
                chosen = some.take(sure)
                table.write_table(prediction_rows(chosen.ids, chosen.image_paths or ("",) * len(sure), many.at(sure)))
            for i in sure if files else ():
                stem = folder / f"{start + i:03d}-{safe_name(some.ids[i])}"
                picture = _write_instance(stem, many.at(i), some, i, lifter.surface, skin, formats, pictures, rig)
                if picture is not None:
                    sheet.append((float(np.nan_to_num(many.confidence[i])), picture))
                    sheet = sorted(sheet, key=lambda row: -row[0])[:SHEET_ROWS]
                done(1)
            done(0 if files else len(sure))
            kept += [start + i for i in sure]
            predictions.append(many if len(sure) == len(some) else many.at(sure))
            start += len(some)
    write_figures(instances, lifted, rejected, folder / "figures.csv")
    if sheet:
        write_picture(folder / "lifted.png", np.concatenate([picture for _, picture in sheet]))
    return instances.take(kept), predictions


def write_figures(
    instances: KeypointBatch, lifted: Sequence[Prediction], rejected: Mapping[str, str], path: Path
) -> None:
    """Write what is known of each instance as a csv, and whether it is kept or why not."""
    columns = [np.concatenate([np.zeros(0), *(getattr(many, figure) for many in lifted)]) for figure in FIGURES]
    paths = instances.image_paths or ("",) * len(instances)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["instance", "image", *FIGURES, "result"])
    for name, image, *values in zip(instances.ids, paths, *columns, strict=True):
        cells = ["" if np.isnan(value) else f"{value:.4f}" for value in values]
        rows.writerow([plain_cell(name), plain_cell(image), *cells, rejected.get(name, "kept")])
    write_text(path, text.getvalue())


def plain_cell(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _write_instance(
    stem: Path,
    prediction: Prediction,
    instances: KeypointBatch,
    i: int,
    surface: Surface,
    skin: tuple[np.ndarray, np.ndarray],
    formats: Sequence[str],
    pictures: bool,
    rig: bool,
) -> np.ndarray | None:
    """All files of instance i of some but the table; its picture where there is to be one.

    Args:
        stem: of the files.
        skin: weights [K, M] of the parts at each vertex, and the colours [K, 3] that show them.
    """
    faces, (weights, colours) = surface.faces.numpy(), skin
    pixels = local_pixels(instances.image_paths[i]) if instances.image_paths else None
    texture = None if pixels is None else photograph_texture(pixels, prediction, instances, i, surface)
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        if kind == "npz":
            write_arrays(path, **prediction.arrays())
        elif kind == "glb" and rig:
            write_rig(path, prediction, faces, weights, colours)
        elif kind == "glb" and texture is not None:
            export_textured(path, prediction.vertices, faces, texture)
        elif kind in ("glb", "obj", "ply"):
            export_mesh(path, prediction.vertices, faces, colours if texture is None else texture.colours)
        elif kind == "turn":
            shown = colours if texture is None else texture.sample
            save_turntable(path.with_suffix(".webp"), prediction.vertices, faces, shown)
    if not pictures:
        return None
    picture = draw_instance(prediction, instances, i, faces, colours, pixels, texture)
    write_picture(stem.with_name(f"{stem.name}.png"), picture)
    return picture


def photograph_texture(
    pixels: np.ndarray, prediction: Prediction, instances: KeypointBatch, i: int, surface: Surface
) -> Texture:
    """The photograph on a lifted instance."""
    runs = instances.masks[i] if instances.masks else None
    mask = None if runs is None or (runs.height, runs.width) != pixels.shape[:2] else mask_pixels(runs)
    symmetry = None if surface.symmetry is None else surface.symmetry.numpy()
    return texture_of(pixels, prediction.projected(), prediction.rest, surface.faces.numpy(), symmetry, mask)


def photographs_first(instances: KeypointBatch, count: int) -> KeypointBatch:
    """At most `count` of them (0 for all), those with a photograph first, otherwise in order."""
    paths = instances.image_paths or ("",) * len(instances)
    order = sorted(range(len(instances)), key=lambda i: not (paths[i] and Path(paths[i]).is_file()))
    return instances.take(order[: count or None])


def draw_instance(
    prediction: Prediction,
    instances: KeypointBatch,
    i: int,
    faces: np.ndarray,
    colours: np.ndarray,
    pixels: np.ndarray | None,
    texture: Texture | None = None,
) -> np.ndarray:
    """Tiles: photograph with keypoints, parts over it, body alone, two sides of it, its parts; below the figures."""
    visible = instances.visible[i].numpy()
    keypoints = instances.keypoints[i].numpy()[visible]
    skin = colours if texture is None else texture.sample
    front = beside_photograph(pixels, keypoints, colours[visible], prediction.projected(), faces, colours, TILE, skin)
    body = prediction.vertices, faces
    tiles = [
        view_from(azimuth, *body, shown, TILE) for azimuth, shown in ((35.0, skin), (-35.0, skin), (145.0, colours))
    ]
    picture, text = np.concatenate([front, *tiles], axis=1), f"{instances.ids[i]}{figures_text(prediction)}"
    strip = Image.new("RGB", (picture.shape[1], 22), (255, 255, 255))
    ImageDraw.Draw(strip).text((8, 4), text, fill=(60, 60, 60), font=ImageFont.load_default(size=13))
    return np.concatenate([picture, np.asarray(strip)], axis=0)


def figures_text(prediction: Prediction) -> str:
    """What is known of an instance, for people."""
    words = {
        "confidence": "confidence {:.2f}",
        "reprojection": "keypoints off by {:.1%}",
        "silhouette_iou": "silhouette {:.2f}",
        "stretched": "stretched edges {:.1%}",
        "agreement": "halves of the keypoints say otherwise by {:.3f}",
    }
    values = {name: float(getattr(prediction, name)) for name in words}
    return "".join(f"  ·  {text.format(values[name])}" for name, text in words.items() if np.isfinite(values[name]))


def safe_name(instance_id: str) -> str:
    """An instance's name as a file name, of a long one its end."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", instance_id)[-LONGEST_NAME:].strip("._") or "instance"
