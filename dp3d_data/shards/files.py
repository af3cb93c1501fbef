"""Tables as Parquet and Arrow files, whole or not at all; same content, same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.errors import InputMissing, ShardError
from dp3d_data.files import check_digest, write_whole
from dp3d_data.shards.schema import COLUMNS

COMPRESSION, COMPRESSION_LEVEL = "zstd", 1


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


def read_table(path: str | Path, columns: list[str] | None = None, sha256: str | None = None) -> pa.Table:
    """Read a Parquet file.

    Args:
        sha256: of the file; the content that was hashed is the content that is decoded.

    Raises:
        InputMissing: no such file.
        ShardError: not a Parquet file, or a damaged one; names it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such table", path=path)
    try:
        data = path.read_bytes()
        if sha256 is not None:
            check_digest(hashlib.sha256(data).hexdigest(), sha256, path)
        return pq.read_table(pa.BufferReader(data), columns=columns, partitioning=None)
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
