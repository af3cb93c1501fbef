"""Limits before work: what a file may unfold to is bounded by its own size, and what is damaged is said to be."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
import zipfile
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp3d_data.errors import InputCorrupt
from dp3d_data.files import DAMAGE, require_no_pointer

if TYPE_CHECKING:
    import numpy as np

# Bytes of arrays per byte of their file, and bytes more: masks and empty rows compress well, but not endlessly.
SWELL, SLACK = 100, 1 << 26
MOST_TOML, MOST_JSON = 1 << 20, 1 << 32  # LVIS has a json of more than a gigabyte
_KEY = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
# Half a character, and whole escapes of json: two halves that make one, any other.
_HALVES = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ESCAPE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|" + _HALVES.pattern + r"|\\.")
_LONG_KEY = re.compile(f"(?:{_KEY}){{32}}")


def require_size(path: str | Path) -> None:
    """Refuse a json file larger than any, before it takes ten times its size in memory. None at all passes.

    Raises:
        InputCorrupt: it is.
    """
    with suppress(OSError):
        if (size := Path(path).stat().st_size) > MOST_JSON:
            got, hint = f"{size:,} bytes", "divide it, or fetch it again if it should be small"
            expected = f"at most {MOST_JSON:,}"
            raise InputCorrupt("too large for a json file", got=got, expected=expected, hint=hint, path=path)


def parse_json(text: str | bytes) -> Any:
    """The content of json; half characters in it, which no file and no table can hold, become U+FFFD.

    Raises:
        ValueError: no json, nested deeper than the parser goes, or a name that stands twice in an object.
    """
    text = text if isinstance(text, str) else text.decode("utf-8-sig")
    try:
        return json.loads(whole_characters(text), object_pairs_hook=once)
    except RecursionError as error:
        raise ValueError("lists or objects nested too deep") from error


def whole_characters(text: str) -> str:
    """Json whose half characters are U+FFFD."""
    if not _HALVES.search(text):
        return text
    return _ESCAPE.sub(lambda found: "\\ufffd" if _HALVES.fullmatch(found.group()) else found.group(), text)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of json, whose later names do not silently replace earlier ones."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        raise ValueError(f"{twice[0]!r} stands twice in an object")
    return content


def parse_csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table with a header, each with the number of its last line.

    Raises:
        csv.Error: no table, a column that stands twice, or a row of more values than there are columns.
    """
    rows = csv.DictReader(io.StringIO(text))
    twice = [name for name, count in Counter(rows.fieldnames or ()).items() if count > 1]
    if twice:
        raise csv.Error(f"the column {twice[0]!r} stands twice")
    for row in rows:
        if None in row:
            raise csv.Error(f"line {rows.line_num} has more values than the header has columns")
        yield rows.line_num, row


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of TOML.

    Raises:
        ValueError: no TOML, far larger than settings are, or nested deep.
    """
    if len(text) > MOST_TOML:
        raise ValueError(f"{len(text)} characters, settings have at most {MOST_TOML}")
    if _LONG_KEY.search(text):
        raise ValueError("a key of more than 32 parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("lists or tables nested too deep") from error


def read_arrays(
    path: str | Path, names: Container[str] | None = None, what: str = "not a whole .npz of arrays"
) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, without pickles: all, or those of `names` that it holds.

    Args:
        what: the error's sentence for a damaged file.

    Raises:
        InputMissing: no such file.
        InputCorrupt: a pointer in its place, damaged, encrypted, with objects, or far larger than its file once
            unpacked.
    """
    require_no_pointer(path)
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            entries = {entry.filename.removesuffix(".npy"): entry for entry in arrays}
            if len(entries) < len(arrays):
                raise ValueError("an array that stands twice")
            wanted = {name: entry for name, entry in entries.items() if names is None or name in names}
            most = SWELL * Path(path).stat().st_size + SLACK
            _require_most(sum(entry.file_size for entry in wanted.values()), most, path)
            return {name: _array(archive, entry, most, path) for name, entry in wanted.items()}
    except InputCorrupt:
        raise
    except DAMAGE as error:
        got = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise InputCorrupt(what, got=got, expected="what numpy.savez writes", path=path) from error


def described(path: Path) -> str:
    """Size and first bytes of a file, to tell what it is."""
    with open(path, "rb") as stream:
        start = stream.read(16)
    return f"{path.stat().st_size} bytes that begin with {start!r}" if start else "an empty file"


def _require_most(found: int, most: int, path: str | Path) -> None:
    if found > most:
        expected = f"at most {most:,} in a file of {Path(path).stat().st_size:,} bytes"
        what, got = "far larger than its file once it is unpacked", f"{found:,} bytes of arrays"
        raise InputCorrupt(what, got=got, expected=expected, path=path)


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int, path: str | Path) -> np.ndarray:
    """One array; numpy fills it piece by piece, so that a header that promises too much costs nothing."""
    import numpy as np

    with archive.open(entry) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    _require_most(array.size, most, path)
    return array
