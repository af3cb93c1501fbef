"""Files on disk: texts as people write them, and what stands in the place of a file that was never fetched."""

from __future__ import annotations

import codecs
from pathlib import Path

from dp3d_data.errors import InputCorrupt, InputMissing

# How a pointer begins -> the command that fetches what it points to. Both are texts of some hundred bytes.
POINTERS = {
    b"version https://git-lfs.github.com/spec/": "git lfs pull --include={name}",
    b"version https://hawser.github.com/spec/": "git lfs pull --include={name}",
    b"/annex/objects/": "git annex get {name}",
}


def require_no_pointer(path: str | Path) -> None:
    """Refuse a pointer of Git LFS or git-annex in the place of a file; every reader of a binary file asks here first.

    Raises:
        InputMissing: no such file, or one that may not be read.
        InputCorrupt: it is a pointer; says how the file is fetched.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            start = stream.read(max(map(len, POINTERS)))
    except OSError as error:
        raise InputMissing("the file cannot be opened", got=error.strerror, path=path) from error
    command = next((command for begin, command in POINTERS.items() if start.startswith(begin)), None)
    if command is not None:
        got = f"{path.stat().st_size} bytes of text that say where it is kept"
        hint = (
            f"in its repository: {command.format(name=path.name)}; or download the file itself from the project's page"
        )
        raise InputCorrupt(
            "this is a pointer, fetch the file", got=got, expected="the file itself", hint=hint, path=path
        )
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(
    path: str | Path, what: str = "file", *, expected: str | None = None, hint: str | None = None, errors: str = "strict"
) -> str:
    """The text of a file that a person or another program wrote: the one way to read lists, tables, settings, json and OBJ.

    UTF-8 with or without a byte-order mark, or UTF-16 with one, as Windows writes it. Every end of a line becomes a newline.

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
