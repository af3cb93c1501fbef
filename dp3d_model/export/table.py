"""All lifted instances in one Parquet file, a row each: what programs read on from."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.files import growing
from dp3d_model.evaluation.quality import FIGURES
from dp3d_model.lifting.prediction import Prediction

COLUMNS = (
    "vertices",
    "camera_from_template",
    "translation",
    "part_rotations",
    "part_translations",
    "blendshapes",
    "uncertainty",
    "intrinsics",
    "position",
)
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
        self._open = ExitStack()

    def __enter__(self) -> PredictionTable:
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["image_path"]}
        with ExitStack() as opened:
            stream = opened.enter_context(growing(self.path))
            self.writer = opened.enter_context(pq.ParquetWriter(stream, SCHEMA, **options))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def add(self, ids: tuple[str, ...], image_paths: tuple[str, ...], many: Prediction) -> None:
        """Append a row for each instance."""
        arrays = many.arrays()
        columns = {
            "instance_id": pa.array(ids),
            "image_path": pa.array([path or None for path in image_paths], pa.string()),
        }
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
