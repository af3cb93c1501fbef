"""Columns of the instance table to arrays, without a loop over rows: sparse views, dense keypoints, truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from dp3d_data.errors import ShardError
from dp3d_data.records import RunLength

# Skew over focal length above which a camera is no pinhole with square angles.
SKEW = 1e-3
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


def list_values(lists: pa.ChunkedArray | pa.Array) -> tuple[Int[np.ndarray, "n_plus_1"], np.ndarray]:
    """Offsets [N + 1], from 0, and the values of lists, one after the other; null counts as empty."""
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = lists.flatten().to_numpy(zero_copy_only=False)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]), values


def views(table: pa.Table) -> Views:
    """The visible vertices of a table that holds VIEW_COLUMNS.

    Raises:
        ShardError: ids and keypoints differ in length.
    """
    (offsets, ids), (at_x, x), (at_y, y) = (list_values(table.column(name)) for name in VIEW_COLUMNS)
    if not (np.array_equal(offsets, at_x) and np.array_equal(offsets, at_y)):
        raise ShardError("vertex_ids and keypoints differ in length", got=f"{len(ids)} ids, {len(x)} x, {len(y)} y")
    return Views(offsets, ids, x, y)


def weights(table: pa.Table, found: Views, num_vertices: int) -> Float[np.ndarray, "N K"]:
    """Forward-backward weights of the visible vertices: 1 where the row has none, 0 where invisible.

    Raises:
        ShardError: as many weights as vertices in some rows only.
    """
    column = table.column("cycle").combine_chunks()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = np.diff(found.offsets)
    values = np.ones(len(found.ids), dtype=np.float32)
    given = list_values(column)[1]
    if len(given) != lengths[known].sum():
        raise ShardError("vertex_ids and cycle differ in length", got=f"{lengths[known].sum()} ids, {len(given)} weights")
    values[np.repeat(known, lengths)] = given
    spread = np.zeros((len(found), num_vertices), dtype=np.float32)
    spread[np.repeat(np.arange(len(found)), lengths), found.ids] = values
    return spread


def masks(table: pa.Table) -> list[RunLength | None]:
    """The mask of each row; None where it has none."""
    rows = (table.column(name).to_pylist() for name in ("mask", "image_height", "image_width"))
    return [None if runs is None else RunLength(height, width, runs.encode()) for runs, height, width in zip(*rows, strict=True)]


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


def lenses(table: pa.Table) -> Float[np.ndarray, "N 4"]:
    """Intrinsics fx, fy, cx, cy of each instance, image pixels; NaN where no perspective camera is known, or one with skew."""
    column = table.column("camera_matrix").combine_chunks()
    kinds = np.array(table.column("camera_kind").to_pylist(), dtype=object)
    pinhole = (kinds == "perspective") & column.is_valid().to_numpy(zero_copy_only=False)
    found = np.full((len(column), 4), np.nan, dtype=np.float32)
    matrices = column.filter(pa.array(pinhole)).flatten().to_numpy(zero_copy_only=False)
    found[pinhole] = intrinsics(matrices.reshape(-1, 3, 4).astype(np.float64))
    return found


def intrinsics(projection: Float[np.ndarray, "n 3 4"]) -> Float[np.ndarray, "n 4"]:
    """fx, fy, cx, cy of pinholes P = K [A | t], A any rotation times any scale; NaN where P is none, or has skew.

    With M = P[:, :3], M M^T = s^2 K K^T, whose last entry is s^2 and whose triangular root is K: the RQ decomposition in closed form.
    """
    gram = projection[:, :, :3] @ projection[:, :, :3].transpose(0, 2, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gram = gram / gram[:, 2:, 2:]
        cx, cy = gram[:, 0, 2], gram[:, 1, 2]
        fy = np.sqrt(gram[:, 1, 1] - cy**2)
        skew = (gram[:, 0, 1] - cx * cy) / fy
        fx = np.sqrt(gram[:, 0, 0] - cx**2 - skew**2)
        found = np.stack([fx, fy, cx, cy], axis=1)
        sound = np.isfinite(found).all(axis=1) & (np.abs(skew) < SKEW * fx)
    return np.where(sound[:, None], found, np.nan)
