"""Files on disk: written whole with a checksum, locked folders, names that stay there, pointers, texts of people."""

from __future__ import annotations

import codecs
import hashlib
import json
import lzma
import os
import pickle
import re
import secrets
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from dp3d_data.errors import Dp3dError, FolderBusy, InputCorrupt, InputMissing, ShardError, unwritable

LOCK = ".lock"
SEAL, MOST_JSON = "sha256", 1 << 28  # bytes of a file of ours
_PARTIAL = re.compile(r"\..+\.\d+(-[0-9a-f]{8})?\.tmp")
_BARE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
# What damaged, encrypted and hostile archives, pickles and headers make zipfile, pickle, the decompressors, torch and
# numpy raise.
DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    OverflowError,
    AssertionError,
    ImportError,
    pickle.UnpicklingError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
# How a pointer begins -> the command that fetches what it points to. Both are texts of some hundred bytes.
POINTERS = {
    b"version https://git-lfs.github.com/spec/": "git lfs pull --include={name}",
    b"version https://hawser.github.com/spec/": "git lfs pull --include={name}",
    b"/annex/objects/": "git annex get {name}",
}


def write_whole(path: str | Path, write: Callable[[BinaryIO], Any]) -> Path:
    """Let `write` fill a file, which it may also read, that appears whole or not at all; see `growing`."""
    path = Path(path)
    with growing(path) as stream:
        write(stream)
    return path


@contextmanager
def growing(path: str | Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path`, which with the block's end is flushed to disk and renamed; a kill or error leaves
    no half file.

    Raises:
        DiskFull: nothing more can be written there.
        PathUnusable: a file or folder is in the way, no right, a name that is too long or not UTF-8; names `path`.
    """
    path = Path(path)
    # Short: a name has at most 255 bytes.
    partial = path.parent / f".{path.name[:48]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)  # the rename lasts through a power cut
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        # torch and pyarrow hide the system's error behind one of theirs
        if own := unwritable(error, path, partial):
            raise own from error
        raise
    finally:
        with suppress(OSError, UnicodeEncodeError):
            partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """A text in UTF-8, whole or not at all."""
    return write_whole(path, lambda stream: stream.write(text.encode()))


def write_arrays(path: str | Path, *, compressed: bool = True, **arrays: Any) -> Path:
    """Arrays as .npz without pickles, whole or not at all; the same arrays give the same bytes."""
    import numpy as np

    return write_whole(path, lambda stream: (np.savez_compressed if compressed else np.savez)(stream, **arrays))


def write_picture(path: str | Path, picture: Any, **options: Any) -> Path:
    """A PIL image, or its pixels, in the format that the name's ending says, whole or not at all."""
    from PIL import Image

    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    kind = Image.registered_extensions()[Path(path).suffix.lower()]
    return write_whole(path, lambda stream: picture.save(stream, kind, **options))


def write_figure(path: str | Path, figure: Any) -> Path:
    """A figure of matplotlib as PNG, whole or not at all; without the name of its program, so always the same bytes."""
    return write_whole(path, lambda stream: figure.savefig(stream, format="png", dpi=90, metadata={"Software": None}))


def sweep(folder: Path) -> None:
    """Remove what killed writers left half written, also in folders below; call it when nobody else writes here."""
    for path in folder.rglob(".*"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold a folder for this process alone; the lock ends with the block, or with the process, however it ends.

    Raises:
        FolderBusy: another process writes here, or the storage knows no locks.
    """
    from filelock import FileLock, Timeout

    path = Path(folder) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise FolderBusy("another process writes in this folder", path=folder) from error
    except (OSError, NotImplementedError) as error:
        hint = "choose a folder on another disk with --out, then copy it"
        raise FolderBusy("this storage cannot lock a folder", got=error, path=folder, hint=hint) from error
    try:
        yield
    finally:
        try:
            path.unlink(missing_ok=True)  # a process that waits for this very file sees that it is gone
        finally:
            lock.release()


def bare_name(name: Any, path: str | Path) -> str:
    """A name that a manifest or marker gives to one of its files: it lies in the same folder and nowhere else.

    Raises:
        ShardError: the name could lead elsewhere.
    """
    if not isinstance(name, str) or not _BARE.fullmatch(name):
        what, expected = "a file name that leads out of the folder", "a bare name of a file"
        raise ShardError(what, got=repr(name), expected=expected, path=path)
    return name


def check_digest(found: str, expected: object, path: str | Path) -> None:
    """Compare the SHA-256 of a file with what is written of it.

    Raises:
        ShardError: they differ.
    """
    if found != expected:
        raise ShardError("damaged or replaced", got=f"SHA-256 {found}", expected=expected, path=path)


def require_keys(
    content: Mapping[str, Any],
    kinds: Mapping[str, Any],
    what: str,
    path: str | Path | None,
    error: type[Dp3dError] = ShardError,
) -> None:
    """Refuse content that lacks a key or holds something else under it.

    Args:
        kinds: key -> the type, or types, of its value.
    """
    for name, kind in kinds.items():
        if name not in content:
            raise error(f"damaged {what}: {name!r} is missing", expected=", ".join(kinds), path=path)
        if not isinstance(content[name], kind):
            raise error(f"damaged {what}: {name!r} is of another kind", got=repr(content[name])[:80], path=path)


def json_digest(content: Mapping[str, Any], seal: str = SEAL) -> str:
    """SHA-256 of the canonical JSON of an object, without the entry that holds this very hash."""
    rest = {key: value for key, value in content.items() if key != seal}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_json(path: str | Path, content: Mapping[str, Any], seal: str = SEAL, *, sort_keys: bool = True) -> Path:
    """An object with its own hash under the key `seal`; sorted keys, so that the same content has the same bytes."""
    content = {**content, seal: json_digest(content, seal)}
    return write_text(path, json.dumps(content, indent=2, sort_keys=sort_keys, ensure_ascii=False) + "\n")


def read_json(
    path: str | Path, kind: str, kinds: Mapping[str, Any] | None = None, seal: str = SEAL, *, sealed: bool = False
) -> dict[str, Any]:
    """An object that write_json wrote, without its hash; earlier versions wrote none, so one that lacks it passes.

    Args:
        kinds: key -> type of the value. With it the object has these keys and no other.
        sealed: refuse one without a hash.

    Raises:
        InputMissing: no such file.
        ShardError: not a JSON object, changed or damaged, or with keys missing or too many.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing(f"no {kind} here", path=path)
    if (size := path.stat().st_size) > MOST_JSON:
        raise ShardError(f"damaged {kind}", got=f"{size:,} bytes", expected=f"at most {MOST_JSON:,}", path=path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ShardError(f"damaged {kind}", got=str(error)[:120], expected="a JSON object", path=path) from error
    if not isinstance(content, dict):
        raise ShardError(f"damaged {kind}", got=type(content).__name__, expected="a JSON object", path=path)
    found, expected = json_digest(content, seal), content.pop(seal, None)
    if (sealed or expected is not None) and found != expected:
        raise ShardError(f"the {kind} has been changed or damaged", got=found, expected=expected, path=path)
    if kinds is not None:
        require_keys(content, kinds, kind, path)
        if unknown := ", ".join(sorted(set(content) - set(kinds))):
            got = f"unknown keys: {unknown[:80]}"
            raise ShardError(f"damaged {kind}", got=got, expected=", ".join(kinds), path=path)
    return content


def trim_lines(path: Path, step: int) -> None:
    """Keep the lines of a log that are whole and of no later step than that a training goes on from."""
    if not path.is_file():
        return
    lines, kept = path.read_bytes().splitlines(keepends=True), []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            if line.endswith(b"\n") and float(json.loads(line)["step"]) <= step:
                kept.append(line)
    if kept != lines:
        write_whole(path, lambda stream: stream.writelines(kept))


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """One more line of JSON; a kill in between tears this line alone, and trim_lines drops it."""
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(content) + "\n")


def require_no_pointer(path: str | Path, what: str = "", hint: str | None = None) -> None:
    """Refuse a pointer of Git LFS or git-annex in the place of a file; every reader of a binary file asks here first.

    Args:
        what, hint: of the error where there is no such file.

    Raises:
        InputMissing: no such file, or one that may not be read.
        InputCorrupt: it is a pointer; says how the file is fetched.
    """
    path = Path(path)
    if what and not path.is_file():
        raise InputMissing(f"no such {what}", path=path, hint=hint)
    try:
        with open(path, "rb") as stream:
            start = stream.read(max(map(len, POINTERS)))
    except (OSError, ValueError) as error:
        raise InputMissing("the file cannot be opened", got=getattr(error, "strerror", error), path=path) from error
    for begin, command in POINTERS.items():
        if start.startswith(begin):
            what, own = "this is a pointer, fetch the file", command.format(name=path.name)
            got = f"{path.stat().st_size} bytes of text that say where it is kept"
            hint = f"in its repository: {own}; or download the file itself from the project's page"
            raise InputCorrupt(what, got=got, expected="the file itself", hint=hint, path=path)


WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(
    path: str | Path,
    what: str = "file",
    *,
    expected: str | None = None,
    hint: str | None = None,
    errors: str = "strict",
) -> str:
    """The text of a file that a person or another program wrote: lists, tables, settings, json and OBJ.

    UTF-8 with or without a byte-order mark, or UTF-16 with one, as Windows writes it. Every end of a line becomes a
    newline.

    Args:
        what, expected, hint: for the error's message.
        errors: what becomes of bytes that are no text, as `bytes.decode` takes it.

    Raises:
        InputMissing: no such file.
        InputCorrupt: it may not be read, or it is no text.
    """
    if not Path(path).exists() or Path(path).is_dir():
        raise InputMissing(f"no such {what}", expected=expected, hint=hint, path=path)
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-16" if data.startswith(WIDE_MARKS) else "utf-8-sig", errors)
    except (OSError, UnicodeError) as error:
        raise InputCorrupt("not a text file", got=error, expected=expected, hint=hint, path=path) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
