"""Which ids of a COCO file mean a category: by name, synonym or id."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dp3d_data.datasets.annotations import MALFORMED, in_words
from dp3d_data.datasets.coco_file import EXPECTED
from dp3d_data.errors import InputCorrupt, UsageError


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
