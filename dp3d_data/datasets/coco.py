"""COCO's and LVIS's json: images with boxes and masks of one category."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from dp3d_data.categories import CATEGORIES
from dp3d_data.datasets.annotations import MALFORMED, Annotations, corners, in_words, size_of_image
from dp3d_data.datasets.masks import segmentation_mask
from dp3d_data.datasets.options import SourceOptions, required_path
from dp3d_data.datasets.trees import find_image, read_json, require_images
from dp3d_data.errors import InputCorrupt, NothingToDo, UsageError
from dp3d_data.records import GivenObject, ImageRecord

EXPECTED = "COCO's json: images (id, file_name or coco_url, width, height), annotations (image_id, category_id, bbox), categories"
HINT = "name the folder of the photographs: --images FOLDER"
FORMS = "give the file of the instances, such as instances_val2017.json: results, panoptic and caption files hold no such annotations"


@dataclass(frozen=True)
class CocoSource:
    """The images that show a category, each with the boxes (and masks) of its objects in the order of the file; crowds are rejected.

    An image is looked for in the folders of --images, or beside the file and one folder above, by its file_name and then
    by the ends of its URLs: train2017/000000000009.jpg, 000000000009.jpg. Its id is the file_name, or that end. Its split
    is the word in the json's name (train, val, test), if there is one.
    """

    options: SourceOptions
    name: ClassVar[str] = "coco"

    def records(self) -> list[ImageRecord]:
        """Every image with an annotation of the category, in the order of the file.

        Annotations that cannot be used are faults of their image; those of no image are faults of a record without a file.

        Raises:
            InputMissing: no such json, or none of its images is there.
            InputCorrupt: not COCO's json, or not one annotation in it that can be used.
            UsageError: no such category in the file; names the near match.
            NothingToDo: no annotation of the category.
        """
        path = Path(required_path(self.options, self.name, EXPECTED))
        content = read_json(path, EXPECTED)
        folders = self.options.images or (str(path.parent), str(path.parent.parent))
        word = self.options.category_in_file or self.options.category
        found = coco_images(content, path, word, self._number_of(word), masks=self.options.masks)
        side = split_in_name(path.stem)
        records = [
            one.of(ImageRecord(one.names[0], find_image(one.names, folders) if one.listed else "", self.name, split=side)) for one in found
        ]
        if not records:
            raise NothingToDo(f"no {self.options.category} in this file", got=f"{len(content['images'])} images", path=path)
        _require_unique(records, path)
        require_images([record for record in records if record.path], folders, HINT)
        return records

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""

    def _number_of(self, word: str) -> str | None:
        """The category's id in every file of this kind, where there is one."""
        return None


class LvisSource(CocoSource):
    """LVIS: COCO's json, images by coco_url; a category of ours that the file names otherwise is known by its id in LVIS."""

    name: ClassVar[str] = "lvis"

    def _number_of(self, word: str) -> str | None:
        number = CATEGORIES[word].lvis_id if word in CATEGORIES else None
        return None if number is None else str(number)


@dataclass
class CocoImage(Annotations):
    """An image of the file with its annotations of the wanted category.

    Attributes:
        names: what it may be called on disk; the first is its id.
        listed: whether the file has this image; else it is named by annotations alone.
    """

    names: list[str] = field(default_factory=list)
    listed: bool = True


def coco_images(content: Any, path: Path, word: str | None, other: str | None = None, *, masks: bool = False) -> list[CocoImage]:
    """The images that annotations of a category name, in the order of the file; every annotation is in one of them.

    Args:
        content: of the json.
        word: name or id of the category; None for all.
        other: an id of the category to take where the word is none of the file's.
        masks: whether masks are wanted.

    Raises:
        InputCorrupt: not COCO's json, or not one annotation in it that can be used.
        UsageError: no such category.
    """
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
    if not all(isinstance(entries, list) for entries in lists):
        got = f"an object with {', '.join(map(str, content))}"[:120] if isinstance(content, dict) else f"a json {type(content).__name__}"
        raise InputCorrupt("not COCO's json", got=got, expected=EXPECTED, hint=FORMS, path=path)
    images, annotations = lists
    wanted = None if word is None else category_ids(content.get("categories"), word, path, other, annotations)
    known = _known_images(images)
    for place, note in enumerate(annotations):
        if _of_category(note, wanted):
            _add(_image_of(note, known), note, place, masks, wanted is not None)
    found = [image for image in known.values() if image.objects or image.crowds or image.faults]
    if found and not any(image.objects or image.crowds for image in found):
        got = found[0].faults[0]
        raise InputCorrupt("not COCO's json: no annotation of it can be used", got=got, expected=EXPECTED, hint=FORMS, path=path)
    return found


def _add(image: CocoImage, note: Any, place: int, masks: bool, by_category: bool) -> None:
    """Put an annotation where it belongs: among the crowds, the objects or the faults."""
    own = note.get("id") if isinstance(note, dict) else None
    name = f"annotation number {place + 1} of the file" if own is None else f"annotation {own}"
    if isinstance(note, dict) and str(note.get("iscrowd")) in ("1", "1.0", "True"):
        image.crowds.append(name)
        return

    def make() -> GivenObject:
        if by_category:
            _key(note["category_id"])
        mask = segmentation_mask(note.get("segmentation"), image.size) if masks else None
        named = _keypoints(note.get("keypoints") or ())
        return GivenObject(corners(note["bbox"]), None if own is None else str(own), mask, named)

    image.add(name, make)


def _keypoints(flat: Sequence[Any]) -> tuple[tuple[float, float, float], ...] | None:
    """x, y and visibility (0 where not labelled) of each keypoint, written one after the other; None where there are none."""
    values = [float(value) for value in flat]
    if len(values) % 3:
        raise InputCorrupt("keypoints that are no triples", got=f"{len(values)} numbers", expected="x, y and visibility of each")
    return tuple(zip(values[::3], values[1::3], values[2::3], strict=True)) or None


def _of_category(note: Any, wanted: set[str] | None) -> bool:
    """Whether an annotation is of a wanted category; one that does not tell is, so that it is seen."""
    try:
        return wanted is None or _key(note["category_id"]) in wanted
    except MALFORMED:
        return True


def _image_of(note: Any, known: dict[str, CocoImage]) -> CocoImage:
    """The image of an annotation; one without a file, new among the known ones, where there is none."""
    try:
        key = _key(note["image_id"])
        trouble, name = f"its image {key} is not in the file", f"image {key}, which is not in the file"
    except MALFORMED as error:
        key, trouble, name = "", in_words(error), "annotations of no image"
    return known.setdefault(key, CocoImage(trouble=trouble, names=[name], listed=False))


def _known_images(images: Sequence[Any]) -> dict[str, CocoImage]:
    """Id -> image; what is wrong with an image is the trouble of its annotations."""
    known: dict[str, CocoImage] = {}
    for entry in images:
        try:
            key = _key(entry["id"])
        except MALFORMED:
            continue  # no annotation can name it
        if key in known:
            known[key].trouble = f"two images have its image_id {key}"
            continue
        image = known[key] = CocoImage(names=[f"image {key}, which has no file_name"], listed=False)
        try:
            image.names, image.listed = _names(entry), True
            image.size = size_of_image(entry.get("width"), entry.get("height"))
        except MALFORMED as error:
            image.trouble = in_words(error)
    return known


def category_ids(
    categories: Any, word: str, path: Path, other: str | None = None, annotations: Sequence[Any] = ()
) -> set[str] | None:
    """Ids of the wanted category; None where the file does not tell categories apart.

    Args:
        word: a name or synonym (underscores, spaces and capitals do not matter) or an id of the file.
        other: an id to take where the word is none of the file's.
        annotations: of the file, which may tell categories apart without naming them.

    Raises:
        UsageError: the file has no such category; names the near match.
        InputCorrupt: a category without id or name, or an id that means another category too.
    """
    if not categories:
        return _unnamed(word, path, annotations)
    by_name, by_synonym, names = _categories(categories, path)
    ids = by_name.get(_plain(word)) or by_synonym.get(_plain(word)) or {key for key in (word, other) if key in names}
    shared = [key for key in ids if len(names[key]) > 1]
    if shared:
        raise InputCorrupt(f"two categories have the id {shared[0]}", got=" and ".join(sorted(names[shared[0]])), path=path)
    if ids:
        return ids
    near = difflib.get_close_matches(_plain(word), [*by_name, *by_synonym], n=1)
    got = f"did you mean {near[0]!r}?" if near else ", ".join(sorted(by_name)[:5])
    hint = "name it as the file does, or by its id: --set category_in_file=NAME_OR_ID"
    raise UsageError(f"no category {word!r} in the annotations", got=got, hint=hint, path=path)


def _categories(categories: Any, path: Path) -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, set[str]]]:
    """Name -> ids, synonym -> ids, id -> names."""
    by_name: dict[str, set[str]] = {}
    by_synonym: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    try:
        for entry in categories:
            key, name, synonyms = _key(entry["id"]), _plain(str(entry["name"])), entry.get("synonyms") or ()
            by_name.setdefault(name, set()).add(key)
            names.setdefault(key, set()).add(name)
            for synonym in (synonyms,) if isinstance(synonyms, str) else synonyms:
                by_synonym.setdefault(_plain(str(synonym)), set()).add(key)
    except MALFORMED as error:
        raise InputCorrupt("not COCO's json: a category", got=in_words(error), expected=EXPECTED, path=path) from error
    return by_name, by_synonym, names


def _unnamed(word: str, path: Path, annotations: Sequence[Any]) -> set[str] | None:
    """The ids of a file without names of categories: the word where it is an id, all where there is but one."""
    if word.isdecimal():
        return {word}
    found: set[str] = set()
    for note in annotations:
        with suppress(*MALFORMED):
            found.add(_key(note["category_id"]))
    if len(found) > 1:
        got, hint = f"category ids {', '.join(sorted(found)[:5])}", "choose one: --set category_in_file=ID"
        raise UsageError("the annotations do not name their categories", got=got, hint=hint, path=path)
    return None


def _key(value: Any) -> str:
    """An id as text: 18, 18.0 and "18" are one.

    Raises:
        InputCorrupt: neither a number nor text.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputCorrupt("not an id", got=repr(value)[:40])
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def split_in_name(stem: str) -> str | None:
    """The split that a file's name says, if it says one: instances_val2017 is val."""
    words = set(re.findall(r"(?<![a-z])(train|val|test)(?![a-z])", stem.lower()))
    return words.pop() if len(words) == 1 else None


def _names(image: Mapping[str, Any]) -> list[str]:
    """What an image may be called on disk: file_name, then the ends of its URLs; the first is its id."""
    names = [str(image["file_name"])] if image.get("file_name") else []
    for key in ("coco_url", "flickr_url"):
        place = urlsplit(str(image.get(key) or "")).path
        for parts in ([part for part in one.split("/") if part] for one in (place, unquote(place))):
            names += ["/".join(parts[-count:]) for count in (2, 1) if len(parts) >= count]
    if not names:
        raise InputCorrupt("its image has no file_name and no coco_url")
    return list(dict.fromkeys(name.replace("\\", "/").lstrip("/") for name in names))


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def _require_unique(records: Sequence[ImageRecord], path: Path) -> None:
    seen: set[str] = set()
    for record in records:
        if record.image_id in seen:
            raise InputCorrupt("two images share a name", got=record.image_id, expected="a file_name for each image", path=path)
        seen.add(record.image_id)
