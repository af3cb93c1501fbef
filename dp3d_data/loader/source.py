"""Where instances come from: row groups of shards, read when they are needed, or tables in memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.config import fingerprint_of
from dp3d_data.errors import ShardError
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.schema import ADDED, current
from dp3d_data.shards.table import InstanceTable, columns_of

# Columns that shards of earlier versions may lack: null there.
LATER = tuple(name for names in ADDED.values() for name in names)


@dataclass(frozen=True)
class Source:
    """Instances in groups.

    Attributes:
        sizes: instances of each group.
        num_vertices: K of the template.
        identity: a fingerprint of what the instances are.
        read: gives one group; may be called from several threads at once, and travels to worker processes.
    """

    sizes: tuple[int, ...]
    num_vertices: int
    identity: str
    read: Callable[[int], InstanceTable]


def shard_source(reader: ShardReader, split: str, wanted: Sequence[str] = ()) -> Source:
    """The row groups of a split, or of "all", read through the page cache and decoded on each call.

    Args:
        wanted: fields besides keypoints; see FIELDS.

    Raises:
        UsageError: no such split or field.
        ShardError: a shard is missing, damaged or foreign; names it. Also while it is read.
    """
    entries, columns = reader.entries(split), columns_of(wanted)
    places: list[tuple[str, int]] = []
    sizes: list[int] = []
    for entry in entries:
        rows = entry.get("row_groups")
        if not rows:
            footer = reader.footer(entry["name"])
            rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        if sum(rows) != entry["instances"]:
            got, path = f"{sum(rows)} instances in its row groups", reader.folder / entry["name"]
            raise ShardError("not what the manifest says", got=got, expected=entry["instances"], path=path)
        places += [(entry["name"], group) for group in range(len(rows))]
        sizes += rows
    identity = fingerprint_of("shards", reader.fingerprint, [[entry["name"], entry["sha256"]] for entry in entries])
    starts = [0, *accumulate(sizes)]
    read = partial(_read_row_group, reader, places, starts, tuple(wanted), columns)
    return Source(tuple(sizes), reader.num_vertices, identity, read)


def _read_row_group(
    reader: ShardReader,
    places: Sequence[tuple[str, int]],
    starts: Sequence[int],
    wanted: Sequence[str],
    columns: Sequence[str],
    group: int,
) -> InstanceTable:
    """Read and decode one row group of a split.

    Args:
        places, starts: file and row group of each group, and the place of its first instance in the split.
        wanted, columns: the fields, and the columns of the stored table that hold them.
    """
    name, place = places[group]
    path = reader.path(name)
    try:
        footer = reader.footer(name)
        with pq.ParquetFile(path, metadata=footer, memory_map=True, page_checksum_verification=True) as file:
            there = [name for name in columns if name in file.schema_arrow.names or name not in LATER]
            table = file.read_row_group(place, columns=there, use_threads=False)
        if len(there) < len(columns):
            table = current(table, list(columns))
        return InstanceTable.of(table, reader.num_vertices, wanted, starts[group])
    except (pa.ArrowException, OSError, KeyError) as error:
        got = str(error).splitlines()[0]
        raise ShardError("cannot be read as a table of instances", got=got, path=path) from error
    except ShardError as error:
        raise ShardError(error.what, got=error.got, expected=error.expected, path=path) from error


def table_source(table: InstanceTable) -> Source:
    """Instances that are in memory already, as one group."""
    known = (table.intrinsics, table.true_vertices, table.true_scale, table.weights)
    arrays = (table.offsets, table.vertex_ids, table.keypoints, *(values for values in known if values is not None))
    digests = [hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest() for values in arrays]
    identity = fingerprint_of("arrays", len(table), digests)
    return Source((len(table),), table.num_vertices, identity, partial(_read_whole, table))


def _read_whole(table: InstanceTable, group: int) -> InstanceTable:
    """The table, which is the only group."""
    return table


def joined_source(sources: Sequence[Source]) -> Source:
    """The groups of several sources of one template, one source after the other; places count over all of them.

    Raises:
        ShardError: they are of different templates.
    """
    num_vertices = sources[0].num_vertices
    if any(source.num_vertices != num_vertices for source in sources):
        got = ", ".join(str(source.num_vertices) for source in sources)
        raise ShardError("instances of different templates cannot be mixed", got=f"{got} vertices")
    starts = accumulate((sum(source.sizes) for source in sources), initial=0)
    places = [
        (source, start, group)
        for source, start in zip(sources, starts, strict=False)
        for group in range(len(source.sizes))
    ]
    identity = fingerprint_of("joined", [source.identity for source in sources])
    sizes = tuple(size for source in sources for size in source.sizes)
    return Source(sizes, num_vertices, identity, partial(_read_shifted, places))


def _read_shifted(places: Sequence[tuple[Source, int, int]], group: int) -> InstanceTable:
    """A group of one of several sources, given with the place of its first instance and the number of the group."""
    source, start, own = places[group]
    table = source.read(own)
    return replace(table, index=table.index + start)


def cached_source(source: Source, most: int | None = None) -> Source:
    """A source whose groups stay in memory once they have been read, ragged: about 10 bytes for each visible vertex.

    Args:
        most: groups that stay, those used last; None for all.
    """
    return replace(source, read=_Kept(source, most))


class _Kept:
    """The groups of a source that stay in memory."""

    def __init__(self, source: Source, most: int | None) -> None:
        self.source, self.most = source, most
        self._tables: OrderedDict[int, InstanceTable] = OrderedDict()
        self._lock = Lock()

    def __call__(self, group: int) -> InstanceTable:
        """One group; two threads that ask for it at once may both read it."""
        with self._lock:
            if group in self._tables:
                self._tables.move_to_end(group)
                return self._tables[group]
        table = self.source.read(group)
        if self.source.num_vertices <= np.iinfo(np.uint16).max + 1:
            table = replace(table, vertex_ids=table.vertex_ids.astype(np.uint16))
        with self._lock:
            self._tables[group] = table
            while self.most is not None and len(self._tables) > max(self.most, 1):
                self._tables.popitem(last=False)
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        """The instances do not travel between processes; each reads its own."""
        return _Kept, (self.source, self.most)


def open_source(
    shards: str | Path | ShardReader | Source, split: str, wanted: Sequence[str], cache: str | Path | None
) -> Source:
    """What to load from: a split of shards (see `ShardReader` and `shard_source`), or the source itself."""
    if isinstance(shards, str | Path):
        shards = ShardReader(shards, cache)
    return shard_source(shards, split, wanted) if isinstance(shards, ShardReader) else shards
