"""Instances in memory, sparse: columns of many at once, from which batches are gathered without a loop over rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Integer

from dp3d_data.errors import ShapeError, ShardError, UsageError
from dp3d_data.shards.decode import VIEW_COLUMNS, boxes, lenses, truth, views, weights

# What a batch can carry besides keypoints: field -> columns of the instance table.
FIELDS = {
    "names": ["instance_id"],
    "groups": ["group"],
    "boxes": ["box_x0", "box_y0", "box_x1", "box_y1"],
    "truth": ["true_vertices", "true_scale"],
    "cameras": ["camera_kind", "camera_matrix"],
    "weights": ["cycle"],
}


@dataclass(frozen=True)
class Block:
    """N instances; the arrays that were not asked for are None.

    Attributes:
        offsets: [N + 1]; instance i owns the entries offsets[i] .. offsets[i + 1] of ids and points.
        ids: [V] visible template vertices, ascending within an instance.
        points: [V, 2] image pixels.
        index: [N] place of each instance in its split.
        names: [N] instance ids.
        groups: [N] numbers that name the groups; see group_numbers.
        boxes: [N, 4] xyxy, image pixels.
        true_vertices: [N, K, 3] camera frame, template units; NaN where unknown.
        true_scale: [N] image pixels per template unit; NaN where unknown.
        cameras: [N, 4] fx, fy, cx, cy of perspective cameras, image pixels; NaN where unknown.
        weights: [N, K] forward-backward weight of each keypoint, 0..1: 1 where nothing is known, 0 where invisible.
    """

    offsets: Int[np.ndarray, "n_plus_1"]
    ids: Integer[np.ndarray, "V"]
    points: Float[np.ndarray, "V 2"]
    index: Int[np.ndarray, "N"]
    names: np.ndarray | None = None
    groups: Int[np.ndarray, "N"] | None = None
    boxes: Float[np.ndarray, "N 4"] | None = None
    true_vertices: Float[np.ndarray, "N K 3"] | None = None
    true_scale: Float[np.ndarray, "N"] | None = None
    cameras: Float[np.ndarray, "N 4"] | None = None
    weights: Float[np.ndarray, "N K"] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Int[np.ndarray, "m"]) -> Block:
        """Some instances, in the order given."""
        offsets, entries = entries_of(self.offsets, rows)
        rest = {name: None if value is None else value[rows] for name, value in self._per_instance().items()}
        pairs = self.points.view(np.int64)[:, 0][entries]  # x and y as one number: a third of the time
        return Block(offsets, self.ids[entries], pairs.view(np.float32).reshape(-1, 2), **rest)

    def dense(self, num_vertices: int) -> tuple[Float[np.ndarray, "N K 2"], Bool[np.ndarray, "N K"]]:
        """Keypoints, 0 where invisible, and visibility; the ids must be the template's."""
        places = np.repeat(np.arange(len(self)) * num_vertices, np.diff(self.offsets))
        places += self.ids
        keypoints = np.zeros((len(self), num_vertices, 2), dtype=np.float32)
        visible = np.zeros((len(self), num_vertices), dtype=bool)
        # One entry of eight bytes for x and y: half as many writes all over the memory.
        keypoints.reshape(-1).view(np.int64)[places] = self.points.view(np.int64)[:, 0]
        visible.reshape(-1)[places] = True
        return keypoints, visible

    def _per_instance(self) -> dict[str, np.ndarray | None]:
        return {field.name: getattr(self, field.name) for field in fields(self)[3:]}


def entries_of(offsets: Int[np.ndarray, "n_plus_1"], rows: Int[np.ndarray, "m"]) -> tuple[np.ndarray, np.ndarray]:
    """The entries of some rows, one row after the other: their own offsets [m + 1], and where they lie [v]."""
    lengths = offsets[rows + 1] - offsets[rows]
    found = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    entries = np.repeat(offsets[rows] - found[:-1], lengths)
    entries += np.arange(len(entries))
    return found, entries


def join(blocks: Sequence[Block]) -> Block:
    """One after the other."""
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.ids) for block in blocks)])
    offsets = [block.offsets[1:] + start for block, start in zip(blocks, starts, strict=False)]
    parts = {field.name: [getattr(block, field.name) for block in blocks] for field in fields(Block)[1:]}
    joined = {name: None if values[0] is None else np.concatenate(values) for name, values in parts.items()}
    return Block(offsets=np.concatenate([np.zeros(1, np.int64), *offsets]), **joined)


def block_of(table: pa.Table, first: int, num_vertices: int, wanted: Sequence[str]) -> Block:
    """The instances of a table.

    Args:
        first: place of the first one in its split.
        wanted: names of FIELDS.

    Raises:
        ShardError: a vertex id outside the template, or lists of unequal length.
    """
    found = views(table)
    if len(found.ids) and (found.ids.min() < 0 or found.ids.max() >= num_vertices):
        got = int(found.ids.min() if found.ids.min() < 0 else found.ids.max())
        raise ShardError("vertex id outside the template", got=got, expected=f"0..{num_vertices - 1}")
    rest: dict[str, np.ndarray | None] = {}
    if "names" in wanted:
        rest["names"] = np.array(table.column("instance_id").to_pylist(), dtype=object)
    if "groups" in wanted:
        rest["groups"] = group_numbers(table.column("group"))
    if "boxes" in wanted:
        rest["boxes"] = boxes(table)
    if "truth" in wanted:
        rest["true_vertices"], rest["true_scale"] = _truth(table, num_vertices)
    if "cameras" in wanted:
        rest["cameras"] = lenses(table)
    if "weights" in wanted:
        rest["weights"] = weights(table, found, num_vertices)
    index = np.arange(first, first + table.num_rows)
    return Block(found.offsets, found.ids, np.stack([found.x, found.y], axis=1), index, **rest)


def _truth(table: pa.Table, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """True vertices and scale; NaN where unknown, also where no row has them."""
    vertices, scale = truth(table, num_vertices)
    if vertices is None or scale is None:
        return np.full((table.num_rows, num_vertices, 3), np.nan, np.float32), np.full(table.num_rows, np.nan, np.float32)
    return vertices, scale


def group_numbers(names: pa.ChunkedArray) -> Int[np.ndarray, "N"]:
    """A number for each group: 63 bits of SHA-256 of its name, so that all workers agree without a list; -1 where unknown."""
    coded = names.combine_chunks().dictionary_encode()
    digests = (hashlib.sha256(name.encode()).digest() for name in coded.dictionary.to_pylist())
    numbers = np.array([int.from_bytes(digest[:8], "big") >> 1 for digest in digests] + [-1], dtype=np.int64)
    return numbers[coded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)]


def block_of_arrays(keypoints: np.ndarray, visible: np.ndarray, cameras: np.ndarray | None = None) -> Block:
    """Dense arrays as a block.

    Args:
        keypoints: [N, K, 2] image pixels; values where not visible do not matter.
        visible: [N, K].
        cameras: [N, 4] fx, fy, cx, cy, image pixels; NaN where unknown.

    Raises:
        ShapeError: the arrays do not belong together.
    """
    if keypoints.shape != (*visible.shape, 2):
        raise ShapeError("keypoints and visibility differ", got=f"{keypoints.shape} and {visible.shape}", expected="[N, K, 2] and [N, K]")
    rows, ids = np.nonzero(visible)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=len(visible)))])
    points = np.ascontiguousarray(keypoints[rows, ids], dtype=np.float32)
    return Block(offsets, ids.astype(np.int32), points, np.arange(len(visible)), cameras=cameras)


def columns_of(wanted: Sequence[str]) -> list[str]:
    """The columns of the instance table that hold keypoints and these fields.

    Raises:
        UsageError: no such field.
    """
    unknown = [name for name in wanted if name not in FIELDS]
    if unknown:
        raise UsageError(f"batches have no field {unknown[0]!r}", expected="some of " + ", ".join(FIELDS))
    return VIEW_COLUMNS + [column for name in wanted for column in FIELDS[name]]
