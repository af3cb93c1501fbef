"""What a page looks at: the instances of each run and of each split under one name, and their measured facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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
_CHUNK = 2048


@dataclass(frozen=True)
class Collection:
    """Instances under one name: a run, or one side of a split of shards.

    Attributes:
        name: as the page shows it.
        template_hash: whose vertices the ids are; None where unknown.
        source: the run, or the shard files.
    """

    name: str
    template_hash: str | None
    source: Run | Sequence[Path]

    @property
    def is_run(self) -> bool:
        return isinstance(self.source, Run)

    @property
    def files(self) -> Sequence[Path]:
        return self.source.instance_files if isinstance(self.source, Run) else self.source

    def tables(self, columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of all instances, file by file, in order.

        Raises:
            InputMissing, ShardError: a file is gone or damaged; names it.
        """
        return self.source.instances(columns) if isinstance(self.source, Run) else (read_table(path, columns) for path in self.files)

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


@dataclass(frozen=True)
class Facts:
    """What is measured of a collection; N instances, K template vertices.

    Attributes:
        collection: whose instances these are.
        instance_ids: N names.
        pictured: [N] whether an image path is known.
        score, visible_vertices, visible_area: [N], see Measures.
        spread: [N] mean spread of a vertex's pixels, share of the box.
        azimuth, elevation: [N] degrees, where the closed-form camera stands; NaN where it cannot be fitted.
        residual: [N] what the rigid template leaves of the keypoints, template units; NaN where it cannot be fitted.
        seen: [K] number of instances in which each vertex is visible; empty without a template.
    """

    collection: Collection
    instance_ids: list[str]
    pictured: np.ndarray
    score: Float[np.ndarray, "N"]
    visible_vertices: Int[np.ndarray, "N"]
    visible_area: Float[np.ndarray, "N"]
    spread: Float[np.ndarray, "N"]
    azimuth: Float[np.ndarray, "N"]
    elevation: Float[np.ndarray, "N"]
    residual: Float[np.ndarray, "N"]
    seen: Int[np.ndarray, "K"]

    def __len__(self) -> int:
        return len(self.instance_ids)

    @property
    def name(self) -> str:
        return self.collection.name

    @cached_property
    def visible_share(self) -> Float[np.ndarray, "K"]:
        """Share of instances in which each vertex is visible."""
        return self.seen / max(len(self), 1)


def collections(runs: Sequence[Run], shards: Path | None, manifest: dict[str, Any] | None) -> list[Collection]:
    """One collection for each run, then one for each split of the shards."""
    found = [Collection(NAMES.get(run.kind, run.kind), (run.marker["template"] or {}).get("hash"), run) for run in runs]
    if shards is not None and manifest is not None:
        for split in sorted({entry["split"] for entry in manifest["shards"]}):
            files = [shards / entry["name"] for entry in manifest["shards"] if entry["split"] == split]
            found.append(Collection(f"{split} split", manifest["template"]["hash"], files))
    return found


def facts_of(collection: Collection, template: Template | None) -> Facts:
    """Measure all instances of a collection; cameras and visibility only where the ids are the template's."""
    known = template if template is not None and template.content_hash == collection.template_hash else None
    parts: dict[str, list[np.ndarray]] = {name: [np.zeros(0)] for name in _ARRAYS}
    ids: list[str] = []
    seen = np.zeros(known.num_vertices if known else 0, dtype=np.int64)
    for table in collection.tables(_READ):
        ids += table.column("instance_id").to_pylist()
        for name, values in (_measured(table) | _viewed(table, known)).items():
            parts[name].append(values)
        if known:
            seen += np.bincount(list_values(table.column("vertex_ids"))[1], minlength=len(seen))[: len(seen)]
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    joined["pictured"] = joined["pictured"].astype(bool)
    return Facts(collection=collection, instance_ids=ids, seen=seen, **joined)


_ARRAYS = ("pictured", "score", "visible_vertices", "visible_area", "spread", "azimuth", "elevation", "residual")


def _measured(table: pa.Table) -> dict[str, np.ndarray]:
    measures = measure(table.select(COLUMNS))
    found = {name: np.asarray(getattr(measures, name)) for name in ("score", "visible_vertices", "visible_area", "spread")}
    return found | {"pictured": table.column("image_path").is_valid().to_numpy()}


def _viewed(table: pa.Table, template: Template | None) -> dict[str, np.ndarray]:
    """The closed-form cameras of a table's instances, a few thousand at a time."""
    names = ("azimuth", "elevation", "residual")
    result = {name: np.full(table.num_rows, np.nan) for name in names}
    for start in range(0, table.num_rows if template is not None else 0, _CHUNK):
        keypoints, visible, _ = InstanceTable.of(table.slice(start, _CHUNK), template.num_vertices).dense()
        enough = np.flatnonzero(visible.sum(axis=1) >= 4)
        if len(enough):
            values = _cameras(template, keypoints[enough], visible[enough])
            for name, found in zip(names, values, strict=True):
                result[name][start + enough] = found
    return result


def _cameras(template: Template, keypoints: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import torch

    from dp3d_data.geometry.rigid_camera import fit_camera, fit_residual, view_angles

    vertices, points, shown = torch.from_numpy(template.vertices), torch.from_numpy(keypoints), torch.from_numpy(visible)
    camera = fit_camera(vertices, points, shown)
    azimuth, elevation = view_angles(camera.rotation)
    return azimuth.numpy(), elevation.numpy(), fit_residual(camera, vertices, points, shown).numpy()
