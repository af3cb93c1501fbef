"""What a build decides on: a few values of every instance of all runs, without their keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dp3d_data.filters import Measures
from dp3d_data.shards.decode import boxes
from dp3d_data.shards.runs import Run

COLUMNS = [
    "instance_id", "image_id", "image_hash", "image_width", "image_height", "source", "model", "group",
    "box_x0", "box_y0", "box_x1", "box_y1", "score", "visible_area", "spread",
]  # fmt: skip

TRUTH_MODEL = "truth"


@dataclass(frozen=True)
class Index:
    """All instances of some runs, in order of run, file and row.

    Attributes:
        instance_ids: names, not yet unique across runs.
        image_ids: names of the images.
        image_hashes: content hashes, None where no image was made.
        groups: group, else image hash, else instance id.
        sources: kinds of source.
        boxes: [N, 4] xyxy in image pixels.
        measures: what the filters look at.
    """

    instance_ids: list[str]
    image_ids: list[str]
    image_hashes: list[str | None]
    groups: list[str]
    sources: list[str]
    boxes: np.ndarray
    measures: Measures

    def __len__(self) -> int:
        return len(self.instance_ids)


def read_index(runs: Sequence[Run]) -> Index:
    """Read the index of all instances of the runs.

    Raises:
        InputMissing, ShardError: a file of a run is gone or damaged; names it.
    """
    tables = [table.select(COLUMNS) for run in runs for table in run.instances(COLUMNS)]
    measures = [measure(table) for table in tables]
    columns: dict[str, list] = {name: [] for name in ("instance_id", "image_id", "image_hash", "group", "source")}
    for table in tables:
        for name, values in columns.items():
            values.extend(table.column(name).to_pylist())
    zipped = zip(columns["group"], columns["image_hash"], columns["instance_id"], strict=True)
    return Index(
        instance_ids=columns["instance_id"],
        image_ids=columns["image_id"],
        image_hashes=columns["image_hash"],
        groups=[group or image or instance for group, image, instance in zipped],
        sources=columns["source"],
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(boxes(table) for table in tables)]),
        measures=_joined(measures),
    )


def measure(table: pa.Table) -> Measures:
    """The filters' values of each row of an instance table."""
    box = boxes(table).astype(np.float64)
    size = np.stack([table.column(name).to_numpy() for name in ("image_width", "image_height")], axis=1)
    touching = np.concatenate([box[:, :2] <= 0.5, box[:, 2:] >= size - 0.5], axis=1)
    spread = table.column("spread").combine_chunks()
    counts = np.diff(spread.offsets.to_numpy())
    row = np.repeat(np.arange(len(counts)), counts)
    total = np.bincount(row, weights=spread.flatten().to_numpy(), minlength=len(counts))
    side = np.maximum((box[:, 2:] - box[:, :2]).max(axis=1), 1e-9)
    return Measures(
        score=table.column("score").to_numpy().astype(np.float64),
        visible_vertices=counts,
        visible_area=table.column("visible_area").to_numpy().astype(np.float64),
        known_shape=np.array([model == TRUTH_MODEL for model in table.column("model").to_pylist()], dtype=bool),
        edges=touching.sum(axis=1),
        spread=total / np.maximum(counts, 1) / side,
    )


def _joined(parts: Sequence[Measures]) -> Measures:
    names = Measures.__dataclass_fields__
    empty = {name: np.zeros(0, dtype=bool if name == "known_shape" else np.float64) for name in names}
    if not parts:
        return Measures(**empty)
    return Measures(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
