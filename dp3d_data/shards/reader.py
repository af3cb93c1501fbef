"""Shards to dense arrays for training and evaluation; a damaged or foreign file is refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from dp3d_data.config import file_digest
from dp3d_data.errors import ShardError, UsageError
from dp3d_data.files import check_digest
from dp3d_data.records import RunLength
from dp3d_data.shards.basis import BASIS, Basis, read_basis
from dp3d_data.shards.decode import boxes, lenses, masks, truth, views, weights
from dp3d_data.shards.files import read_table
from dp3d_data.shards.manifest import read_manifest
from dp3d_data.shards.runs import TEMPLATE
from dp3d_data.shards.schema import INSTANCE_SCHEMA, current, schema_problem

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template


@dataclass(frozen=True)
class Instances:
    """Instances as dense arrays; N instances, K template vertices.

    Attributes:
        instance_ids: N names.
        image_paths: N paths, None where no image was made.
        groups: N names of what stays together.
        keypoints: [N, K, 2] image pixels (pixel (0, 0) has its centre at (0.5, 0.5)); 0 where invisible.
        visible: [N, K].
        visible_area: [N] visible share of the template's area.
        boxes: [N, 4] xyxy, image pixels.
        true_vertices: [N, K, 3] camera frame, template units; NaN where unknown; None where no instance has truth.
        true_scale: [N] image pixels per template unit; NaN where unknown; None where no instance has truth.
        cameras: [N, 4] fx, fy, cx, cy of perspective cameras, image pixels; NaN where unknown.
        weights: [N, K] forward-backward weight of each keypoint, 0..1: 1 where nothing is known, 0 where invisible.
        masks: N masks, None where no mask was made.
    """

    instance_ids: list[str]
    image_paths: list[str | None]
    groups: list[str]
    keypoints: Float[np.ndarray, "N K 2"]
    visible: Bool[np.ndarray, "N K"]
    visible_area: Float[np.ndarray, "N"]
    boxes: Float[np.ndarray, "N 4"]
    true_vertices: Float[np.ndarray, "N K 3"] | None
    true_scale: Float[np.ndarray, "N"] | None
    cameras: Float[np.ndarray, "N 4"]
    weights: Float[np.ndarray, "N K"]
    masks: list[RunLength | None]

    def __len__(self) -> int:
        return len(self.instance_ids)


class ShardReader:
    """A folder of shards.

    Args:
        folder: what build-shards wrote.

    Raises:
        InputMissing: no finished shards here.
        ShardError: the manifest, the template or the basis is damaged or missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest: dict[str, Any] = read_manifest(folder)
        for name in (TEMPLATE, BASIS):
            self.check(name)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that hold instances."""
        return sorted({entry["split"] for entry in self.manifest["shards"]})

    @property
    def recipe(self) -> str:
        """Fingerprint of the inputs and settings that made these shards."""
        return self.manifest["recipe"]

    @cached_property
    def template(self) -> Template:
        from dp3d_data.geometry.template import Template

        template = Template.load(self.folder / TEMPLATE)
        expected = self.manifest["template"]["hash"]
        if template.content_hash != expected:
            raise ShardError("another template", got=template.content_hash, expected=expected, path=self.folder / TEMPLATE)
        return template

    @cached_property
    def basis(self) -> Basis:
        """Eigenvalues [J] and eigenfunctions [K, J] of the template, as stored beside the shards."""
        return read_basis(self.folder / BASIS)

    def tables(self, split: str) -> list[pa.Table]:
        """The tables of a split, shard by shard, each checked against its hash and the schema.

        Raises:
            UsageError: no such split.
            ShardError: a shard is missing, damaged or foreign; names it.
        """
        entries = [entry for entry in self.manifest["shards"] if entry["split"] == split]
        if not entries:
            raise UsageError(f"no split {split!r} in these shards", expected="one of " + ", ".join(self.splits))
        return [self._table(entry["name"]) for entry in entries]

    def split(self, split: str) -> Instances:
        """All instances of a split as dense arrays; needs about 13 K bytes an instance, 25 K with truth.

        Raises:
            UsageError: no such split.
            ShardError: a shard is missing, damaged or foreign; names it.
        """
        return dense(pa.concat_tables(self.tables(split)), self.manifest["template"]["num_vertices"])

    def check(self, name: str) -> Path:
        """The path of a file, once its content is what the manifest says.

        Raises:
            ShardError: it is missing, damaged or foreign; names it.
        """
        path = self.folder / name
        if not path.is_file():
            raise ShardError("listed in the manifest, but missing", path=path)
        check_digest(file_digest(path), self.manifest["files"].get(name), path)
        return path

    def _table(self, name: str) -> pa.Table:
        if not (self.folder / name).is_file():
            raise ShardError("listed in the manifest, but missing", path=self.folder / name)
        table = read_table(self.folder / name, sha256=self.manifest["files"].get(name, ""))
        problem = schema_problem(table.schema, INSTANCE_SCHEMA)
        if problem:
            raise ShardError("not a table of instances", got=problem, path=self.folder / name)
        return current(table)


def dense(table: pa.Table, num_vertices: int) -> Instances:
    """Sparse rows to dense arrays.

    Raises:
        ShardError: a vertex id outside the template.
    """
    found = views(table)
    keypoints, visible = found.dense(num_vertices)
    true_vertices, true_scale = truth(table, num_vertices)
    return Instances(
        instance_ids=table.column("instance_id").to_pylist(),
        image_paths=table.column("image_path").to_pylist(),
        groups=table.column("group").to_pylist(),
        keypoints=keypoints,
        visible=visible,
        visible_area=table.column("visible_area").to_numpy(),
        boxes=boxes(table),
        true_vertices=true_vertices,
        true_scale=true_scale,
        cameras=lenses(table),
        weights=weights(table, found, num_vertices),
        masks=masks(table),
    )
