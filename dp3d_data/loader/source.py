"""Where instances come from: row groups of shards, read when they are needed, or tables in memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.config import fingerprint_of
from dp3d_data.errors import ShardError
from dp3d_data.shards.files import reading
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.schema import ADDED, current
from dp3d_data.shards.table import InstanceTable, columns_of

# Columns that shards of earlier versions may lack: null there.
LATER = tuple(name for names in ADDED.values() for name in names)


class Source(Protocol):
    """Instances in groups.

    Attributes:
        sizes: instances of each group.
        num_vertices: K of the template.
        identity: a fingerprint of what the instances are.
    """

    num_vertices: int
    identity: str

    @property
    def sizes(self) -> tuple[int, ...]: ...

    def read(self, group: int) -> InstanceTable:
        """One group; may be called from several threads at once."""
        ...


class ShardSource:
    """The row groups of a split, or of "all", read through the page cache and decoded on each call.

    Args:
        wanted: fields besides keypoints; see FIELDS.

    Raises:
        UsageError: no such split or field.
        ShardError: a shard is missing, damaged or foreign; names it.
    """

    def __init__(self, reader: ShardReader, split: str, wanted: Sequence[str] = ()) -> None:
        self.reader, entries = reader, reader.entries(split)
        self.wanted, self._columns = tuple(wanted), columns_of(wanted)
        self.num_vertices, files = reader.num_vertices, [[entry["name"], entry["sha256"]] for entry in entries]
        self.identity = fingerprint_of("shards", reader.fingerprint, files)
        self._footers: dict[str, pq.FileMetaData] = {}
        self._places: list[tuple[str, int]] = []
        sizes: list[int] = []
        for entry in entries:
            rows = entry.get("row_groups")
            if not rows:
                footer = self._footer(entry["name"], reader.path(entry["name"]))
                rows = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
            if sum(rows) != entry["instances"]:
                got, path = f"{sum(rows)} instances in its row groups", self.reader.folder / entry["name"]
                raise ShardError("not what the manifest says", got=got, expected=entry["instances"], path=path)
            self._places += [(entry["name"], group) for group in range(len(rows))]
            sizes += rows
        self.sizes: tuple[int, ...] = tuple(sizes)
        self._starts = [0, *accumulate(sizes)]

    def read(self, group: int) -> InstanceTable:
        """Read and decode one row group.

        Raises:
            ShardError: its shard is missing, damaged or foreign; names it.
        """
        name, place = self._places[group]
        path = self.reader.path(name)
        try:
            footer = self._footer(name, path)
            with pq.ParquetFile(path, metadata=footer, memory_map=True, page_checksum_verification=True) as file:
                columns = [name for name in self._columns if name in file.schema_arrow.names or name not in LATER]
                table = file.read_row_group(place, columns=columns, use_threads=False)
            if len(columns) < len(self._columns):
                table = current(table, self._columns)
            return InstanceTable.of(table, self.num_vertices, self.wanted, self._starts[group])
        except (pa.ArrowException, OSError, KeyError) as error:
            got = str(error).splitlines()[0]
            raise ShardError("cannot be read as a table of instances", got=got, path=path) from error
        except ShardError as error:
            raise ShardError(error.what, got=error.got, expected=error.expected, path=path) from error

    def _footer(self, name: str, path: Path) -> pq.FileMetaData:
        if name not in self._footers:
            with reading(path):
                self._footers[name] = pq.read_metadata(path)
        return self._footers[name]

    def __getstate__(self) -> dict[str, Any]:
        """Footers do not travel between processes; each reads its own."""
        return self.__dict__ | {"_footers": {}}


class TableSource:
    """Instances that are in memory already, as one group."""

    def __init__(self, table: InstanceTable) -> None:
        self.table, self.num_vertices = table, table.num_vertices
        self.sizes: tuple[int, ...] = (len(table),)
        known = (table.intrinsics, table.true_vertices, table.true_scale, table.weights)
        arrays = (table.offsets, table.vertex_ids, table.keypoints, *(values for values in known if values is not None))
        digests = [hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest() for values in arrays]
        self.identity = fingerprint_of("arrays", len(table), digests)

    def read(self, group: int) -> InstanceTable:
        return self.table


class JoinedSource:
    """The groups of several sources of one template, one source after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources, self.num_vertices = tuple(sources), sources[0].num_vertices
        if any(source.num_vertices != self.num_vertices for source in sources):
            got = ", ".join(str(source.num_vertices) for source in sources)
            raise ShardError("instances of different templates cannot be mixed", got=f"{got} vertices")
        self.sizes: tuple[int, ...] = sum((tuple(source.sizes) for source in sources), ())
        self.identity = fingerprint_of("joined", [source.identity for source in sources])
        self._places: list[tuple[Source, int, int]] = []
        start = 0
        for source in sources:
            self._places += [(source, start, group) for group in range(len(source.sizes))]
            start += sum(source.sizes)

    def read(self, group: int) -> InstanceTable:
        """One group; the places of its instances count over all sources."""
        source, start, own = self._places[group]
        table = source.read(own)
        return replace(table, index=table.index + start)


class CachedSource:
    """A source whose groups stay in memory once they have been read, ragged: about 10 bytes for each visible vertex.

    Args:
        most: groups that stay, those used last; None for all.
    """

    def __init__(self, source: Source, most: int | None = None) -> None:
        self.source, self.most = source, most
        self.num_vertices, self.identity, self.sizes = source.num_vertices, source.identity, source.sizes
        self._tables: OrderedDict[int, InstanceTable] = OrderedDict()
        self._lock = Lock()

    def read(self, group: int) -> InstanceTable:
        """One group; two threads that ask for it at once may both read it.

        Raises:
            ShardError: a shard is missing, damaged or foreign; names it.
        """
        with self._lock:
            if group in self._tables:
                self._tables.move_to_end(group)
                return self._tables[group]
        table = self.source.read(group)
        if self.num_vertices <= np.iinfo(np.uint16).max + 1:
            table = replace(table, vertex_ids=table.vertex_ids.astype(np.uint16))
        with self._lock:
            self._tables[group] = table
            while self.most is not None and len(self._tables) > max(self.most, 1):
                self._tables.popitem(last=False)
        return table

    def __getstate__(self) -> dict[str, Any]:
        """The instances do not travel between processes; each reads its own."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_tables")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_lock": Lock(), "_tables": OrderedDict()})


def open_source(
    shards: str | Path | ShardReader | Source, split: str, wanted: Sequence[str], cache: str | Path | None
) -> Source:
    """What to load from: a split of shards (see ShardReader and ShardSource), or the source itself."""
    if isinstance(shards, str | Path):
        shards = ShardReader(shards, cache)
    return ShardSource(shards, split, wanted) if isinstance(shards, ShardReader) else shards
