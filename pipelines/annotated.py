"""Annotated photographs as truth to measure with: those that are on disk, what was left out, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.colors import hsv_to_rgb
from PIL import Image, ImageDraw

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.datasets.images import read_image, turned_record
from dp3d_data.datasets.locations import is_file
from dp3d_data.detection.training.evaluation import Marks, on_image
from dp3d_data.detection.training.metrics import TrueObject
from dp3d_data.errors import Dp3dError, InputCorrupt, UsageError
from dp3d_data.files import write_picture
from dp3d_data.geometry import Template
from dp3d_data.geometry.renderer import colour_by_vertex
from dp3d_data.matching import match_detection
from dp3d_data.records import GivenObject, ImageRecord
from dp3d_data.run_lengths import mask_pixels
from pipelines.overlays import draw_circle

Pixels = UInt8[np.ndarray, "h w 3"]
Colour = tuple[int, int, int]
LONGEST, TILE = 480, 320
COLUMNS, MOST = 5, 100  # of the sheet
FOUND, TRUE = (255, 255, 255), (255, 210, 0)


class Photographs:
    """The photographs of a source that are on disk, with what is annotated in them as truth; read one at a time.

    Attributes:
        listed: how many the source names.
        records: those that are on disk.
        left_out: name -> why, of those that turned out to be of no use when they were read.
        annotations_left_out: name -> why, of annotations that are of no use beside others of their photograph that are.
            What the network finds there hits nothing then.

    Raises:
        UsageError, InputMissing, InputCorrupt, NothingToDo: as the source.
    """

    def __init__(self, source: str, options: DatasetOptions) -> None:
        self.source, self.options = source, options
        records = open_images(source, options).records()
        self.listed, self.records = len(records), [record for record in records if is_file(record.path)]
        self.left_out: dict[str, str] = {}
        self.annotations_left_out: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[Pixels, list[TrueObject]]]:
        """BGR pixels and objects of each."""
        return ((image, objects) for _, image, objects in self.read())

    def read(self, count: int | None = None) -> Iterator[tuple[ImageRecord, Pixels, list[TrueObject]]]:
        """All of them, or so many, evenly over the source; BGR."""
        count = len(self.records) if count is None else min(count, len(self.records))
        for place in range(count):
            record = self.records[place * len(self.records) // count]
            try:
                photograph = read_image(record.path)
                pixels, record = photograph.pixels, turned_record(record, photograph)
                objects = self._objects(record, pixels.shape[:2])
            except Dp3dError as error:
                self.left_out[record.image_id] = _line(error)
                continue
            yield record, np.ascontiguousarray(pixels[:, :, ::-1]), objects

    def _objects(self, record: ImageRecord, shape: tuple[int, ...]) -> list[TrueObject]:
        """What is annotated in a photograph and can be used; the rest is noted."""
        objects, what = list[TrueObject](), "an annotation that cannot be used"
        faults = {f"{record.image_id}: {text}": InputCorrupt(what, got=text) for text in record.faults}
        for place, one in enumerate(record.objects or ()):
            try:
                objects.append(_true_object(one, record, shape))
            except InputCorrupt as error:
                faults[f"{record.image_id}#{one.name or place}"] = error
        if not objects and record.objects is not None:
            raise next(iter(faults.values()), InputCorrupt("no annotated object", path=record.path))
        self.annotations_left_out |= {name: _line(error) for name, error in faults.items()}
        return objects

    def tally(self) -> dict[str, Any]:
        """How many photographs are listed and on disk, and the photographs and annotations left out."""
        left_out = {"left_out": self.left_out, "annotations_left_out": self.annotations_left_out}
        told = {name: dict(sorted(found.items())) for name, found in left_out.items()}
        return {"listed": self.listed, "on_disk": len(self.records), **told}


def annotated(source: str, path: str, images: str, category: str = "dog") -> Photographs:
    """The photographs in the folder `images` that the json at `path` annotates, of "stanford-extra" or "coco".

    Raises:
        UsageError: no folder.
        InputMissing, InputCorrupt, NothingToDo: no such json, or none of its photographs is there.
    """
    if not images:
        raise UsageError("annotated photographs need the folder that they lie in", hint="add --images FOLDER")
    return Photographs(source, DatasetOptions(path=path, images=(images,), category=category, masks=True))


def _line(error: Dp3dError) -> str:
    return " ".join(str(error).split())


def _true_object(one: GivenObject, record: ImageRecord, shape: tuple[int, ...]) -> TrueObject:
    """An annotated object as truth."""
    mask = None if one.mask is None else mask_pixels(one.mask)
    if mask is None or not mask.any():
        raise InputCorrupt("an annotated object without a mask", path=record.path)
    if mask.shape != shape:
        what = "an annotation of another size than its photograph"
        got, expected = f"{mask.shape[1]} x {mask.shape[0]}", f"{shape[1]} x {shape[0]}, its photograph's"
        raise InputCorrupt(what, got=got, expected=expected, path=record.path)
    named = None if one.keypoints is None else np.array(one.keypoints, dtype=np.float64).reshape(-1, 3)
    return TrueObject(np.array(one.box), mask, named=named, name=record.image_id)


class Pictures:
    """Draws the first images that it is told of; see `dp3d_data.detection.training.evaluation.examine`.

    Args:
        folder: where to; empty to draw nothing.
        count: most images, each a picture of its own.
        score: detections below are not drawn.
        template: whose colours the vertices get; None to mark the mask alone.
        sheet: also keep a tile of every photograph, up to MOST, for `sheet`.
    """

    def __init__(
        self,
        folder: str,
        title: str,
        count: int,
        predictor,
        template: Template | None,
        score: float = 0.5,
        sheet: bool = False,
    ) -> None:
        self.folder, self.title, self.left, self.score = folder, title, count if folder else 0, score
        self.predictor, self.drawn = predictor, 0
        self.colours = None if template is None else colour_by_vertex(template)
        self.tiles: list[Image.Image] | None = [] if sheet and folder else None

    def __call__(
        self, image: np.ndarray, objects: list[TrueObject], found: list, marks: list[Marks], name: str = ""
    ) -> None:
        """One BGR image, its objects, its detections, what became of the objects, and its name without any."""
        tiles = self.tiles if self.tiles is not None and len(self.tiles) < MOST else None
        if self.drawn >= self.left and tiles is None:
            return
        photograph = np.ascontiguousarray(image[:, :, ::-1])
        shown = sorted((one for one in found if one.score >= self.score), key=lambda one: one.score)
        if tiles is not None:
            tiles.append(self._tile(photograph, objects, shown, marks, name))
        if self.drawn < self.left:
            self._draw(photograph, objects, shown)
            self.drawn += 1

    def sheet(self) -> None:
        """Write the tiles on one page."""
        if self.tiles:
            write_picture(Path(self.folder) / f"{self.title}-sheet.jpg", contact_sheet(self.tiles), quality=88)

    def _draw(self, photograph: np.ndarray, objects: list[TrueObject], shown: list) -> None:
        answer, truth = photograph // 3, photograph // 3
        self._paint_found(answer, shown)
        for one in objects:
            ids = np.where(one.mask, 0, -1) if one.vertex_map is None else one.vertex_map
            self._paint(truth, ids, one.vertex_map is not None)
        boxes = [one.box for one in shown], [one.box for one in objects]
        panels = [framed(photograph, []), framed(answer, boxes[0], FOUND), framed(truth, boxes[1], TRUE)]
        together = np.concatenate([np.asarray(panel) for panel in panels], axis=1)
        write_picture(Path(self.folder) / f"{self.title}-{self.drawn:03d}.jpg", together, quality=88)

    def _tile(
        self, photograph: np.ndarray, objects: list[TrueObject], shown: list, marks: list[Marks], name: str
    ) -> Image.Image:
        """The photograph under its matched surface, a line from each true keypoint (ring) to the predicted (dot)."""
        painted = photograph.copy()
        self._paint_found(painted, shown)
        mixed = (photograph.astype(np.uint16) * 2 + painted.astype(np.uint16) * 3) // 5
        tile = framed(mixed.astype(np.uint8), [one.box for one in shown], longest=TILE)
        return finished(tile, photograph.shape[1], objects, marks, name, f"{len(shown)} found")

    def _paint_found(self, canvas: np.ndarray, shown: list) -> None:
        for detection in shown:
            dense = match_detection(detection, self.predictor.vertex_embeddings(detection.class_id))
            self._paint(canvas, on_image(dense, canvas.shape[:2]))

    def _paint(self, canvas: np.ndarray, ids: np.ndarray, vertices: bool = True) -> None:
        inside = ids >= 0
        if self.colours is None or not vertices or ids.max(initial=-1) >= len(self.colours):
            canvas[inside] = 200
        else:
            canvas[inside] = self.colours[ids[inside]]


def finished(
    tile: Image.Image, width: int, objects: list[TrueObject], marks: list[Marks], name: str = "", said: str = ""
) -> Image.Image:
    """A tile of a photograph that was `width` wide, with the keypoints of its objects, and a caption."""
    scale = tile.width / width
    for one, mark in zip(objects, marks, strict=True):
        if one.named is not None:
            asked = one.named[:, 2] > 0 if mark.named is None else ~np.isnan(mark.named)
            draw_keypoints(tile, scale * one.named[:, :2], None if mark.places is None else scale * mark.places, asked)
    page = Image.new("RGB", (tile.width, tile.height + 32), "white")
    page.paste(tile, (0, 0))
    for number, line in enumerate((objects[0].name if objects else name, "; ".join(map(_said, marks)) or said)):
        ImageDraw.Draw(page).text((4, tile.height + 2 + 14 * number), line[-tile.width // 6 :], fill=(20, 20, 20))
    return page


def contact_sheet(tiles: list[Image.Image]) -> Image.Image:
    """Pictures side by side in rows, each as high as its highest."""
    columns = min(COLUMNS, len(tiles))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    width, heights = max(tile.width for tile in tiles), [max(tile.height for tile in row) for row in rows]
    page = Image.new("RGB", (columns * width, sum(heights)), "white")
    for number, row in enumerate(rows):
        for place, tile in enumerate(row):
            page.paste(tile, (place * width, sum(heights[:number])))
    return page


def draw_keypoints(picture: Image.Image, true: np.ndarray, places: np.ndarray | None, asked: np.ndarray) -> None:
    """A ring at each true keypoint that is asked for, a line from it to a dot at the predicted one."""
    draw = ImageDraw.Draw(picture)
    hues = [(number / len(true), 0.9, 1.0) for number in range(len(true))]
    colours = np.round(255 * hsv_to_rgb(np.reshape(hues, (-1, 3)))).astype(int)
    for number in np.flatnonzero(asked):
        colour, point = tuple(colours[number].tolist()), true[number].tolist()
        if places is not None:
            place = places[number].tolist()
            draw.line([*point, *place], fill=colour, width=1)
            draw_circle(draw, place, 2.5, fill=colour, outline=(0, 0, 0))
        draw_circle(draw, point, 4.5, outline=(0, 0, 0), width=3)
        draw_circle(draw, point, 4.5, outline=colour, width=2)


def _said(mark: Marks) -> str:
    """What became of one object, in a few words."""
    if not mark.found:
        return "not found"
    text = f"IoU {mark.mask_overlap:.2f}"
    if mark.named is not None and (asked := mark.named[~np.isnan(mark.named)]).size:
        text += f", {int((asked <= 0.15).sum())} of {len(asked)} within 0.15"
    return text


def framed(
    pixels: UInt8[np.ndarray, "h w 3"], boxes: list, colour: Colour = FOUND, longest: int = LONGEST
) -> Image.Image:
    """At most `longest` pixels wide or high, with boxes."""
    scale = min(1.0, longest / max(pixels.shape[:2]))
    size = max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1)
    picture = Image.fromarray(pixels).resize(size)
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        draw.rectangle([float(value) * scale for value in box], outline=colour, width=2)
    return picture
