"""Boxes that the user gives instead of detections: a csv, a json object, or COCO's json."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dp3d_data.datasets.annotations import Annotations, box_of
from dp3d_data.datasets.coco import coco_images
from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.files import read_text
from dp3d_data.limits import parse_csv, parse_json, require_size
from dp3d_data.records import GivenObject, ImageRecord

EXPECTED = (
    'a csv with the header image,x0,y0,x1,y1; a json object {"image": [[x0, y0, x1, y1], ...]}; or COCO\'s json with'
    " images and annotations"
)


def attach_boxes(
    boxes: dict[str, Annotations], records: Sequence[ImageRecord], path: str | Path
) -> tuple[list[ImageRecord], list[str]]:
    """Give every record its boxes; an image that the file does not name gets none.

    A name means the image whose id, path, or end of path (whole folders) it is, if there is only one.

    Args:
        boxes: what the file `path` says of each image; see `read_boxes`.

    Returns:
        The records, in order, and the names of the file that are no image here.

    Raises:
        UsageError: no name of the file is an image here, or a name means several.
    """
    owners = _owners(boxes, records, path)
    if boxes and not owners:
        got, expected = f"{next(iter(boxes))!r} and others", f"names such as {records[0].image_id!r}"
        raise UsageError("the boxes are of other images", got=got, expected=expected, path=path)
    by_image: dict[str, Annotations] = {}
    for name, owner in owners.items():
        by_image.setdefault(owner, Annotations()).join(boxes[name])
    with_boxes = [by_image.get(record.image_id, Annotations()).of(record) for record in records]
    return with_boxes, [name for name in boxes if name not in owners]


def _owners(names: Iterable[str], records: Sequence[ImageRecord], path: str | Path) -> dict[str, str]:
    """Name in the file -> id of the image."""
    by_ending: dict[str, set[str]] = {}
    for record in records:
        parts = PurePosixPath(_normal(Path(record.path).absolute().as_posix())).parts
        for start in range(len(parts)):  # the path without 0, 1, 2, ... of its first folders
            by_ending.setdefault("/".join(parts[start:]), set()).add(record.image_id)
    ids = {record.image_id for record in records}
    owners: dict[str, str] = {}
    for name in names:
        meant = {name} if name in ids else by_ending.get(_normal(name), set())
        if len(meant) > 1:
            got = " and ".join(sorted(meant)[:2])
            raise UsageError(f"{name!r} means several images", got=got, hint="write the folder too", path=path)
        if meant:
            owners[name] = meant.pop()
    return owners


def read_boxes(path: str | Path, category: str | None = None) -> dict[str, Annotations]:
    """What a file of boxes says of each image, by the name that it gives the image, in pixels of the upright image.

    The content decides the form, not the name. A box that is none is a fault of its image.

    Args:
        category: of a COCO file that knows categories, only the boxes of this one; crowds are rejected.

    Raises:
        InputMissing: no such file.
        InputCorrupt: none of the known forms.
        UsageError: a COCO file without the category.
    """
    path = Path(path)
    require_size(path)
    text = read_text(path, "file of boxes", expected=EXPECTED)
    return _from_json(text, path, category) if text.lstrip()[:1] in ("{", "[") else _from_csv(text, path)


def _from_csv(text: str, path: Path) -> dict[str, Annotations]:
    wanted = ("image", "x0", "y0", "x1", "y1")
    images: dict[str, Annotations] = {}
    head = next(csv.reader(text.split("\n")[:1]), [])
    try:
        if not set(wanted) <= set(head):
            raise InputCorrupt("not a file of boxes", got=f"header {head}", expected=EXPECTED, path=path)
        for line, row in parse_csv(text):
            own = images.setdefault(row["image"] or "", Annotations())
            own.add(f"line {line}", _given, [row[key] for key in wanted[1:]])
    except csv.Error as error:
        raise InputCorrupt("not a file of boxes", got=error, expected=EXPECTED, path=path) from error
    return images


def _from_json(text: str, path: Path, category: str | None) -> dict[str, Annotations]:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputCorrupt("not json", got=error, expected=EXPECTED, path=path) from error
    images: dict[str, Annotations] = {}
    if isinstance(content, dict) and "annotations" in content:
        for found in coco_images(content, path, {"": (category, None)}):
            images.setdefault(found[""].names[0], Annotations()).join(found[""])
        return images
    if not isinstance(content, dict):
        raise InputCorrupt("not a file of boxes", got=f"a json {type(content).__name__}", expected=EXPECTED, path=path)
    for name, boxes in content.items():
        if not isinstance(boxes, list):
            raise InputCorrupt(f"boxes of {name!r} are no list", got=repr(boxes)[:80], expected=EXPECTED, path=path)
        own = images[name] = Annotations()
        for number, box in enumerate(boxes):
            own.add(f"box {number}", _given, box)
    return images


def _given(corners: Any) -> GivenObject:
    return GivenObject(box_of(corners))


def _normal(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/"))).lstrip("/")
