"""Columns of the instance table to arrays, without a loop over rows: sparse views, dense keypoints, truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from dp3d_data.errors import ShardError

# What a loader of keypoints must read.
VIEW_COLUMNS = ["vertex_ids", "keypoints_x", "keypoints_y"]


@dataclass(frozen=True)
class Views:
    """The visible vertices of N instances, one after the other.

    Attributes:
        offsets: [N + 1]; instance i owns the entries offsets[i] .. offsets[i + 1].
        ids: [V] template vertices, ascending within an instance.
        x, y: [V] image pixels.
    """

    offsets: Int[np.ndarray, "n_plus_1"]
    ids: Int[np.ndarray, "V"]
    x: Float[np.ndarray, "V"]
    y: Float[np.ndarray, "V"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def dense(self, num_vertices: int) -> tuple[Float[np.ndarray, "N K 2"], Bool[np.ndarray, "N K"]]:
        """Keypoints, 0 where invisible, and visibility.

        Raises:
            ShardError: a vertex id outside the template.
        """
        if len(self.ids) and (self.ids.min() < 0 or self.ids.max() >= num_vertices):
            worst = self.ids.min() if self.ids.min() < 0 else self.ids.max()
            raise ShardError("vertex id outside the template", got=int(worst), expected=f"0..{num_vertices - 1}")
        places = np.repeat(np.arange(len(self), dtype=np.int64) * num_vertices, np.diff(self.offsets)) + self.ids
        keypoints = np.zeros((len(self) * num_vertices, 2), dtype=np.float32)
        visible = np.zeros(len(self) * num_vertices, dtype=bool)
        visible[places] = True
        keypoints[places, 0], keypoints[places, 1] = self.x, self.y
        return keypoints.reshape(len(self), num_vertices, 2), visible.reshape(len(self), num_vertices)


def list_values(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Offsets [N + 1], from 0, and the values of a column of lists; null counts as empty."""
    lists = table.column(name).combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = lists.flatten().to_numpy(zero_copy_only=False)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]), values


def views(table: pa.Table) -> Views:
    """The visible vertices of a table that holds VIEW_COLUMNS.

    Raises:
        ShardError: ids and keypoints differ in length.
    """
    offsets, ids = list_values(table, "vertex_ids")
    (at_x, x), (at_y, y) = list_values(table, "keypoints_x"), list_values(table, "keypoints_y")
    if not (np.array_equal(offsets, at_x) and np.array_equal(offsets, at_y)):
        raise ShardError("vertex_ids and keypoints differ in length", got=f"{len(ids)} ids, {len(x)} x, {len(y)} y")
    return Views(offsets, ids, x, y)


def truth(table: pa.Table, num_vertices: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """True vertices [N, K, 3] and scale [N], NaN where unknown; None, None where no row has truth."""
    column = table.column("true_vertices").combine_chunks()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    if not known.any():
        return None, None
    vertices = np.full((len(column), num_vertices, 3), np.nan, dtype=np.float32)
    vertices[known] = column.drop_null().flatten().to_numpy().reshape(-1, num_vertices, 3)
    scale = table.column("true_scale").combine_chunks().fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return vertices, scale.astype(np.float32)


def boxes(table: pa.Table) -> Float[np.ndarray, "N 4"]:
    """Boxes, xyxy in image pixels."""
    return np.stack([table.column(name).to_numpy() for name in ("box_x0", "box_y0", "box_x1", "box_y1")], axis=1)
