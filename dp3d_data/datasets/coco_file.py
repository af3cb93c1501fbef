"""COCO's json without all of it in memory: where each image and annotation stands in the text, to be decoded when it is asked for."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dp3d_data.errors import InputCorrupt
from dp3d_data.files import read_text
from dp3d_data.limits import once, parse_json, require_size, whole_characters

EXPECTED = "COCO's json: images (id, file_name or coco_url, width, height), annotations (image_id, category_id, bbox), categories"
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
    except (ValueError, StopIteration, RecursionError):  # the plain parser says what is wrong, and takes what only it can
        try:
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
