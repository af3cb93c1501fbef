"""Shards by bytes: rows gathered into groups, groups into files, with a journal that a killed build goes on from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.config import file_digest
from dp3d_data.shards.files import read_json, table_options, write_json, write_whole
from dp3d_data.shards.schema import INSTANCE_SCHEMA, PER_VERTEX

JOURNAL = ".building.json"
GROUP_BYTES = 4 << 20


@dataclass(frozen=True)
class ShardEntry:
    """One shard file as the manifest lists it."""

    name: str
    split: str
    instances: int
    bytes: int
    sha256: str


def row_bytes(table: pa.Table) -> np.ndarray:
    """Bytes of each row in memory, roughly and for any chunking alike: 4 an entry of a list, 512 for the rest."""
    lengths = np.zeros(table.num_rows, dtype=np.int64)
    for name in (*PER_VERTEX, "true_vertices"):
        column = table.column(name).combine_chunks()
        lengths += column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return 4 * lengths + 512


def row_groups(tables: Iterable[pa.Table], group_bytes: int) -> Iterator[pa.Table]:
    """Regroup rows so that each group is the shortest that reaches group_bytes; how the rows came in makes no difference."""
    waiting: list[pa.Table] = []
    held = 0
    for table in tables:
        start = 0
        ends = np.cumsum(row_bytes(table))
        while start < table.num_rows:
            before = int(ends[start - 1]) if start else 0
            stop = int(np.searchsorted(ends, before + group_bytes - held)) + 1
            waiting.append(table.slice(start, stop - start))
            if stop > table.num_rows:
                held += int(ends[-1]) - before
                break
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, held, start = [], 0, stop
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


class Journal:
    """The shards already written by this recipe, in order; kept on disk until the manifest is there."""

    def __init__(self, folder: Path, recipe: str) -> None:
        self.path, self.recipe = folder / JOURNAL, recipe
        content = read_json(self.path, "build journal") if self.path.is_file() else {}
        self.known = content.get("recipe") == recipe
        kept = content.get("shards", []) if self.known else []
        self.shards = [ShardEntry(**entry) for entry in kept]

    def finished(self, split: str) -> list[ShardEntry]:
        """The leading shards of a split whose files are still what was written."""
        found = []
        for entry in (e for e in self.shards if e.split == split):
            path = self.path.parent / entry.name
            if not path.is_file() or file_digest(path) != entry.sha256:
                break
            found.append(entry)
        return found

    def add(self, entry: ShardEntry) -> None:
        self.shards = [e for e in self.shards if e.name != entry.name] + [entry]
        self.save()

    def save(self) -> None:
        """Write the journal; an empty one marks the folder as this build's."""
        write_json(self.path, {"recipe": self.recipe, "shards": [asdict(e) for e in self.shards]})


def write_split(folder: Path, split: str, tables: Iterable[pa.Table], shard_bytes: int, journal: Journal) -> list[ShardEntry]:
    """Write one split's rows as shards of at most about shard_bytes; finished shards of a killed build are kept.

    Args:
        tables: all rows of the split, always in the same order.
        shard_bytes: size on disk at which a shard ends; a single group of rows may exceed it.
    """
    entries = journal.finished(split)
    tables = skip_rows(tables, sum(entry.instances for entry in entries))
    groups = _Peek(row_groups(tables, min(GROUP_BYTES, max(shard_bytes // 4, 1))))
    while groups.more():
        entry = _write_shard(folder, split, len(entries), groups, shard_bytes)
        journal.add(entry)
        entries.append(entry)
    return entries


def _write_shard(folder: Path, split: str, index: int, groups: _Peek, shard_bytes: int) -> ShardEntry:
    path = folder / f"{split}-{index:05d}.parquet"
    rows = 0

    def write(stream) -> None:
        nonlocal rows
        with pq.ParquetWriter(stream, INSTANCE_SCHEMA, **table_options(INSTANCE_SCHEMA)) as sink:
            largest = 0
            while groups.more() and (rows == 0 or stream.tell() + largest <= shard_bytes):
                before, group = stream.tell(), groups.take()
                sink.write_table(group, row_group_size=max(group.num_rows, 1))
                largest = max(largest, stream.tell() - before)
                rows += group.num_rows

    write_whole(path, write)
    return ShardEntry(path.name, split, rows, path.stat().st_size, file_digest(path))


def skip_rows(tables: Iterable[pa.Table], count: int) -> Iterator[pa.Table]:
    """The tables without their first `count` rows."""
    for table in tables:
        dropped = min(count, table.num_rows)
        count -= dropped
        if dropped < table.num_rows:
            yield table.slice(dropped)


class _Peek:
    """An iterator of tables that can say whether there is another one."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables, self._next = tables, next(tables, None)

    def more(self) -> bool:
        return self._next is not None

    def take(self) -> pa.Table:
        table, self._next = self._next, next(self._tables, None)
        return table
