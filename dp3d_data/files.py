"""Files as people write them."""

from __future__ import annotations

import codecs
from pathlib import Path

from dp3d_data.errors import InputCorrupt, InputMissing

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
