"""COCO's json without all of it in memory, each image and annotation decoded when it is asked for; and what ids in it
mean a category."""

from __future__ import annotations

import difflib
import json
import re
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dp3d_data.datasets.annotations import MALFORMED, in_words
from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.files import read_text
from dp3d_data.limits import once, parse_json, require_size, whole_characters

EXPECTED = (
    "COCO's json: images (id, file_name or coco_url, width, height), annotations (image_id, category_id, bbox),"
    " categories"
)
TAGS = {"images": "id", "annotations": "category_id"}
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_scan = json.scanner.make_scanner(json.JSONDecoder(object_pairs_hook=once))  # type: ignore[attr-defined]


class Entries(Sequence[Any]):
    """A list of the file, whose entries are decoded each time that they are asked for.

    Attributes:
        tags: the id or category of each entry; None where it is neither number nor text.
    """

    def __init__(self, text: str) -> None:
        self._text, self._starts, self.tags = text, array("q"), list[Any]()

    def append(self, start: int, tag: Any) -> None:
        """Note an entry."""
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
    """The top object, its long lists entry by entry.

    Raises:
        ValueError, StopIteration: no json object.
    """
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
    if not categories:
        return _unnamed(word, path, tags)
    by_name, by_synonym, names = _categories(categories, path)
    ids = by_name.get(_plain(word)) or by_synonym.get(_plain(word)) or {key for key in (word, other) if key in names}
    shared = [key for key in ids if len(names[key]) > 1]
    if shared:
        got = " and ".join(sorted(names[shared[0]]))
        raise InputCorrupt(f"two categories have the id {shared[0]}", got=got, path=path)
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
            key, name, synonyms = key_of(entry["id"]), _plain(str(entry["name"])), entry.get("synonyms") or ()
            by_name.setdefault(name, set()).add(key)
            names.setdefault(key, set()).add(name)
            for synonym in (synonyms,) if isinstance(synonyms, str) else synonyms:
                by_synonym.setdefault(_plain(str(synonym)), set()).add(key)
    except MALFORMED as error:
        raise InputCorrupt("not COCO's json: a category", got=in_words(error), expected=EXPECTED, path=path) from error
    return by_name, by_synonym, names


def _unnamed(word: str, path: Path, tags: Sequence[Any]) -> set[str] | None:
    """The ids of a file without names of categories: the word where it is an id, all where there is but one."""
    if word.isdecimal():
        return {word}
    found: set[str] = set()
    for tag in set(tags):
        with suppress(*MALFORMED):
            found.add(key_of(tag))
    if len(found) > 1:
        got, hint = f"category ids {', '.join(sorted(found)[:5])}", "choose one: --set category_in_file=ID"
        raise UsageError("the annotations do not name their categories", got=got, hint=hint, path=path)
    return None


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
