"""COCO's and LVIS's json: images with boxes and masks of one category."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from dp3d_data.categories import CATEGORIES
from dp3d_data.errors import InputCorrupt, NothingToDo, UsageError
from dp3d_data.records import Box, GivenObject, ImageRecord
from dp3d_data.sources.masks import segmentation_mask
from dp3d_data.sources.options import SourceOptions, required_path
from dp3d_data.sources.trees import find_image, read_json, require_images

EXPECTED = "COCO's json: images (id, file_name or coco_url, width, height), annotations (image_id, category_id, bbox), categories"
HINT = "name the folder of the photographs: --images FOLDER"
# What values of the wrong form make the arithmetic below raise.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True)
class CocoSource:
    """The images that show a category, each with the boxes (and masks) of its objects in the order of the file; crowds are left out.

    An image is looked for in the folders of --images, or beside the file and one folder above, by its file_name and then
    by the ends of its URLs: train2017/000000000009.jpg, 000000000009.jpg. Its id is the file_name, or that end. Its split
    is the word in the json's name (train, val, test), if there is one.
    """

    options: SourceOptions
    name: ClassVar[str] = "coco"

    def records(self) -> list[ImageRecord]:
        """Every image with an annotation of the category, in the order of the file.

        Raises:
            InputMissing: no such json, or none of its images is there.
            InputCorrupt: not COCO's json.
            UsageError: no such category in the file; names the near match.
            NothingToDo: no annotation of the category.
        """
        path = Path(required_path(self.options, self.name, EXPECTED))
        content = read_json(path, EXPECTED)
        folders = self.options.images or (str(path.parent), str(path.parent.parent))
        try:
            images = {image["id"]: image for image in content["images"]}
            word = self.options.category_in_file or self.options.category
            wanted = category_ids(content.get("categories") or [], word, path, self._number_of(word))
            objects = self._objects(content["annotations"], images, wanted)
            names = {key: _names(images[key]) for key in images if key in objects}
        except MALFORMED as error:
            if isinstance(error, (UsageError, InputCorrupt)):
                raise
            raise InputCorrupt("not COCO's json", got=repr(error)[:120], expected=EXPECTED, path=path) from error
        side = split_in_name(path.stem)
        records = [
            ImageRecord(own[0], find_image(own, folders), self.name, split=side, objects=tuple(objects[key])) for key, own in names.items()
        ]
        if not records:
            raise NothingToDo(f"no {self.options.category} in this file", got=f"{len(images)} images", path=path)
        _require_unique(records, path)
        require_images(records, folders, HINT)
        return records

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""

    def _number_of(self, word: str) -> int | None:
        """The category's id in every file of this kind, where there is one."""
        return None

    def _objects(self, annotations: Sequence[Any], images: Mapping[Any, Any], wanted: set[Any] | None) -> dict[Any, list[GivenObject]]:
        """Image id -> its objects; an image with a crowd only has none."""
        objects: dict[Any, list[GivenObject]] = {}
        for entry in annotations:
            if wanted is not None and entry["category_id"] not in wanted:
                continue
            of_image, image = objects.setdefault(entry["image_id"], []), images[entry["image_id"]]
            if entry.get("iscrowd"):
                continue
            mask = segmentation_mask(entry.get("segmentation"), image["height"], image["width"]) if self.options.masks else None
            named = _keypoints(entry.get("keypoints") or ())
            of_image.append(GivenObject(corners(entry["bbox"]), str(entry.get("id", len(of_image))), mask, named))
        return objects


class LvisSource(CocoSource):
    """LVIS: COCO's json, images by coco_url; a category of ours that the file names otherwise is known by its id in LVIS."""

    name: ClassVar[str] = "lvis"

    def _number_of(self, word: str) -> int | None:
        return CATEGORIES[word].lvis_id if word in CATEGORIES else None


def _keypoints(flat: Sequence[float]) -> tuple[tuple[float, float, float], ...] | None:
    """x, y and visibility (0 where not labelled) of each keypoint, written one after the other; None where there are none."""
    values = [float(value) for value in flat]
    return tuple(zip(values[::3], values[1::3], values[2::3], strict=True)) or None


def corners(bbox: Sequence[float]) -> Box:
    """x, y, width, height to x0, y0, x1, y1.

    Raises:
        ValueError: not four finite numbers.
    """
    x, y, width, height = (float(value) for value in bbox)
    if not all(map(math.isfinite, (x, y, width, height))):
        raise ValueError(f"a box of {bbox}")
    return x, y, x + width, y + height


def category_ids(categories: Sequence[Mapping[str, Any]], word: str, path: Path, other: int | None = None) -> set[Any] | None:
    """Ids of the wanted category; None where the file does not tell categories apart.

    Args:
        word: a name or synonym (underscores, spaces and capitals do not matter) or an id of the file.
        other: an id to take where the word is none of the file's.

    Raises:
        UsageError: the file has no such category; names the near match.
    """
    if not categories:
        return None
    by_name = {_plain(str(name)): entry["id"] for entry in categories for name in entry.get("synonyms", ())}
    by_name |= {_plain(str(entry["name"])): entry["id"] for entry in categories}
    if _plain(word) in by_name:
        return {by_name[_plain(word)]}
    number = int(word) if word.isdecimal() else other
    if number in {entry["id"] for entry in categories}:
        return {number}
    near = difflib.get_close_matches(_plain(word), by_name, n=1)
    got = f"did you mean {near[0]!r}?" if near else ", ".join(sorted(by_name)[:5])
    hint = "name it as the file does, or by its id: --category-in-file NAME_OR_ID"
    raise UsageError(f"no category {word!r} in the annotations", got=got, hint=hint, path=path)


def split_in_name(stem: str) -> str | None:
    """The split that a file's name says, if it says one: instances_val2017 is val."""
    words = set(re.findall(r"(?<![a-z])(train|val|test)(?![a-z])", stem.lower()))
    return words.pop() if len(words) == 1 else None


def _names(image: Mapping[str, Any]) -> list[str]:
    """What an image may be called on disk: file_name, then the ends of its URLs; the first is its id."""
    names = [str(image["file_name"])] if image.get("file_name") else []
    for key in ("coco_url", "flickr_url"):
        parts = [part for part in urlsplit(str(image.get(key) or "")).path.split("/") if part]
        names += ["/".join(parts[-count:]) for count in (2, 1) if len(parts) >= count]
    if not names:
        raise KeyError("file_name or coco_url")
    return list(dict.fromkeys(name.replace("\\", "/").lstrip("/") for name in names))


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def _require_unique(records: Sequence[ImageRecord], path: Path) -> None:
    seen: set[str] = set()
    for record in records:
        if record.image_id in seen:
            raise InputCorrupt("two images share a name", got=record.image_id, expected="a file_name for each image", path=path)
        seen.add(record.image_id)
