"""Files that appear whole or not at all: temporary name, flush to disk, rename; same content, same bytes."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.errors import DiskFull, InputMissing, ShardError
from dp3d_data.limits import parse_json
from dp3d_data.shards.schema import COLUMNS

COMPRESSION, COMPRESSION_LEVEL = "zstd", 1
_PARTIAL = re.compile(r"\..+\.(parquet|json|npz|arrow|toml|jpg)\.\d+(-[0-9a-f]{8})?\.tmp")


def write_whole(path: str | Path, write: Callable[[BinaryIO], None]) -> Path:
    """Let `write` fill a temporary file beside `path`, flush it to disk, and rename it; a kill leaves no half file.

    The temporary name is this call's alone, also among machines that share the storage.

    Raises:
        DiskFull: nothing more can be written there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull("the disk is full", got=error.strerror, path=path) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def sweep(folder: Path) -> None:
    """Remove what killed writers left half written; call it when nobody else writes here."""
    for path in folder.glob(".*"):
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, content: Any) -> Path:
    """JSON with sorted keys, so that the same content has the same bytes."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return write_whole(path, lambda stream: _put(stream, text.encode()))


def _put(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


def read_json(path: str | Path, kind: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputMissing: no such file.
        ShardError: not a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing(f"no {kind} here", path=path)
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ShardError(f"damaged {kind}", got=error, expected="a JSON object", path=path) from error
    if not isinstance(content, dict):
        raise ShardError(f"damaged {kind}", got=type(content).__name__, expected="a JSON object", path=path)
    return content


def table_options(schema: pa.Schema) -> dict[str, Any]:
    """How tables are encoded: each column as the schema says, then zstd; pages carry checksums."""
    known = [COLUMNS[name] for name in schema.names if name in COLUMNS]
    return {
        "compression": COMPRESSION,
        "compression_level": COMPRESSION_LEVEL,
        "use_dictionary": [column.path for column in known if column.encoding == "DICTIONARY"],
        "column_encoding": {column.path: column.encoding for column in known if column.encoding != "DICTIONARY"},
        "write_page_checksum": True,
        "store_schema": True,
    }


def write_table(path: str | Path, table: pa.Table | pa.RecordBatch) -> Path:
    """One Parquet file, whole or not at all."""
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])

    def write(stream: BinaryIO) -> None:
        pq.write_table(table, stream, **table_options(table.schema))

    return write_whole(path, write)


def read_table(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file.

    Raises:
        InputMissing: no such file.
        ShardError: not a Parquet file, or a damaged one; names it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such table", path=path)
    try:
        return pq.read_table(path, columns=columns, memory_map=False, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        got = str(error).splitlines()[0]
        raise ShardError("cannot be read as Parquet", got=got, expected="a whole Parquet file", path=path) from error


def write_arrow(path: str | Path, table: pa.Table) -> Path:
    """One Arrow file for our own later use, whole or not at all."""

    def write(stream: BinaryIO) -> None:
        with pa.ipc.new_file(stream, table.schema) as sink:
            sink.write_table(table)

    return write_whole(path, write)


def read_arrow(path: str | Path) -> pa.Table:
    """Read what write_arrow wrote.

    Raises:
        InputMissing: no such file.
        ShardError: damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such table", path=path)
    try:
        with pa.ipc.open_file(pa.BufferReader(path.read_bytes())) as file:
            return file.read_all()
    except (pa.ArrowException, OSError) as error:
        raise ShardError("cannot be read as an Arrow file", got=str(error).splitlines()[0], path=path) from error
