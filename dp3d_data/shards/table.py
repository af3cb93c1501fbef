"""Many instances as they are stored: ragged columns, from which dense arrays are made without a loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Integer

from dp3d_data.errors import ShapeError, ShardError, UsageError
from dp3d_data.records import RunLength

# Skew over focal length above which a camera is no pinhole with square angles.
SKEW = 1e-3
KEYPOINT_COLUMNS = ["vertex_ids", "keypoints_x", "keypoints_y"]
# What a table can hold besides keypoints: field -> columns of the stored table.
FIELDS = {
    "ids": ["instance_id"],
    "groups": ["group"],
    "image_paths": ["image_path"],
    "masks": ["mask", "image_height", "image_width"],
    "boxes": ["box_x0", "box_y0", "box_x1", "box_y1"],
    "truth": ["true_vertices", "true_scale"],
    "intrinsics": ["camera_kind", "camera_matrix"],
    "weights": ["cycle"],
}


@dataclass(frozen=True)
class InstanceTable:
    """N instances of a template with K vertices; the columns that were not asked for are None.

    Attributes:
        num_vertices: K.
        offsets: [N + 1]; instance i owns the entries offsets[i] .. offsets[i + 1] of vertex_ids, keypoints and weights.
        vertex_ids: [V] visible template vertices, ascending within an instance.
        keypoints: [V, 2] image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5).
        index: [N] place of each instance in its split.
        weights: [V] forward-backward weight of each keypoint, 0..1; 1 where nothing is known.
        boxes: [N, 4] xyxy, image pixels.
        true_vertices: [N, K, 3] camera frame, template units; NaN where unknown.
        true_scale: [N] image pixels per template unit; NaN where unknown.
        intrinsics: [N, 4] fx, fy, cx, cy of perspective cameras, image pixels; NaN where unknown.
        ids, groups, image_paths: [N] text; None where unknown.
        masks: [N] RunLength; None where no mask was made.
    """

    num_vertices: int
    offsets: Int[np.ndarray, "n_plus_1"]
    vertex_ids: Integer[np.ndarray, "V"]
    keypoints: Float[np.ndarray, "V 2"]
    index: Int[np.ndarray, "N"]
    weights: Float[np.ndarray, "V"] | None = None
    boxes: Float[np.ndarray, "N 4"] | None = None
    true_vertices: Float[np.ndarray, "N K 3"] | None = None
    true_scale: Float[np.ndarray, "N"] | None = None
    intrinsics: Float[np.ndarray, "N 4"] | None = None
    ids: np.ndarray | None = None
    groups: np.ndarray | None = None
    image_paths: np.ndarray | None = None
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @staticmethod
    def of(table: pa.Table, num_vertices: int, wanted: Sequence[str] = (), first: int = 0) -> InstanceTable:
        """The instances of a stored table.

        Args:
            wanted: names of FIELDS.
            first: place of the first instance in its split.

        Raises:
            ShardError: a vertex id outside the template, or lists of unequal length.
        """
        offsets, vertex_ids, x, y = keypoint_lists(table)
        if len(vertex_ids) and (vertex_ids.min() < 0 or vertex_ids.max() >= num_vertices):
            got = int(vertex_ids.min() if vertex_ids.min() < 0 else vertex_ids.max())
            raise ShardError("vertex id outside the template", got=got, expected=f"0..{num_vertices - 1}")
        columns: dict[str, Any] = {}
        for name in {"ids", "groups", "image_paths"} & set(wanted):
            columns[name] = np.array(table.column(FIELDS[name][0]).to_pylist(), dtype=object)
        if "masks" in wanted:
            columns["masks"] = _masks(table)
        if "boxes" in wanted:
            columns["boxes"] = boxes(table)
        if "truth" in wanted:
            columns["true_vertices"], columns["true_scale"] = _truth(table, num_vertices)
        if "intrinsics" in wanted:
            columns["intrinsics"] = _intrinsics(table)
        if "weights" in wanted:
            columns["weights"] = cycle_weights(table, offsets)
        index = np.arange(first, first + table.num_rows)
        return InstanceTable(num_vertices, offsets, vertex_ids, np.stack([x, y], axis=1), index, **columns)

    @staticmethod
    def of_arrays(keypoints: np.ndarray, visible: np.ndarray, intrinsics: np.ndarray | None = None) -> InstanceTable:
        """Dense arrays as a table.

        Args:
            keypoints: [N, K, 2] image pixels; values where not visible do not matter.
            visible: [N, K].
            intrinsics: [N, 4] fx, fy, cx, cy, image pixels; NaN where unknown.

        Raises:
            ShapeError: the arrays do not belong together.
        """
        if keypoints.shape != (*visible.shape, 2):
            got = f"{keypoints.shape} and {visible.shape}"
            raise ShapeError("keypoints and visibility differ", got=got, expected="[N, K, 2] and [N, K]")
        rows, vertex_ids = np.nonzero(visible)
        offsets, ids = _offsets(np.bincount(rows, minlength=len(visible))), vertex_ids.astype(np.int32)
        points = np.ascontiguousarray(keypoints[rows, vertex_ids], dtype=np.float32)
        return InstanceTable(visible.shape[1], offsets, ids, points, np.arange(len(visible)), intrinsics=intrinsics)

    @staticmethod
    def joined(tables: Sequence[InstanceTable]) -> InstanceTable:
        """One after the other; all have the same columns."""
        if len(tables) == 1:
            return tables[0]
        joined: dict[str, Any] = {}
        for name in (field.name for field in fields(InstanceTable)[2:]):
            values = [getattr(table, name) for table in tables]
            joined[name] = None if values[0] is None else np.concatenate(values)
        offsets = _offsets(np.concatenate([np.diff(table.offsets) for table in tables]))
        return InstanceTable(tables[0].num_vertices, offsets, **joined)

    def take(self, rows: Int[np.ndarray, "m"]) -> InstanceTable:
        """Some instances, in the order given."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = _offsets(lengths)
        entries = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        entries += np.arange(len(entries))
        pairs = self.keypoints.view(np.int64)[:, 0][entries]  # x and y as one number: a third of the time
        keypoints = pairs.view(np.float32).reshape(-1, 2)
        weights = None if self.weights is None else self.weights[entries]
        ragged = ("num_vertices", "offsets", "vertex_ids", "keypoints", "weights")
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ragged}
        taken: dict[str, Any] = {name: None if own is None else own[rows] for name, own in columns.items()}
        return InstanceTable(self.num_vertices, offsets, self.vertex_ids[entries], keypoints, weights=weights, **taken)

    def places(self) -> Int[np.ndarray, "V"]:
        """Where each entry lies in dense arrays [N * K]."""
        places = np.repeat(np.arange(len(self)) * self.num_vertices, np.diff(self.offsets))
        places += self.vertex_ids
        return places

    def dense(self) -> tuple[Float[np.ndarray, "N K 2"], Bool[np.ndarray, "N K"], Float[np.ndarray, "N K"] | None]:
        """Keypoints and weights, 0 where invisible, and visibility."""
        shape, places = (len(self), self.num_vertices), self.places()
        keypoints, visible = np.zeros((*shape, 2), dtype=np.float32), np.zeros(shape, dtype=bool)
        # One entry of eight bytes for x and y: half as many writes all over the memory.
        keypoints.reshape(-1).view(np.int64)[places] = self.keypoints.view(np.int64)[:, 0]
        visible.reshape(-1)[places] = True
        weights = None if self.weights is None else np.zeros(shape, dtype=np.float32)
        if weights is not None:
            weights.reshape(-1)[places] = self.weights
        return keypoints, visible, weights


def columns_of(wanted: Sequence[str]) -> list[str]:
    """The columns of the stored table that hold keypoints and these fields.

    Raises:
        UsageError: no such field.
    """
    unknown = [name for name in wanted if name not in FIELDS]
    if unknown:
        raise UsageError(f"batches have no field {unknown[0]!r}", expected="some of " + ", ".join(FIELDS))
    return KEYPOINT_COLUMNS + [column for name in wanted for column in FIELDS[name]]


def list_values(lists: pa.ChunkedArray | pa.Array) -> tuple[Int[np.ndarray, "n_plus_1"], np.ndarray]:
    """Offsets [N + 1], from 0, and the values of lists, one after the other; null counts as empty."""
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return _offsets(lengths), lists.flatten().to_numpy(zero_copy_only=False)


def _offsets(lengths: np.ndarray) -> Int[np.ndarray, "n_plus_1"]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def keypoint_lists(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Offsets [N + 1], vertex ids [V], x [V] and y [V] of a table that holds KEYPOINT_COLUMNS.

    Raises:
        ShardError: ids and keypoints differ in length.
    """
    (offsets, ids), (at_x, x), (at_y, y) = (list_values(table.column(name)) for name in KEYPOINT_COLUMNS)
    if not (np.array_equal(offsets, at_x) and np.array_equal(offsets, at_y)):
        raise ShardError("vertex_ids and keypoints differ in length", got=f"{len(ids)} ids, {len(x)} x, {len(y)} y")
    return offsets, ids, x, y


def cycle_weights(table: pa.Table, offsets: Int[np.ndarray, "n_plus_1"]) -> Float[np.ndarray, "V"]:
    """Forward-backward weights of the visible vertices: 1 where the row has none.

    Raises:
        ShardError: as many weights as vertices in some rows only.
    """
    column = table.column("cycle").combine_chunks()
    lengths, known = np.diff(offsets), column.is_valid().to_numpy(zero_copy_only=False)
    given = list_values(column)[1]
    if len(given) != lengths[known].sum():
        got = f"{lengths[known].sum()} ids, {len(given)} weights"
        raise ShardError("vertex_ids and cycle differ in length", got=got)
    values = np.ones(int(offsets[-1]), dtype=np.float32)
    values[np.repeat(known, lengths)] = given
    return values


def boxes(table: pa.Table) -> Float[np.ndarray, "N 4"]:
    """Boxes, xyxy in image pixels."""
    return np.stack([table.column(name).to_numpy() for name in FIELDS["boxes"]], axis=1)


def _masks(table: pa.Table) -> np.ndarray:
    """The mask of each row; None where it has none."""
    found = np.empty(table.num_rows, dtype=object)
    columns = (table.column(name).to_pylist() for name in FIELDS["masks"])
    for row, (runs, height, width) in enumerate(zip(*columns, strict=True)):
        found[row] = None if runs is None else RunLength(height, width, runs.encode())
    return found


def _truth(table: pa.Table, num_vertices: int) -> tuple[Float[np.ndarray, "N K 3"], Float[np.ndarray, "N"]]:
    """True vertices and scale; NaN where unknown."""
    column = table.column("true_vertices").combine_chunks()
    vertices = np.full((len(column), num_vertices, 3), np.nan, dtype=np.float32)
    known = column.is_valid().to_numpy(zero_copy_only=False)
    if known.any():
        vertices[known] = column.drop_null().flatten().to_numpy().reshape(-1, num_vertices, 3)
    scale = table.column("true_scale").combine_chunks().fill_null(float("nan")).to_numpy(zero_copy_only=False)
    return vertices, np.where(known.any(), scale, np.nan).astype(np.float32)


def _intrinsics(table: pa.Table) -> Float[np.ndarray, "N 4"]:
    """fx, fy, cx, cy of each instance, image pixels; NaN where no perspective camera is known, or one with skew."""
    column = table.column("camera_matrix").combine_chunks()
    kinds = np.array(table.column("camera_kind").to_pylist(), dtype=object)
    pinhole = (kinds == "perspective") & column.is_valid().to_numpy(zero_copy_only=False)
    found = np.full((len(column), 4), np.nan, dtype=np.float32)
    matrices = column.filter(pa.array(pinhole)).flatten().to_numpy(zero_copy_only=False)
    found[pinhole] = intrinsics_of(matrices.reshape(-1, 3, 4).astype(np.float64))
    return found


def intrinsics_of(projection: Float[np.ndarray, "n 3 4"]) -> Float[np.ndarray, "n 4"]:
    """fx, fy, cx, cy of pinholes P = K [A | t], A any rotation times any scale; NaN where P is none, or has skew.

    With M = P[:, :3], M M^T = s^2 K K^T, whose last entry is s^2 and whose triangular root is K: the RQ decomposition
    in closed form.
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
