"""Boxes given by the user instead of detections: COCO-style json, plain json or csv."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.files import read_text
from dp3d_data.records import Box, GivenObject, ImageRecord
from dp3d_data.sources.coco import category_ids

EXPECTED = (
    'a csv with the header image,x0,y0,x1,y1; a json object {"image": [[x0, y0, x1, y1], ...]}; or COCO\'s json with images and annotations'
)


@dataclass(frozen=True)
class BoxFile:
    """The boxes of each image, xyxy in pixels of the upright image, by the name that the file gives the image."""

    path: str
    boxes: dict[str, tuple[Box, ...]]

    def attach(self, records: Iterable[ImageRecord]) -> tuple[list[ImageRecord], list[str]]:
        """Give every record its boxes; an image that the file does not name gets none.

        A name means the image whose id, path, or end of path (whole folders) it is, if there is only one.

        Returns:
            The records, in order, and the names of the file that are no image here.

        Raises:
            UsageError: no name of the file is an image here, or a name means several.
        """
        records = list(records)
        owners = self._owners(records)
        if self.boxes and not owners:
            got, expected = f"{next(iter(self.boxes))!r} and others", f"names such as {records[0].image_id!r}"
            raise UsageError("the boxes are of other images", got=got, expected=expected, path=self.path)
        mine = {owner: tuple(map(GivenObject, self.boxes[name])) for name, owner in owners.items()}
        with_boxes = [replace(record, objects=mine.get(record.image_id, ())) for record in records]
        return with_boxes, [name for name in self.boxes if name not in owners]

    def _owners(self, records: list[ImageRecord]) -> dict[str, str]:
        """Name in the file -> id of the image."""
        by_ending: dict[str, set[str]] = {}
        for record in records:
            for ending in _endings(record):
                by_ending.setdefault(ending, set()).add(record.image_id)
        ids = {record.image_id for record in records}
        owners: dict[str, str] = {}
        for name in self.boxes:
            meant = {name} if name in ids else by_ending.get(_normal(name), set())
            if len(meant) > 1:
                got = " and ".join(sorted(meant)[:2])
                hint = "write the folder too"
                raise UsageError(f"{name!r} means several images", got=got, hint=hint, path=self.path)
            if meant:
                owners[name] = meant.pop()
        return owners


def read_boxes(path: str | Path, category: str | None = None) -> BoxFile:
    """Read a file of boxes; by its content, not by its name.

    Args:
        category: of a COCO file that knows categories, only the boxes of this one; crowds are left out.

    Raises:
        InputMissing: no such file.
        InputCorrupt: none of the known forms, or a box that is none; says which.
        UsageError: a COCO file without the category.
    """
    path = Path(path)
    text = read_text(path, "file of boxes", expected=EXPECTED)
    entries = _json_entries(text, path, category) if text.lstrip()[:1] in ("{", "[") else _csv_entries(text, path)
    boxes: dict[str, list[Box]] = {}
    for where, name, values in entries:
        boxes.setdefault(str(name), []).extend([_box(values, where, path)] if values is not None else [])
    return BoxFile(str(path), {name: tuple(found) for name, found in boxes.items()})


# Where in the file, name of the image, and its four numbers (None: the image is named and has no box).
Entry = tuple[str, str, Any]


def _csv_entries(text: str, path: Path) -> Iterator[Entry]:
    rows = csv.DictReader(io.StringIO(text))
    wanted = ("image", "x0", "y0", "x1", "y1")
    if not set(wanted) <= set(rows.fieldnames or ()):
        raise InputCorrupt("not a file of boxes", got=f"header {rows.fieldnames}", expected=EXPECTED, path=path)
    for row in rows:
        yield f"line {rows.line_num}", row["image"], [row[key] for key in wanted[1:]]


def _json_entries(text: str, path: Path, category: str | None) -> Iterator[Entry]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputCorrupt("not json", got=error, expected=EXPECTED, path=path) from error
    if isinstance(content, dict) and "annotations" in content:
        return _coco_entries(content, path, category)
    return _plain_entries(content, path)


def _plain_entries(content: Any, path: Path) -> Iterator[Entry]:
    if not isinstance(content, dict):
        raise InputCorrupt("not a file of boxes", got=f"a json {type(content).__name__}", expected=EXPECTED, path=path)
    for name, boxes in content.items():
        if not isinstance(boxes, list):
            raise InputCorrupt(f"boxes of {name!r} are no list", got=repr(boxes)[:80], expected=EXPECTED, path=path)
        yield name, name, None
        for number, box in enumerate(boxes):
            yield f"{name}, box {number}", name, box


def _coco_entries(content: dict, path: Path, category: str | None) -> Iterator[Entry]:
    try:
        names = {image["id"]: image["file_name"] for image in content["images"]}
        wanted = None if category is None else category_ids(content.get("categories") or [], category, path)
        for image_name in names.values():
            yield image_name, image_name, None
        for entry in content["annotations"]:
            if entry.get("iscrowd") or (wanted is not None and entry.get("category_id") not in wanted):
                continue
            x, y, width, height = entry["bbox"]
            yield f"annotation {entry.get('id')}", names[entry["image_id"]], (x, y, float(x) + width, float(y) + height)
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputCorrupt("not COCO's json", got=repr(error), expected=EXPECTED, path=path) from error


def _box(values: Any, where: str, path: Path) -> Box:
    try:
        x0, y0, x1, y1 = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputCorrupt(f"{where}: not a box", got=repr(values)[:80], expected="x0, y0, x1, y1", path=path) from error
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        got, expected = f"{x0}, {y0}, {x1}, {y1}", "x0 < x1 and y0 < y1, in image pixels"
        raise InputCorrupt(f"{where}: not a box", got=got, expected=expected, path=path)
    return x0, y0, x1, y1


def _normal(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/"))).lstrip("/")


def _endings(record: ImageRecord) -> Iterator[str]:
    """The path of an image without 0, 1, 2, ... of its first folders."""
    parts = PurePosixPath(_normal(Path(record.path).absolute().as_posix())).parts
    for start in range(len(parts)):
        yield "/".join(parts[start:])
