"""Files by path or by address (whatever fsspec reaches), folders as published, and lists of splits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dp3d_data.errors import Asking, DependencyMissing, InputCorrupt, InputMissing, UsageError
from dp3d_data.files import read_text
from dp3d_data.limits import parse_json, require_size
from dp3d_data.records import ImageRecord

# A scheme of two letters and more: C:\photos is a path.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)")


def is_address(path: str | Path) -> bool:
    """Whether a name is an address and not a path."""
    return isinstance(path, str) and ":" in path and _SCHEME.match(path) is not None


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises:
        UsageError: fsspec knows no such scheme.
        DependencyMissing: the library that speaks it is not installed.
        InputMissing: the machine refuses the connection.
    """
    import fsspec

    try:
        with Asking():
            return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise DependencyMissing("a library that this address needs is missing", got=error, path=address) from error
    except ValueError as error:
        expected = "a scheme that fsspec knows"
        raise UsageError("this address cannot be read", got=error, expected=expected, path=address) from error
    except OSError as error:
        hint = "check that the machine is on and answers, and the name and the port"
        raise InputMissing("this address does not answer", got=error, hint=hint, path=address) from error


def read_bytes(address: str, limit: int) -> bytes:
    """The bytes of a file.

    Raises:
        InputMissing: no such file.
        InputCorrupt: larger than `limit` bytes, or it cannot be read.
    """
    system, path = file_system(address)
    try:
        with Asking():
            size = system.size(path)
            if size is not None and size > limit:
                got, expected = f"{size} bytes", f"at most {limit}"
                raise InputCorrupt("the file is too large", got=got, expected=expected, path=address)
            return system.cat_file(path)
    except FileNotFoundError as error:
        raise InputMissing("no such file", path=address) from error
    except OSError as error:
        raise InputCorrupt("the file cannot be read", got=error, path=address) from error


def _asked(address: str, question: Callable[[Any, str], Any]) -> Any:
    """What the file system of an address says of it; None where it cannot be asked."""
    try:
        system, place = file_system(address)
        with Asking():
            return question(system, place)
    except OSError:
        return None


def is_file(path: str) -> bool:
    """Whether a file is there; an address that cannot be asked has none."""
    return bool(_asked(path, lambda system, place: system.isfile(place))) if is_address(path) else os.path.isfile(path)


def is_folder(address: str) -> bool:
    """Whether an address is a folder's; one that cannot be asked is none."""
    return bool(_asked(address, lambda system, place: system.isdir(place)))


def size_of(path: str) -> int:
    """Bytes of a file, -1 where it cannot be told."""
    if is_address(path):
        size = _asked(path, lambda system, place: system.size(place))
        return -1 if size is None else int(size)
    try:
        return os.stat(path).st_size if "\0" not in path else -1
    except OSError:
        return -1


def joined(folder: str, name: str) -> str:
    """The place of a name below a folder or address."""
    return f"{folder.rstrip('/')}/{name}" if is_address(folder) else os.path.join(folder, name)


def listed(address: str, extensions: frozenset[str]) -> list[str]:
    """Addresses of the files below a folder with one of the extensions, of a pattern, or of a file, sorted.

    Raises:
        InputMissing: nothing is there.
        InputCorrupt: the place cannot be listed.
    """
    system, place = file_system(address)
    try:
        with Asking():
            folder = system.isdir(place)
            if folder:
                found = [one for one in system.find(place) if os.path.splitext(one)[1].lower() in extensions]
                found = [one for one in found if "/." not in f"/{one[len(place) :]}"]  # hidden
            elif any(mark in place for mark in "*?["):
                found = [one for one in system.glob(place) if not system.isdir(one)]
            else:
                found = [place] if system.isfile(place) else []
    except OSError as error:
        raise InputCorrupt("this place cannot be listed", got=error, path=address) from error
    if not found and not folder:
        raise InputMissing("nothing is there", path=address)
    rest = "".join(f"::{part}" for part in address.split("::")[1:])
    return [system.unstrip_protocol(path) + rest for path in sorted(found)]


def fixed_part(address: str) -> str:
    """The folders of an address before its first wildcard; of a file its folder; as `listed` writes them.

    Raises:
        InputMissing: the machine does not answer.
    """
    system, place = file_system(address)
    try:
        with Asking():
            while any(mark in place for mark in "*?[") or not system.isdir(place):
                if "/" not in place.strip("/"):
                    place = ""
                    break
                place = place.rstrip("/").rpartition("/")[0]
    except OSError as error:
        raise InputMissing("this address does not answer", got=error, path=address) from error
    return system.unstrip_protocol(place)


SHOWN = 6
SPLITS = ("train", "val", "test")


def existing(path: Path) -> Path | None:
    """The path of a file that is there, else None."""
    return path if path.is_file() else None


def subfolder(root: Path, *names: str) -> Path:
    """The first of these folders that is there; the root itself without one."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def contents(folder: Path) -> str:
    """The first names of a folder; the name of anything else."""
    if not folder.is_dir():
        return folder.name
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more or "an empty folder"


def require_tree(found: object, root: Path, expected: str, hint: str, what: str = "no fits here") -> None:
    """Refuse a folder in which nothing of a layout was found: the error says what was expected and what lies there.

    Raises:
        InputMissing: `found` is empty.
    """
    if not found:
        raise InputMissing(what, got=contents(root), expected=expected, hint=hint, path=root)


def split_lists(root: Path, names: Iterable[str] = SPLITS) -> dict[str, str]:
    """Line of train.txt, val.txt, test.txt, without a leading slash -> that word."""
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
    """Where an image of several names lies: the first that is there, else should be; always below a folder."""
    places = [joined(folder, _within(folder, name)) for folder in folders for name in names]
    return next((place for place in places if is_file(place)), places[0])


def below(folder: Path, name: str) -> Path:
    """Where a file lies that an annotation names; always below the folder."""
    return folder / _within(str(folder), name)


def _within(folder: str, name: str) -> str:
    """A name as a path that never leaves the folder: where .. or / would, the folder is their root."""
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
    found = (contents(Path(folder)) if os.path.isdir(folder) else "" for folder in folders)
    pairs = zip(folders, found, strict=True)
    got = "; ".join(f"{folder} has {names}" if names else f"{folder} is no folder" for folder, names in pairs)
    raise InputMissing("none of the annotated images is here", got=got, expected=records[0].path, hint=hint)
