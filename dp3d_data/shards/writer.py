"""One shard: its row groups, one after the other, and what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.config import file_digest
from dp3d_data.files import write_whole
from dp3d_data.shards.files import table_options
from dp3d_data.shards.schema import INSTANCE_SCHEMA
from dp3d_data.shards.statistics import Statistics


@dataclass(frozen=True)
class ShardEntry:
    """One shard file as the manifest lists it."""

    name: str
    split: str
    instances: int
    row_groups: tuple[int, ...]
    bytes: int
    sha256: str


def write_shard(path: Path, split: str, groups: Iterable[pa.Table], num_vertices: int) -> tuple[ShardEntry, Statistics]:
    """Write a shard; one row group is in memory at a time."""
    statistics = Statistics(num_vertices)
    rows: list[int] = []

    def write(stream) -> None:
        with pq.ParquetWriter(stream, INSTANCE_SCHEMA, **table_options(INSTANCE_SCHEMA)) as sink:
            for table in groups:
                sink.write_table(table, row_group_size=max(table.num_rows, 1))
                statistics.add(table)
                rows.append(table.num_rows)

    write_whole(path, write)
    return ShardEntry(path.name, split, sum(rows), tuple(rows), path.stat().st_size, file_digest(path)), statistics
