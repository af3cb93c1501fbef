"""What a build decides on: a few values of every instance, one small table for each partition of the inputs."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float

from dp3d_data.filters import MEASURES, VERTEX_FILTERS, FilterConfig, Measures, judge_vertices
from dp3d_data.shards.files import read_arrow, table_options, write_arrow
from dp3d_data.shards.inputs import Partition
from dp3d_data.shards.likeness import shapes_of
from dp3d_data.shards.schema import INSTANCE_COLUMNS, PER_VERTEX, PIXEL_STEP
from dp3d_data.shards.table import FIELDS, boxes, cycle_weights, keypoint_lists, list_values

# Taken over from the instances, then derived from them.
KEPT = ["instance_id", "image_id", "image_hash", "group", "source", "source_split", "split", *FIELDS["boxes"]]
# What `measure` reads.
COLUMNS = ["image_width", "image_height", "model", "score", "visible_area", "spread", "cycle", *FIELDS["boxes"]]
_READ = list(dict.fromkeys([*KEPT, *COLUMNS, "template_hash", "true_scale", *PER_VERTEX]))
# Rows of each partition that are encoded to see how large they become.
SAMPLE = 256
_RAW, _ENCODED, _DROPPED = b"dp3d.sample_raw", b"dp3d.sample_encoded", b"dp3d.dropped_vertices"
NONE_DROPPED = dict.fromkeys(VERTEX_FILTERS, 0)


def write_index(
    path: Path,
    partition: Partition,
    filters: FilterConfig,
    area_shares: Float[np.ndarray, "K"],
    patches: Float[np.ndarray, "K P"] | None = None,
) -> Path:
    """Check the files of a partition and write the index of its rows, as the filters of vertices leave them.

    Args:
        area_shares: each template vertex's share of the surface area.
        patches: of `likeness.patches_of`, where near-duplicates are looked for.

    Raises:
        InputMissing, ShardError: a file is gone, damaged or of another schema; names it.
    """
    partition.check_files()
    dropped = Counter(NONE_DROPPED)
    tables = trimmed(partition.tables(_READ), filters, area_shares, dropped)
    parts = [index_table(table, len(area_shares), patches) for table in tables]
    first = (table.slice(0, SAMPLE) for table in partition.tables() if table.num_rows)
    raw, encoded = _sizes(next(trimmed(first, filters, area_shares), None), len(area_shares))
    table = pa.concat_tables(parts) if parts else pa.table({})
    notes = {_RAW: str(raw), _ENCODED: str(encoded), _DROPPED: json.dumps(dropped)}
    return write_arrow(path, table.replace_schema_metadata(notes))


def index_table(table: pa.Table, num_vertices: int, patches: Float[np.ndarray, "K P"] | None = None) -> pa.Table:
    """The index of some instances: KEPT, MEASURES, hash of the content, bytes of the raw row, shape by patches."""
    measures = measure(table)
    columns = {name: table.column(name) for name in KEPT}
    columns |= {name: pa.array(measures[name]) for name in MEASURES}
    columns["content"] = pa.array(content_hashes(table), type=pa.string())
    with_truth = table.column("true_scale").is_valid().to_numpy()
    columns["bytes"] = pa.array(raw_bytes(measures["visible_vertices"], with_truth, num_vertices))
    if patches is not None:
        shapes = shapes_of(table, patches)
        columns["shape"] = pa.FixedSizeListArray.from_arrays(shapes.view(np.float32).ravel(), 2 * shapes.shape[1])
    return pa.table(columns)


def _sizes(table: pa.Table | None, num_vertices: int) -> tuple[int, int]:
    """Raw bytes of some rows, and of their encoded pages."""
    if table is None:
        return 0, 0
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, table.schema, **table_options(table.schema)) as sink:
        sink.write_table(rounded(table.take(np.arange(table.num_rows))))
    group = pq.read_metadata(stream).row_group(0)
    encoded = sum(group.column(index).total_compressed_size for index in range(group.num_columns))
    counts = np.diff(list_values(table.column("vertex_ids"))[0])
    with_truth = table.column("true_scale").is_valid().to_numpy()
    return int(raw_bytes(counts, with_truth, num_vertices).sum()), encoded


def read_index(paths: Sequence[Path]) -> tuple[pa.Table, float, Counter[str]]:
    """Join the indices of all partitions.

    Returns:
        All instances in order of input, file and row: KEPT, MEASURES, content, bytes, and shape where near-duplicates
        are looked for; encoded bytes per raw byte, as a sample has it; vertices made invisible, by reason.

    Raises:
        InputMissing, ShardError: an index is gone or damaged.
    """
    tables = [read_arrow(path) for path in paths]
    raw, encoded = (sum(int(table.schema.metadata[key]) for table in tables) for key in (_RAW, _ENCODED))
    dropped = Counter(NONE_DROPPED)
    for table in tables:
        dropped.update(json.loads(table.schema.metadata[_DROPPED]))
    joined = pa.concat_tables([table.replace_schema_metadata(None) for table in tables if table.num_columns])
    return joined.combine_chunks(), encoded / raw if raw else 1.0, dropped


def measure(table: pa.Table) -> Measures:
    """The filters' values of each row of an instance table."""
    box = boxes(table).astype(np.float64)
    size = np.stack([table.column(name).to_numpy() for name in ("image_width", "image_height")], axis=1)
    touching = np.concatenate([box[:, :2] <= 0.5, box[:, 2:] >= size - 0.5], axis=1)
    offsets, spread = list_values(table.column("spread"))
    counts = np.diff(offsets)
    row = np.repeat(np.arange(len(counts)), counts)
    values = spread, cycle_weights(table, offsets)
    total, weight = (np.bincount(row, weights=own, minlength=len(counts)) for own in values)
    return {
        "score": table.column("score").to_numpy().astype(np.float64),
        "visible_vertices": counts,
        "visible_area": table.column("visible_area").to_numpy().astype(np.float64),
        "known_shape": _known_shape(table),
        "edges": touching.sum(axis=1),
        "spread": total / np.maximum(counts, 1) / _side(table),
        "cycle": np.where(counts > 0, weight / np.maximum(counts, 1), 1.0),
    }


def _known_shape(table: pa.Table) -> Bool[np.ndarray, "N"]:
    return np.array([name == "truth" for name in table.column("model").to_pylist()], dtype=bool)


def _side(table: pa.Table) -> Float[np.ndarray, "N"]:
    """Longer side of each box, image pixels."""
    box = boxes(table).astype(np.float64)
    return np.maximum((box[:, 2:] - box[:, :2]).max(axis=1, initial=0), 1e-9)


def trimmed(
    tables: Iterable[pa.Table],
    filters: FilterConfig,
    area_shares: Float[np.ndarray, "K"],
    dropped: Counter[str] | None = None,
) -> Iterator[pa.Table]:
    """Tables of instances, which hold all of PER_VERTEX, after the filters of vertices.

    Args:
        area_shares: each template vertex's share of the surface area.
        dropped: counts the vertices made invisible by reason.
    """
    if not trims(filters):
        yield from tables
        return
    for table in tables:
        kept, reasons = judge_table(table, filters)
        if dropped is not None:
            dropped.update(reasons)
        yield cut(table, kept, area_shares)


def trims(config: FilterConfig) -> bool:
    """Whether the settings can make a vertex invisible at all."""
    default = FilterConfig()
    names = ("min_pixels", "max_vertex_spread", "min_vertex_cycle")
    return any(getattr(config, name) != getattr(default, name) for name in names)


def judge_table(table: pa.Table, config: FilterConfig) -> tuple[Bool[np.ndarray, "V"], dict[str, int]]:
    """Which of all vertices of a table stay visible; those of a known shape do."""
    offsets, pixels = list_values(table.column("pixel_counts"))
    owner = np.repeat(np.arange(table.num_rows), np.diff(offsets))
    spread = list_values(table.column("spread"))[1] / _side(table)[owner]
    judged = ~_known_shape(table)[owner]
    kept = np.ones(len(pixels), dtype=bool)
    cycle = cycle_weights(table, offsets)
    kept[judged], dropped = judge_vertices(config, pixels[judged], spread[judged], cycle[judged])
    return kept, dropped


def cut(table: pa.Table, kept: Bool[np.ndarray, "V"], area_shares: Float[np.ndarray, "K"]) -> pa.Table:
    """The table with the kept entries of its lists; rows that lose some have their visible area computed again.

    Args:
        kept: one entry per vertex, row after row.
        area_shares: each template vertex's share of the surface area.
    """
    offsets, ids = list_values(table.column("vertex_ids"))
    owner = np.repeat(np.arange(table.num_rows), np.diff(offsets))
    left = np.bincount(owner[kept], minlength=table.num_rows)
    area = table.column("visible_area").to_numpy().copy()
    fewer = left < np.diff(offsets)
    area[fewer] = np.bincount(owner[kept], weights=area_shares[ids[kept]], minlength=table.num_rows)[fewer]
    table = _with(table, "visible_area", pa.array(area, type=pa.float32()))
    for name in (name for name in PER_VERTEX if name in table.column_names):
        column = table.column(name).combine_chunks()
        there = column.is_valid().to_numpy(zero_copy_only=False)
        values = pa.array(list_values(column)[1][kept[np.repeat(there, np.diff(offsets))]])
        ends = pa.array(np.concatenate([[0], np.cumsum(np.where(there, left, 0))]), type=pa.int32())
        mask = None if there.all() else pa.array(~there)  # rows without a list stay without
        table = _with(table, name, pa.ListArray.from_arrays(ends, values, type=column.type, mask=mask))
    return table


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(name), values)


# Bytes of a row apart from its lists, roughly.
ROW_BYTES = 512


def on_grid(values: np.ndarray, step: float) -> np.ndarray:
    """The nearest multiples of a power of two, ties to even; float32 in and out, exact and idempotent, without -0."""
    return np.rint(values * np.float32(1 / step)) * np.float32(step) + np.float32(0)


def rounded(table: pa.Table) -> pa.Table:
    """A table with each column that has a step on its grid."""
    for column in INSTANCE_COLUMNS:
        if column.step and column.name in table.column_names:
            lists = table.column(column.name).combine_chunks()
            if lists.null_count < len(lists):
                offsets, flat = list_values(lists)
                ends, values = pa.array(offsets.astype(np.int32)), pa.array(on_grid(flat, column.step))
                nulls = lists.is_null() if lists.null_count else None
                lists = pa.ListArray.from_arrays(ends, values, type=column.type, mask=nulls)
            table = _with(table, column.name, lists)
    return table


def content_hashes(table: pa.Table) -> list[str]:
    """16 hex digits of each row: SHA-256 over template_hash, vertex_ids and keypoints on their grid, little-endian."""
    offsets, ids, *axes = keypoint_lists(table)
    arrays = (ids.astype("<i4"), *(on_grid(axis, PIXEL_STEP) for axis in axes))
    lists = [memoryview(np.ascontiguousarray(values).data).cast("B") for values in arrays]
    ends = (4 * offsets).tolist()
    heads = {name: hashlib.sha256(name.encode()) for name in table.column("template_hash").unique().to_pylist()}
    names = table.column("template_hash").to_pylist()
    found = []
    for name, start, stop in zip(names, ends, ends[1:], strict=False):
        digest = heads[name].copy()
        for values in lists:
            digest.update(values[start:stop])
        found.append(digest.hexdigest()[:16])
    return found


def raw_bytes(visible: np.ndarray, with_truth: np.ndarray, num_vertices: int) -> np.ndarray:
    """Bytes [N] of rows as uncompressed 4-byte numbers: their lists, and ROW_BYTES for the rest."""
    return ROW_BYTES + 4 * (len(PER_VERTEX) * visible.astype(np.int64) + 3 * num_vertices * with_truth.astype(np.int64))
