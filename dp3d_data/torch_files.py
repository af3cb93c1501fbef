"""Archives of torch.save with a checksum, written whole, and read without running anything in them."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dp3d_data.errors import CheckpointError
from dp3d_data.files import DAMAGE, growing, require_no_pointer

if TYPE_CHECKING:
    import torch

# The checksum of an archive is its comment: the last bytes of a zip, which every reader of zips looks past.
_TAG, _END = b"dp3d sha256 ", b"PK\x05\x06"
_COMMENT, _END_BYTES = len(_TAG) + 64, 22
# Of weights that are kept in 8 bits: name is whole numbers, name + STEP what one is worth in each row.
STEP, LEAST_PACKED = ".step", 1 << 12


def write_torch(path: str | Path, content: Any) -> Path:
    """What torch.save writes, with the SHA-256 of all of it as the comment of the archive."""
    import torch

    with growing(path) as stream:
        torch.save(content, stream)
        size = stream.seek(-2, os.SEEK_END)  # the length of the comment comes last, and is 0 so far
        digest = _digest_of_first(stream, size)
        stream.seek(size)
        stream.write(struct.pack("<H", _COMMENT) + _TAG + digest.encode())
    return Path(path)


def read_torch(path: str | Path, what: str, *, expected: str, hint: str | None = None) -> Any:
    """The content of an archive of torch.save, read without running anything in it.

    Raises:
        InputMissing: no such file.
        InputCorrupt: a pointer in its place.
        CheckpointError: damaged, or no such archive.
    """
    import torch

    path = Path(path)
    require_no_pointer(path, what, hint)
    check_archive(path, what)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        got = refused_global(error) or str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"not a {what}", got=got, expected=expected, hint=hint, path=path) from error


def packed_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Large matrices and filters in 8 bits, with what a step is worth in each row (output channel); the rest in 16."""
    import torch

    packed: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        if value.is_floating_point() and value.dim() >= 2 and value.numel() >= LEAST_PACKED:
            largest = value.abs().flatten(1).amax(1).reshape(-1, *[1] * (value.dim() - 1))
            step = (largest / 127.0).clamp_min(1e-12)
            packed |= {name: (value / step).round().to(torch.int8), name + STEP: step}
        else:
            packed[name] = value.half() if value.is_floating_point() else value
    return packed


def unpacked_weights(packed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What `packed_weights` was given, to a 250th of each row's largest; other weights as they are."""
    import torch

    weights = dict(packed)
    for name in (name for name in packed if name + STEP in packed):
        value, step = packed[name], packed[name + STEP]
        if isinstance(value, torch.Tensor) and isinstance(step, torch.Tensor):
            if value.dtype == torch.int8 and step.shape == (*value.shape[:1], *[1] * (value.dim() - 1)):
                weights[name] = value.float() * weights.pop(name + STEP)
    return weights


def refused_global(error: Exception) -> str:
    """What a file wants to run that torch refused, without torch's advice to run it; empty for another error."""
    found = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
    return f"it asks for {found[1]}" if found else ""


def check_archive(path: str | Path, what: str = "archive") -> None:
    """Compare a zip with its checksum: ours, else those that zips have of each member. Other files pass unread.

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
            whole = tail[-_END_BYTES:].startswith(_END) and tail.endswith(b"\0\0")
            try:
                with zipfile.ZipFile(path) as archive:
                    whole = whole and archive.testzip() is None
            except DAMAGE:
                whole = False
    if not whole:
        got, hint = f"{size} bytes", "fetch or make it again: these are not the bytes that were written"
        raise CheckpointError(f"this {what} is damaged", got=got, expected="its own checksum", hint=hint, path=path)


def _digest_of_first(stream: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    stream.seek(0)
    while size > 0 and (part := stream.read(min(size, 1 << 20))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()
