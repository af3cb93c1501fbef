"""Files by path or by address: whatever fsspec reaches, such as s3://bucket/photos/a.jpg."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from dp3d_data.errors import Asking, DependencyMissing, InputCorrupt, InputMissing, UsageError

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
        raise UsageError(
            "this address cannot be read", got=error, expected="a scheme that fsspec knows", path=address
        ) from error
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
                raise InputCorrupt(
                    "the file is too large", got=f"{size} bytes", expected=f"at most {limit}", path=address
                )
            return system.cat_file(path)
    except FileNotFoundError as error:
        raise InputMissing("no such file", path=address) from error
    except OSError as error:
        raise InputCorrupt("the file cannot be read", got=error, path=address) from error


def is_file(path: str) -> bool:
    """Whether a file is there; an address that cannot be asked has none."""
    if not is_address(path):
        return os.path.isfile(path)
    try:
        system, place = file_system(path)
        with Asking():
            return bool(system.isfile(place))
    except OSError:
        return False


def is_folder(address: str) -> bool:
    """Whether an address is a folder's; one that cannot be asked is none."""
    system, place = file_system(address)
    try:
        with Asking():
            return bool(system.isdir(place))
    except OSError:
        return False


def size_of(path: str) -> int:
    """Bytes of a file, -1 where it cannot be told."""
    try:
        if not is_address(path):
            return os.stat(path).st_size if "\0" not in path else -1
        system, place = file_system(path)
        with Asking():
            size = system.size(place)
    except OSError:
        return -1
    return -1 if size is None else int(size)


def joined(folder: str, name: str) -> str:
    """The place of a name below a folder or address."""
    return f"{folder.rstrip('/')}/{name}" if is_address(folder) else os.path.join(folder, name)


def listed(address: str, extensions: frozenset[str]) -> list[str]:
    """Addresses of the files of a folder (to its bottom) with one of the extensions, of a pattern, or of one file,
    sorted.

    Raises:
        InputMissing: nothing is there.
        InputCorrupt: the place cannot be listed.
    """
    system, place = file_system(address)
    try:
        with Asking():
            folder = system.isdir(place)
            if folder:
                found = [
                    one
                    for one in system.find(place)
                    if os.path.splitext(one)[1].lower() in extensions and not _hidden(one, place)
                ]
            else:
                found = (
                    system.glob(place)
                    if any(mark in place for mark in "*?[")
                    else [place]
                    if system.isfile(place)
                    else []
                )
                found = [one for one in found if not system.isdir(one)]
    except OSError as error:
        raise InputCorrupt("this place cannot be listed", got=error, path=address) from error
    if not found and not folder:
        raise InputMissing("nothing is there", path=address)
    rest = "".join(f"::{part}" for part in address.split("::")[1:])
    return [system.unstrip_protocol(path) + rest for path in sorted(found)]


def _hidden(path: str, folder: str) -> bool:
    """Whether a part of the path below the folder starts with a dot."""
    return any(part.startswith(".") for part in path[len(folder) :].split("/"))


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
