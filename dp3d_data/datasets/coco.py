"""COCO's and LVIS's json: images with boxes and masks of one category."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from dp3d_data.categories import CATEGORIES
from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import (
    MALFORMED,
    Annotations,
    corners,
    in_words,
    keypoints_of,
    segmentation_mask,
    size_of_image,
)
from dp3d_data.datasets.coco_file import EXPECTED, Entries, ids_of, key_of, read_coco, tags_of
from dp3d_data.datasets.locations import find_image, require_images
from dp3d_data.errors import InputCorrupt, NothingToDo
from dp3d_data.records import GivenObject, ImageRecord

HINT = "name the folder of the photographs: --images FOLDER"
SINGLE = ("0", "0.0", "false", "no", "none", "null", "")  # what iscrowd says of one animal
FORMS = (
    "give the file of the instances, such as instances_val2017.json: results, panoptic and caption files hold no such"
    " annotations"
)


class Coco(Dataset):
    """The images that show a category, each with the boxes (and masks) of its objects in the order of the file; crowds
    are rejected.

    An image is looked for in the folders of --images, or beside the file and one folder above, by its file_name and
    then by the ends of its URLs: train2017/000000000009.jpg, 000000000009.jpg. Its id is the file_name, or that end.
    Its split is the word in the json's name (train, val, test), if there is one.
    """

    name = "coco"
    numbers: ClassVar[Mapping[str, str]] = {}  # our name of a category -> its id in every file of this kind

    def records(self) -> list[ImageRecord]:
        """Every image with an annotation of the category, in the order of the file.

        Annotations that cannot be used are faults of their image; those of no image are faults of a record without a
        file.
        """
        return [views[self.options.category] for views in self.records_of((self.options.category,))]

    def records_of(self, names: Sequence[str]) -> list[dict[str, ImageRecord]]:
        """The images with an annotation of any of these categories, in the order of the file: category -> the record
        with its objects.

        Of several categories the file may lack some, in names or in annotations.
        """
        path = self.path(EXPECTED)
        content = read_coco(path)
        folders = self.options.images or (str(path.parent), str(path.parent.parent))
        in_file = {name: self.options.category_in_file or name for name in names}
        wanted = {name: (own, self.numbers.get(own)) for name, own in in_file.items()}
        split, images = split_in_name(path.stem), []
        for found in coco_images(content, path, wanted, masks=self.options.masks):
            one = next(iter(found.values()))
            place = find_image(one.names, folders) if one.listed else ""
            record = ImageRecord(one.names[0], place, self.name, split=split)
            images.append({name: own.of(record) for name, own in found.items()})
        if not images:
            what, got = f"no {' or '.join(names)} in this file", f"{len(content['images'])} images"
            raise NothingToDo(what, got=got, path=path)
        records = [next(iter(views.values())) for views in images]
        _require_unique(records, path)
        require_images([record for record in records if record.path], folders, HINT)
        return images


class Lvis(Coco):
    """LVIS: COCO's json, images by coco_url; a category of ours that the file names otherwise is known by its id in
    LVIS."""

    name = "lvis"
    numbers = {name: str(one.lvis_id) for name, one in CATEGORIES.items() if one.lvis_id is not None}


def coco_images(
    content: Any, path: Path, wanted: Mapping[str, tuple[str | None, str | None]], *, masks: bool = False
) -> list[dict[str, Annotations]]:
    """The images that annotations of some categories name, in the order of the file: of each, its annotations by
    category.

    Args:
        content: of the json.
        wanted: our name of a category -> its name or id in the file (None for all), and an id to take where the file
            has no such name.
        masks: whether masks are wanted.

    Raises:
        InputCorrupt: not COCO's json, or not one annotation in it that can be used.
        UsageError: not one of these categories.
    """
    if not isinstance(content, dict):
        got = f"a json {type(content).__name__}"
        raise InputCorrupt("not COCO's json", got=got, expected=EXPECTED, hint=FORMS, path=path)
    images, annotations = (content.get(key) for key in ("images", "annotations"))
    if not isinstance(images, (list, Entries)) or not isinstance(annotations, (list, Entries)):
        got = f"an object with {', '.join(map(str, content))}"[:120]
        raise InputCorrupt("not COCO's json", got=got, expected=EXPECTED, hint=FORMS, path=path)
    tags = tags_of(annotations, "category_id")
    ids = ids_of(content.get("categories"), wanted, path, tags)
    names_of = {tag: _names_of(tag, ids) for tag in set(tags)}
    places, twice = _places(images)
    found: dict[str, dict[str, Annotations]] = {}
    for number, tag in enumerate(tags):
        note = annotations[number] if names_of[tag] else None
        for name in names_of[tag]:
            key, trouble = _image_key(note)
            views = found.setdefault(key, {})
            if name not in views:
                own = f"two images have its image_id {key}" if key in twice else trouble
                views[name] = _image(images[places[key]], key, own) if key in places else _no_image(key, trouble)
            _add(views[name], note, number, masks, ids[name] is not None)
    together = [found[key] for key in sorted(found, key=lambda key: places.get(key, len(images)))]
    every = [image for views in together for image in views.values()]
    if every and not any(image.objects or image.crowds for image in every):
        what, got = "not COCO's json: no annotation of it can be used", every[0].faults[0]
        raise InputCorrupt(what, got=got, expected=EXPECTED, hint=FORMS, path=path)
    return together


def _add(image: Annotations, note: Any, place: int, masks: bool, by_category: bool) -> None:
    """Put an annotation where it belongs: among the crowds, the objects or the faults."""
    own = note.get("id") if isinstance(note, dict) else None
    name = f"annotation number {place + 1} of the file" if own is None else f"annotation {own}"
    if isinstance(note, dict) and str(note.get("iscrowd") or 0).strip().lower() not in SINGLE:
        image.crowds.append(name)
        return

    def make() -> GivenObject:
        if by_category:
            key_of(note["category_id"])
        mask = segmentation_mask(note.get("segmentation"), image.size) if masks else None
        named = keypoints_of(note.get("keypoints") or ())
        return GivenObject(corners(note["bbox"]), None if own is None else key_of(own), mask, named)

    image.add(name, make)


def _names_of(tag: Any, ids: Mapping[str, set[str] | None]) -> list[str]:
    """The wanted categories that an annotation is of; one that does not tell is of all, so that it is seen."""
    try:
        key = key_of(tag)
    except MALFORMED:
        return list(ids)
    return [name for name, own in ids.items() if own is None or key in own]


def _image_key(note: Any) -> tuple[str, str]:
    """The id of an annotation's image; empty where it has none, and why."""
    try:
        return key_of(note["image_id"]), ""
    except MALFORMED as error:
        return "", in_words(error)


def _places(entries: Sequence[Any]) -> tuple[dict[str, int], set[str]]:
    """Id -> place of each image of the file, and the ids of several."""
    places, twice = dict[str, int](), set[str]()
    for place, tag in enumerate(tags_of(entries, "id")):
        with suppress(*MALFORMED):  # no annotation can name it
            key = key_of(tag)
            if places.setdefault(key, place) != place:
                twice.add(key)
    return places, twice


def _image(entry: Any, key: str, trouble: str) -> Annotations:
    """An image of the file without annotations; what is wrong with it is the trouble of its annotations."""
    image = Annotations(names=[f"image {key}, which has no file_name"], listed=False)
    try:
        image.names, image.listed = _names(entry), True
        image.size = size_of_image(entry.get("width"), entry.get("height"))
    except MALFORMED as error:
        image.trouble = in_words(error)
    image.trouble = trouble or image.trouble
    return image


def _no_image(key: str, trouble: str) -> Annotations:
    """An image without a file, of annotations whose image the file has not."""
    name = "annotations of no image" if trouble else f"image {key}, which is not in the file"
    return Annotations(trouble=trouble or f"its image {key} is not in the file", names=[name], listed=False)


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


def _require_unique(records: Sequence[ImageRecord], path: Path) -> None:
    names = Counter(record.image_id for record in records)
    if len(names) < len(records):
        got, expected = names.most_common(1)[0][0], "a file_name for each image"
        raise InputCorrupt("two images share a name", got=got, expected=expected, path=path)
