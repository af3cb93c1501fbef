"""What shards hold of a measured row: values on the grid that the schema names, and the hash of the content."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from dp3d_data.shards.decode import Views, list_values, views
from dp3d_data.shards.schema import INSTANCE_COLUMNS, PER_VERTEX, PIXEL_STEP, Column

# Bytes of a row apart from its lists, roughly.
ROW_BYTES = 512


def on_grid(values: np.ndarray, step: float) -> np.ndarray:
    """The nearest multiples of a power of two, ties to even; float32 in and out, exact and idempotent, without -0."""
    return np.rint(values * np.float32(1 / step)) * np.float32(step) + np.float32(0)


def rounded(table: pa.Table) -> pa.Table:
    """A table with each column that has a step on its grid."""
    for column in INSTANCE_COLUMNS:
        if column.step and column.name in table.column_names:
            position = table.schema.get_field_index(column.name)
            table = table.set_column(position, table.schema.field(position), _rounded(table.column(column.name), column))
    return table


def _rounded(values: pa.ChunkedArray, column: Column) -> pa.Array:
    lists = values.combine_chunks()
    if lists.null_count == len(lists):
        return lists
    offsets, flat = list_values(lists)
    nulls = lists.is_null() if lists.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(on_grid(flat, column.step)), type=column.type, mask=nulls)


def content_hashes(table: pa.Table) -> list[str]:
    """16 hex digits for each row: SHA-256 over template_hash, vertex_ids and the keypoints on their grid, little-endian."""
    found = views(table)
    seen = Views(found.offsets, found.ids, on_grid(found.x, PIXEL_STEP), on_grid(found.y, PIXEL_STEP))
    parts = [memoryview(np.ascontiguousarray(values)).cast("B") for values in (seen.ids.astype("<i4"), seen.x, seen.y)]
    ends = (4 * seen.offsets).tolist()
    heads = {name: hashlib.sha256(name.encode()) for name in table.column("template_hash").unique().to_pylist()}
    names = table.column("template_hash").to_pylist()
    return [_digest(heads[name], parts, start, stop) for name, start, stop in zip(names, ends, ends[1:], strict=False)]


def _digest(head, parts: list[memoryview], start: int, stop: int) -> str:
    digest = head.copy()
    for part in parts:
        digest.update(part[start:stop])
    return digest.hexdigest()[:16]


def raw_bytes(visible: np.ndarray, with_truth: np.ndarray, num_vertices: int, per_vertex: int = len(PER_VERTEX)) -> np.ndarray:
    """Bytes [N] of rows as uncompressed 4-byte numbers: their lists, and ROW_BYTES for the rest."""
    return ROW_BYTES + 4 * (per_vertex * visible.astype(np.int64) + 3 * num_vertices * with_truth.astype(np.int64))
