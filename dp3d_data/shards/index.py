"""What a build decides on: a few values of every instance, without its keypoints, kept as one small table for each piece."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.filters import Measures
from dp3d_data.shards.decode import boxes, list_values
from dp3d_data.shards.files import read_arrow, table_options, write_arrow
from dp3d_data.shards.inputs import Piece
from dp3d_data.shards.schema import PER_VERTEX
from dp3d_data.shards.stored import content_hashes, raw_bytes, rounded
from dp3d_data.shards.trimming import TRUTH_MODEL, Trim, cycle_or_1, no_vertices_dropped

# Taken over from the instances, then derived from them.
KEPT = ["instance_id", "image_id", "image_hash", "group", "source", "source_split", "split", "box_x0", "box_y0", "box_x1", "box_y1"]
MEASURES = list(Measures.__dataclass_fields__)
# What `measure` reads.
COLUMNS = [
    "image_width", "image_height", "model", "score", "visible_area", "spread", "cycle", "box_x0", "box_y0", "box_x1", "box_y1"
]  # fmt: skip
_READ = [*KEPT, "image_width", "image_height", "model", "template_hash", "score", "visible_area", "true_scale", *PER_VERTEX]
# Rows of each piece that are encoded to see how large they become.
SAMPLE = 256
_RAW, _ENCODED, _DROPPED = b"dp3d.sample_raw", b"dp3d.sample_encoded", b"dp3d.dropped_vertices"


def write_index(path: Path, piece: Piece, num_vertices: int, trim: Trim) -> Path:
    """Check the files of a piece and write the index of its rows, as the filters of vertices leave them.

    Raises:
        InputMissing, ShardError: a file is gone, damaged or of another schema; names it.
    """
    piece.check_files()
    dropped = no_vertices_dropped()
    parts = [index_table(table, num_vertices) for table in trim.tables(piece.tables(_READ), dropped)]
    raw, encoded = _sample(piece, num_vertices, trim)
    table = pa.concat_tables(parts) if parts else pa.table({})
    notes = {_RAW: str(raw), _ENCODED: str(encoded), _DROPPED: json.dumps(dropped)}
    return write_arrow(path, table.replace_schema_metadata(notes))


def index_table(table: pa.Table, num_vertices: int) -> pa.Table:
    """The index of some instances: KEPT, the filters' measures, the hash of the content and the bytes of the raw row."""
    measures = measure(table)
    columns = {name: table.column(name) for name in KEPT}
    columns |= {name: pa.array(getattr(measures, name)) for name in MEASURES}
    columns["content"] = pa.array(content_hashes(table), type=pa.string())
    with_truth = table.column("true_scale").is_valid().to_numpy()
    columns["bytes"] = pa.array(raw_bytes(measures.visible_vertices, with_truth, num_vertices))
    return pa.table(columns)


def _sample(piece: Piece, num_vertices: int, trim: Trim) -> tuple[int, int]:
    """Raw bytes of the first rows of a piece, and of their encoded pages."""
    first = (table.slice(0, SAMPLE) for table in piece.tables() if table.num_rows)
    table = next(trim.tables(first), None)
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


@dataclass(frozen=True)
class Index:
    """All instances of some inputs, in order of input, file and row.

    Attributes:
        table: KEPT, MEASURES, content and bytes.
        ratio: encoded bytes per raw byte, as a sample has it.
        dropped: vertices made invisible, by reason.
    """

    table: pa.Table
    ratio: float
    dropped: Counter[str]

    def __len__(self) -> int:
        return self.table.num_rows

    def numbers(self, name: str) -> np.ndarray:
        return self.table.column(name).to_numpy()

    @property
    def boxes(self) -> np.ndarray:
        """[N, 4] xyxy in image pixels."""
        return boxes(self.table)

    @property
    def measures(self) -> Measures:
        return Measures(**{name: self.numbers(name) for name in MEASURES})


def read_index(paths: Sequence[Path]) -> Index:
    """Join the indices of all pieces.

    Raises:
        InputMissing, ShardError: an index is gone or damaged.
    """
    tables = [read_arrow(path) for path in paths]
    raw, encoded = (sum(int(table.schema.metadata[key]) for table in tables) for key in (_RAW, _ENCODED))
    dropped = no_vertices_dropped()
    for table in tables:
        dropped.update(json.loads(table.schema.metadata[_DROPPED]))
    joined = pa.concat_tables([table.replace_schema_metadata(None) for table in tables if table.num_columns])
    return Index(joined.combine_chunks(), encoded / raw if raw else 1.0, dropped)


def measure(table: pa.Table) -> Measures:
    """The filters' values of each row of an instance table."""
    box = boxes(table).astype(np.float64)
    size = np.stack([table.column(name).to_numpy() for name in ("image_width", "image_height")], axis=1)
    touching = np.concatenate([box[:, :2] <= 0.5, box[:, 2:] >= size - 0.5], axis=1)
    offsets, spread = list_values(table.column("spread"))
    counts = np.diff(offsets)
    row = np.repeat(np.arange(len(counts)), counts)
    total, weight = (np.bincount(row, weights=values, minlength=len(counts)) for values in (spread, cycle_or_1(table, offsets)))
    side = np.maximum((box[:, 2:] - box[:, :2]).max(axis=1, initial=0), 1e-9)
    models = table.column("model")
    return Measures(
        score=table.column("score").to_numpy().astype(np.float64),
        visible_vertices=counts,
        visible_area=table.column("visible_area").to_numpy().astype(np.float64),
        known_shape=np.array([name == TRUTH_MODEL for name in models.to_pylist()], dtype=bool),
        edges=touching.sum(axis=1),
        spread=total / np.maximum(counts, 1) / side,
        cycle=np.where(counts > 0, weight / np.maximum(counts, 1), 1.0),
    )
