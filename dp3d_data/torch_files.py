"""Archives of torch.save with a checksum, written whole, and read without running anything in them."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from dp3d_data.errors import CheckpointError, InputMissing
from dp3d_data.files import DAMAGE, require_no_pointer, write_whole

# The checksum of an archive is its comment: the last bytes of a zip, which every reader of zips looks past.
_TAG, _END = b"dp3d sha256 ", b"PK\x05\x06"
_COMMENT, _END_BYTES = len(_TAG) + 64, 22


def write_torch(path: str | Path, content: Any) -> Path:
    """What torch.save writes, with the SHA-256 of all of it as the comment of the archive."""
    import torch

    def write(stream: BinaryIO) -> None:
        torch.save(content, stream)
        size = stream.seek(-2, os.SEEK_END)  # the length of the comment comes last, and is 0 so far
        digest = _digest_of_first(stream, size)
        stream.seek(size)
        stream.write(struct.pack("<H", _COMMENT) + _TAG + digest.encode())

    return write_whole(path, write)


def read_torch(path: str | Path, what: str, *, expected: str, hint: str | None = None) -> Any:
    """The content of an archive of torch.save, read without running anything in it.

    Raises:
        InputMissing: no such file.
        InputCorrupt: a pointer in its place.
        CheckpointError: damaged, or no such archive.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise InputMissing(f"no such {what}", path=path, hint=hint)
    require_no_pointer(path)
    check_archive(path, what)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        got = refused_global(error) or str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"not a {what}", got=got, expected=expected, hint=hint, path=path) from error


def refused_global(error: Exception) -> str:
    """What a file wants to run that torch refused, without torch's advice to run it; empty for another error."""
    found = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
    return f"it asks for {found[1]}" if found else ""


def check_archive(path: str | Path, what: str = "archive") -> None:
    """Compare a zip with its checksum: ours where it has one, else those that zips have of each member. Others pass
    unread.

    Raises:
        CheckpointError: it is not what was written.
    """
    with open(path, "rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            return
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - _COMMENT - 2, 0))
        tail = stream.read()
        if tail[2:].startswith(_TAG):
            whole = tail == struct.pack("<H", _COMMENT) + _TAG + _digest_of_first(stream, size - _COMMENT - 2).encode()
        else:
            whole = tail[-_END_BYTES:].startswith(_END) and tail.endswith(b"\0\0") and _members_are_whole(path)
    if not whole:
        hint = "fetch or make it again: these are not the bytes that were written"
        raise CheckpointError(
            f"this {what} is damaged", got=f"{size} bytes", expected="its own checksum", hint=hint, path=path
        )


def _members_are_whole(path: str | Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except DAMAGE:
        return False


def _digest_of_first(stream: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    stream.seek(0)
    while size > 0 and (part := stream.read(min(size, 1 << 20))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()
