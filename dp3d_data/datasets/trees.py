"""What the sources and readers of datasets share: folders as published, lists of splits, and what was found instead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dp3d_data.datasets.addresses import is_file, joined
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.files import read_text
from dp3d_data.limits import parse_json, require_size
from dp3d_data.records import ImageRecord

SHOWN = 6
SPLITS = ("train", "val", "test")


def existing(root: str | Path, expected: object = None) -> Path:
    """The root itself.

    Raises:
        InputMissing: there is no such file or folder.
    """
    root = Path(root)
    if not root.exists():
        raise InputMissing("no such folder", expected=expected, path=root)
    return root


def contents(folder: Path) -> str:
    """The first names of a folder; the name of anything else."""
    if not folder.is_dir():
        return folder.name
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    return (
        ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        or "an empty folder"
    )


def wrong_tree(root: Path, expected: str, hint: str, what: str = "no fits here") -> InputMissing:
    """The error for a folder that does not hold a layout: what was expected and what lies there."""
    return InputMissing(what, got=contents(root), expected=expected, hint=hint, path=root)


def split_lists(root: Path, names: Iterable[str] = SPLITS) -> dict[str, str]:
    """Line of train.txt, val.txt, test.txt -> that word; a leading slash is left out. Lists that are not there are
    empty."""
    return {
        line.strip().lstrip("/"): name
        for name in names
        if (root / f"{name}.txt").is_file()
        for line in read_text(root / f"{name}.txt", errors="replace").split("\n")
        if line.strip()
    }


def read_json(path: str | Path, expected: str, hint: str | None = None) -> Any:
    """The content of a json file.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not json, or too large.
    """
    require_size(path)
    text = read_text(path, expected=expected, hint=hint)
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputCorrupt("not a json file", got=str(error)[:120], expected=expected, hint=hint, path=path) from error


def find_image(names: Sequence[str], folders: Sequence[str]) -> str:
    """Where an image lies that goes by several names: the first that is there, else where it should be; always below a
    folder."""
    places = [joined(folder, _within(folder, name)) for folder in folders for name in names]
    return next((place for place in places if is_file(place)), places[0])


def below(folder: Path, name: str) -> Path:
    """Where a file lies that an annotation names; always below the folder."""
    return folder / _within(str(folder), name)


def _within(folder: str, name: str) -> str:
    """A name that an annotation gives, as a path that never leaves the folder: where .. or / would, the folder is their
    root."""
    root = os.path.abspath(folder)
    place = os.path.normpath(os.path.join(root, name))
    return os.path.relpath(place if place.startswith(root + os.sep) else root + os.path.normpath("/" + name), root)


def require_images(records: Sequence[ImageRecord], folders: Sequence[str], hint: str) -> None:
    """Refuse annotations of images of which not one is there; a few that are missing fail one by one.

    Raises:
        InputMissing: none is there; shows where one was looked for and what lies there.
    """
    if not records or any(is_file(record.path) for record in records):
        return
    got = "; ".join(
        f"{folder} has {contents(Path(folder))}" if os.path.isdir(folder) else f"{folder} is no folder"
        for folder in folders
    )
    raise InputMissing("none of the annotated images is here", got=got, expected=records[0].path, hint=hint)
