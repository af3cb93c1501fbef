"""What a report looks at: the instances of each run and of each split under one name, and what is measured of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from dp3d_data.geometry.template import Template
from dp3d_data.shards.files import read_table
from dp3d_data.shards.index import COLUMNS, measure
from dp3d_data.shards.runs import Run
from dp3d_data.shards.table import KEYPOINT_COLUMNS, InstanceTable, list_values

NAMES = {"extract": "photographs", "synth": "synthetic", "project": "model fits"}
SHOWN = ["instance_id", "image_path", "box_x0", "box_y0", "box_x1", "box_y1", "score", *KEYPOINT_COLUMNS]
_READ = list(dict.fromkeys([*COLUMNS, "instance_id", "image_path", *KEYPOINT_COLUMNS]))
_CHUNK, _LEAST_VERTICES = 2048, 4


@dataclass(frozen=True)
class Facts:
    """N instances under one name, a run or a split, and what is measured of them.

    Attributes:
        name: as the page shows it.
        is_run: a run; else a split of shards.
        files: the instance tables.
        ids: N names.
        columns: [N] each. pictured: whether an image path is known. score, visible_vertices, visible_area, spread: see
            `Measures`. azimuth, elevation: degrees, where the closed-form camera stands; residual: what the rigid
            template leaves of the keypoints, template units; NaN where no camera can be fitted.
        seen: [K] number of instances in which each vertex is visible; empty where the ids are of another template.
    """

    name: str
    is_run: bool
    files: Sequence[Path]
    ids: list[str]
    columns: Mapping[str, np.ndarray]
    seen: Int[np.ndarray, "K"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    def rows(self, wanted: Sequence[int]) -> list[dict[str, Any]]:
        """Some instances as plain rows, in the order asked for; only the files that hold them are read."""
        found: dict[int, dict[str, Any]] = {}
        start = 0
        for path in self.files:
            count = pq.read_metadata(path).num_rows
            inside = [index for index in wanted if start <= index < start + count]
            if inside:
                rows = read_table(path, SHOWN).take(pa.array([index - start for index in inside]))
                found |= dict(zip(inside, rows.to_pylist(), strict=True))
            start += count
        return [found[index] for index in wanted]


def all_facts(
    runs: Sequence[Run], shards: Path | None, manifest: Mapping[str, Any] | None, template: Template | None
) -> list[Facts]:
    """The facts of each run, then of each split of the shards.

    Raises:
        InputMissing, ShardError: a file is gone or damaged; names it.
    """
    found, known = [], {} if template is None else {template.content_hash: template}
    for run in runs:
        name, own = NAMES.get(run.kind, run.kind), known.get((run.marker["template"] or {}).get("hash"))
        found.append(_facts(name, True, run.instance_files, run.instances(_READ), own))
    if shards is not None and manifest is not None:
        for split in sorted({entry["split"] for entry in manifest["shards"]}):
            files = [shards / entry["name"] for entry in manifest["shards"] if entry["split"] == split]
            tables = (read_table(path, _READ) for path in files)
            found.append(_facts(f"{split} split", False, files, tables, known.get(manifest["template"]["hash"])))
    return found


def _facts(
    name: str, is_run: bool, files: Sequence[Path], tables: Iterator[pa.Table], template: Template | None
) -> Facts:
    """Measure all instances; cameras and visibility only where the ids are the template's."""
    ids: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    seen = np.zeros(template.num_vertices if template else 0, dtype=np.int64)
    for table in tables:
        ids += table.column("instance_id").to_pylist()
        parts.append(measured(table, template))
        if template:
            seen += np.bincount(list_values(table.column("vertex_ids"))[1], minlength=len(seen))[: len(seen)]
    columns = {column: np.concatenate([part[column] for part in parts]) for column in (parts[0] if parts else ())}
    return Facts(name, is_run, files, ids, columns, seen)


def measured(table: pa.Table, template: Template | None) -> dict[str, np.ndarray]:
    """What is measured of each instance of a table; the closed-form cameras a few thousand at a time."""
    measures = measure(table.select(COLUMNS))
    found = {
        name: np.asarray(getattr(measures, name)) for name in ("score", "visible_vertices", "visible_area", "spread")
    }
    found["pictured"] = table.column("image_path").is_valid().to_numpy()
    found |= {name: np.full(table.num_rows, np.nan) for name in ("azimuth", "elevation", "residual")}
    for start in range(0, table.num_rows if template is not None else 0, _CHUNK):
        keypoints, visible, _ = InstanceTable.of(table.slice(start, _CHUNK), template.num_vertices).dense()
        enough = np.flatnonzero(visible.sum(axis=1) >= _LEAST_VERTICES)
        if len(enough):
            for name, values in _cameras(template, keypoints[enough], visible[enough]).items():
                found[name][start + enough] = values
    return found


def _cameras(template: Template, keypoints: np.ndarray, visible: np.ndarray) -> dict[str, Float[np.ndarray, "N"]]:
    import torch

    from dp3d_data.geometry.rigid_camera import fit_camera, fit_residual, view_angles

    vertices, points, shown = (
        torch.from_numpy(template.vertices),
        torch.from_numpy(keypoints),
        torch.from_numpy(visible),
    )
    camera = fit_camera(vertices, points, shown)
    azimuth, elevation = view_angles(camera.rotation)
    residual = fit_residual(camera, vertices, points, shown)
    return {"azimuth": azimuth.numpy(), "elevation": elevation.numpy(), "residual": residual.numpy()}
