"""All lifted instances in one Parquet file, a row each: what programs read on from."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_model.figures import FIGURES
from dp3d_model.prediction import Prediction

COLUMNS = (
    "vertices", "camera_from_template", "translation", "part_rotations", "part_translations", "blendshapes", "uncertainty",
    "intrinsics", "position",
)  # fmt: skip
NUMBERS = ("scale", *FIGURES)
SCHEMA = pa.schema(
    [("instance_id", pa.string()), ("image_path", pa.string())]
    + [(name, pa.float32()) for name in NUMBERS]
    + [(name, pa.list_(pa.float32())) for name in COLUMNS]
)


class PredictionTable:
    """A growing table; the file appears whole or not at all. Arrays are flat lists in C order, null where unknown."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.partial = self.path.with_name(f".{self.path.name}.tmp")
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["image_path"]}
        self.writer = pq.ParquetWriter(self.partial, SCHEMA, **options)

    def __enter__(self) -> PredictionTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.close()
        if kind is None:
            self.partial.replace(self.path)
        else:
            self.partial.unlink()

    def add(self, ids: tuple[str, ...], image_paths: tuple[str, ...], many: Prediction) -> None:
        """Append a row for each instance."""
        arrays = many.arrays()
        columns = {"instance_id": pa.array(ids), "image_path": pa.array([path or None for path in image_paths], pa.string())}
        columns |= {name: pa.array(arrays[name], pa.float32(), from_pandas=True) for name in NUMBERS}
        columns |= {name: _lists(arrays[name]) for name in COLUMNS}
        self.writer.write_table(pa.table(columns, SCHEMA))


def _lists(values: np.ndarray) -> pa.ListArray:
    """[N, ...] as N lists; null where an instance's are NaN."""
    count = len(values)
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(count, -1)
    offsets = np.arange(count + 1, dtype=np.int32) * flat.shape[1]
    unknown = pa.array(np.isnan(flat).any(axis=1))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)), mask=unknown)
