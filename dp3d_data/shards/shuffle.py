"""The external shuffle: rows are dealt to the row groups they belong to, piece by piece, and gathered row group by row group.

Memory holds one piece, or one row group, at a time; the pieces wait on disk in between, one Arrow file for each, with one
record batch for each row group that it has rows of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dp3d_data.errors import InputMissing, ShardError
from dp3d_data.files import write_whole
from dp3d_data.shards.inputs import Piece
from dp3d_data.shards.schema import INSTANCE_SCHEMA
from dp3d_data.shards.stored import rounded
from dp3d_data.shards.trimming import Trim

_GROUPS = b"dp3d.row_groups"
_POSITION = "position"
# Columns that a build fills in.
FILLED = ("instance_id", "group", "split", "content_hash")
PLACES = pa.schema(
    [("row_group", pa.int32()), (_POSITION, pa.int32())]
    + [(name, pa.string()) for name in FILLED]
)


def deal(piece: Piece, places: pa.Table, path: Path, trim: Trim) -> Path:
    """Write the kept rows of a piece, as shards hold them, ordered by row group and position.

    Args:
        places: PLACES of each row of the piece; row group -1 leaves it out.
        trim: the filters of vertices, as in the index.

    Raises:
        InputMissing, ShardError: a file of the piece is gone or damaged; names it.
    """
    parts, start = [], 0
    for table in trim.tables(piece.tables()):
        here = places.slice(start, table.num_rows)
        start += table.num_rows
        kept = pc.greater_equal(here.column("row_group"), 0)
        if pc.any(kept).as_py():
            whole = pc.all(kept).as_py()
            parts.append(_filled(rounded(table if whole else table.filter(kept)), here if whole else here.filter(kept)))
    if start != len(places):
        raise ShardError("the inputs changed while the shards were built", got=f"{start} rows", expected=len(places), path=path)
    order = places.filter(pc.greater_equal(places.column("row_group"), 0)).select(["row_group", _POSITION])
    ranks = pc.sort_indices(order, sort_keys=[("row_group", "ascending"), (_POSITION, "ascending")])
    group = order.column("row_group").to_numpy()[ranks.to_numpy()]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(group) > 0])) if len(group) else np.zeros(0, int)
    rows = pa.concat_tables(parts).combine_chunks().take(ranks) if parts else _schema().empty_table()
    schema = _schema().with_metadata({_GROUPS: json.dumps(group[starts].tolist())})
    return write_whole(path, lambda stream: _write_batches(stream, schema, rows, [*starts.tolist(), len(group)]))


def _filled(table: pa.Table, here: pa.Table) -> pa.Table:
    """The rows with their new names, groups, sides and hashes, and with their position."""
    for name in FILLED:
        table = table.set_column(table.schema.get_field_index(name), INSTANCE_SCHEMA.field(name), here.column(name))
    return table.append_column(_POSITION, here.column(_POSITION)).cast(_schema())


def _schema() -> pa.Schema:
    return pa.schema([*INSTANCE_SCHEMA, pa.field(_POSITION, pa.int32())])


def _write_batches(stream, schema: pa.Schema, rows: pa.Table, bounds: list[int]) -> None:
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)
    whole = rows.combine_chunks().to_batches()
    with pa.ipc.new_file(stream, schema, options=options) as sink:
        for start, stop in zip(bounds, bounds[1:], strict=False):
            sink.write_batch(whole[0].slice(start, stop - start))


class Dealt:
    """The dealt pieces of a build, open for gathering."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._batches: dict[int, list[tuple[pa.ipc.RecordBatchFileReader, int]]] = {}
        for path in paths:
            try:
                # Read, not mapped: mapped pages would count as this process's memory, all pieces of them in the end.
                file = pa.ipc.open_file(pa.OSFile(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
            except (FileNotFoundError, pa.ArrowException) as error:
                hint = "build again with --overwrite"
                raise InputMissing("a part of this build is gone or damaged", path=path, hint=hint) from error
            for number, group in enumerate(json.loads(file.schema.metadata[_GROUPS])):
                self._batches.setdefault(group, []).append((file, number))

    def gather(self, group: int, rows: int) -> pa.Table:
        """The rows of one row group, in order.

        Raises:
            ShardError: there are not as many as planned.
        """
        batches = [file.get_batch(number) for file, number in self._batches.get(group, [])]
        table = pa.Table.from_batches(batches, schema=_schema()).combine_chunks()
        position = table.column(_POSITION).to_numpy()
        order = np.argsort(position, kind="stable")
        if not np.array_equal(position[order], np.arange(rows)):
            hint = "run the command again with --overwrite"
            raise ShardError("rows were lost while the shards were built", got=f"{len(position)} rows", expected=rows, hint=hint)
        return table.drop_columns([_POSITION]).take(order).replace_schema_metadata(INSTANCE_SCHEMA.metadata)
