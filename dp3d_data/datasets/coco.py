"""COCO's and LVIS's json: images with boxes and masks of one category; entries are decoded when they are asked for."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from dp3d_data.categories import CATEGORIES
from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import (
    MALFORMED,
    Annotations,
    box_of,
    in_words,
    keypoints_of,
    segmentation_mask,
    size_of_image,
)
from dp3d_data.datasets.locations import find_image, require_images
from dp3d_data.errors import InputCorrupt, NothingToDo, UsageError, near_match
from dp3d_data.files import read_text
from dp3d_data.limits import once, parse_json, require_size, whole_characters
from dp3d_data.records import GivenObject, ImageRecord

EXPECTED = (
    "COCO's json: images (id, file_name or coco_url, width, height), annotations (image_id, category_id, bbox),"
    " categories"
)
HINT = "name the folder of the photographs: --images FOLDER"
SINGLE = ("0", "0.0", "false", "no", "none", "null", "")  # what iscrowd says of one animal
FORMS = (
    "give the file of the instances, such as instances_val2017.json: results, panoptic and caption files hold no such"
    " annotations"
)


class Coco(Dataset):
    """The images that show a category, with its objects in the order of the file; crowds are rejected.

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
        """The images with an annotation of any of these categories, in order: category -> its record.

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
        names_found = Counter(record.image_id for record in records)
        if len(names_found) < len(records):
            got, expected = names_found.most_common(1)[0][0], "a file_name for each image"
            raise InputCorrupt("two images share a name", got=got, expected=expected, path=path)
        require_images([record for record in records if record.path], folders, HINT)
        return images


class Lvis(Coco):
    """COCO's json, images by coco_url; a category that the file names otherwise is known by its id in LVIS."""

    name = "lvis"
    numbers = {name: str(one.lvis_id) for name, one in CATEGORIES.items() if one.lvis_id is not None}


def coco_images(
    content: Any, path: Path, wanted: Mapping[str, tuple[str | None, str | None]], *, masks: bool = False
) -> list[dict[str, Annotations]]:
    """The images that annotations of some categories name, in order: of each, its annotations by category.

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
    names_of = {  # an annotation that does not tell its category is of all, so that it is seen
        tag: [name for name, own in ids.items() if tag is None or own is None or key_of(tag) in own]
        for tag in set(tags)
    }
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
        return GivenObject(box_of(note["bbox"], sized=True), None if own is None else key_of(own), mask, named)

    image.add(name, make)


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
        if tag is not None and places.setdefault(key_of(tag), place) != place:
            twice.add(key_of(tag))
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


TAGS = {"images": "id", "annotations": "category_id"}
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_scan = json.scanner.make_scanner(json.JSONDecoder(object_pairs_hook=once))  # type: ignore[attr-defined]


class Entries(Sequence[Any]):
    """A list of the file, decoded entry by entry; `tags` are ids or categories, None if neither number nor text."""

    def __init__(self, text: str) -> None:
        self._text, self._starts, self.tags = text, array("q"), list[Any]()

    def append(self, start: int, tag: Any) -> None:
        self._starts.append(start)
        self.tags.append(tag)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: Any) -> Any:
        return _scan(self._text, self._starts[place])[0]


def tags_of(entries: Sequence[Any], name: str) -> list[Any]:
    """What each entry has under a name, as `Entries.tags`."""
    return entries.tags if isinstance(entries, Entries) else [_tag(entry, name) for entry in entries]


def _tag(entry: Any, name: str) -> Any:
    tag = entry.get(name) if isinstance(entry, dict) else None
    return tag if isinstance(tag, (int, float, str)) and not isinstance(tag, bool) else None


def read_coco(path: Path) -> Any:
    """The content of a json file; its images and annotations are `Entries`.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not json, or too large.
    """
    require_size(path)
    text = whole_characters(read_text(path, expected=EXPECTED))
    try:
        return _content(text)
    except (ValueError, StopIteration, RecursionError):
        try:  # the plain parser says what is wrong, and takes what only it can
            return parse_json(text)
        except ValueError as error:
            raise InputCorrupt("not a json file", got=str(error)[:120], expected=EXPECTED, path=path) from error


def _content(text: str) -> dict[str, Any]:
    """The top object, its long lists entry by entry."""
    content: dict[str, Any] = {}
    at = _after(text, _skip(text, 0), "{")
    while True:
        name, at = _scan(text, at)
        if name in content:
            raise ValueError(f"{name!r} stands twice")
        at = _after(text, _skip(text, at), ":")
        if name in TAGS and text[at : at + 1] == "[":
            content[name], at = _entries(text, _after(text, at, "["), TAGS[name])
        else:
            content[name], at = _scan(text, at)
        comma = _COMMA.match(text, at)
        if comma is None:
            if _skip(text, _after(text, _skip(text, at), "}")) != len(text):
                raise ValueError("more behind the object")
            return content
        at = comma.end()
        if text[at : at + 1] != '"':
            raise ValueError("no name")


def _entries(text: str, at: int, name: str) -> tuple[Entries, int]:
    """The entries of a list, and the place behind it."""
    entries, same = Entries(text), dict[Any, Any]()
    if text[at : at + 1] == "]":
        return entries, at + 1
    while True:
        value, end = _scan(text, at)
        tag = _tag(value, name)
        entries.append(at, same.setdefault(tag, tag))
        comma = _COMMA.match(text, end)
        if comma is None:
            return entries, _after(text, _skip(text, end), "]")
        at = comma.end()


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _after(text: str, at: int, mark: str) -> int:
    """The place behind a mark and the space that follows it."""
    if text[at : at + 1] != mark:
        raise ValueError(f"no {mark}")
    return _skip(text, at + 1)


def ids_of(
    categories: Any, wanted: Mapping[str, tuple[str | None, str | None]], path: Path, tags: Sequence[Any]
) -> dict[str, set[str] | None]:
    """Our name -> the ids in the file, None for all annotations; of several, those that the file has."""
    ids: dict[str, set[str] | None] = {}
    unknown: list[UsageError] = []
    for name, (word, other) in wanted.items():
        try:
            ids[name] = None if word is None else category_ids(categories, word, path, other, tags)
        except UsageError as error:
            unknown.append(error)
    if not ids:
        raise unknown[0]
    return ids


def category_ids(
    categories: Any, word: str, path: Path, other: str | None = None, tags: Sequence[Any] = ()
) -> set[str] | None:
    """Ids of the wanted category; None where the file does not tell categories apart.

    Args:
        word: a name or synonym (underscores, spaces and capitals do not matter) or an id of the file.
        other: an id to take where the word is none of the file's.
        tags: ids of the annotations, which may tell categories apart without naming them.

    Raises:
        UsageError: the file has no such category; names the near match.
        InputCorrupt: a category without id or name, or an id that means another category too.
    """
    if not categories:  # the word where it is an id, all annotations where there is but one
        if word.isdecimal():
            return {word}
        found = {key_of(tag) for tag in tags if tag is not None}
        if len(found) > 1:
            got, hint = f"category ids {', '.join(sorted(found)[:5])}", "choose one: --set category_in_file=ID"
            raise UsageError("the annotations do not name their categories", got=got, hint=hint, path=path)
        return None
    by_name, by_synonym, names = _categories(categories, path)
    ids = by_name.get(_plain(word)) or by_synonym.get(_plain(word)) or {key for key in (word, other) if key in names}
    shared = [key for key in ids if len(names[key]) > 1]
    if shared:
        got = " and ".join(sorted(names[shared[0]]))
        raise InputCorrupt(f"two categories have the id {shared[0]}", got=got, path=path)
    if ids:
        return ids
    got = near_match(_plain(word), [*by_name, *by_synonym]) or ", ".join(sorted(by_name)[:5])
    hint = "name it as the file does, or by its id: --set category_in_file=NAME_OR_ID"
    raise UsageError(f"no category {word!r} in the annotations", got=got, hint=hint, path=path)


def _categories(categories: Any, path: Path) -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, set[str]]]:
    """Name -> ids, synonym -> ids, id -> names."""
    by_name: dict[str, set[str]] = {}
    by_synonym: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    try:
        for entry in categories:
            key, name, synonyms = key_of(entry["id"]), _plain(str(entry["name"])), entry.get("synonyms") or ()
            by_name.setdefault(name, set()).add(key)
            names.setdefault(key, set()).add(name)
            for synonym in (synonyms,) if isinstance(synonyms, str) else synonyms:
                by_synonym.setdefault(_plain(str(synonym)), set()).add(key)
    except MALFORMED as error:
        raise InputCorrupt("not COCO's json: a category", got=in_words(error), expected=EXPECTED, path=path) from error
    return by_name, by_synonym, names


def key_of(value: Any) -> str:
    """An id as text: 18, 18.0 and "18" are one.

    Raises:
        InputCorrupt: neither a number nor text.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputCorrupt("not an id", got=repr(value)[:40])
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")
