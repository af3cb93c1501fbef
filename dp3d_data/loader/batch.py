"""A batch as tensors, dense or sparse, and how batches and samples become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_data.loader.block import Block


@dataclass(frozen=True)
class Batch:
    """B instances of one template; what was not asked for is None.

    Keypoints are image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5). A dense batch has keypoints
    and visible; a sparse one has offsets, vertex_ids and points.

    Attributes:
        index: [B] place of each instance in its split.
        keypoints: [B, K, 2]; 0 where invisible.
        visible: [B, K].
        offsets: [B + 1]; instance i owns the entries offsets[i] .. offsets[i + 1] of vertex_ids and points.
        vertex_ids: [V] visible template vertices, ascending within an instance.
        points: [V, 2] their keypoints.
        groups: [B] numbers of the groups, equal where the group is the same; -1 where unknown.
        boxes: [B, 4] xyxy, image pixels.
        true_vertices: [B, K, 3] camera frame, template units; NaN where unknown.
        true_scale: [B] image pixels per template unit; NaN where unknown.
        cameras: [B, 4] fx, fy, cx, cy of perspective cameras, image pixels; NaN where unknown.
        weights: [B, K] forward-backward weight of each keypoint, 0..1: 1 where nothing is known, 0 where invisible.
        names: B instance ids; empty where not asked for.
    """

    index: Int[Tensor, "b"]
    keypoints: Float[Tensor, "b k 2"] | None = None
    visible: Bool[Tensor, "b k"] | None = None
    offsets: Int[Tensor, "b_plus_1"] | None = None
    vertex_ids: Int[Tensor, "v"] | None = None
    points: Float[Tensor, "v 2"] | None = None
    groups: Int[Tensor, "b"] | None = None
    boxes: Float[Tensor, "b 4"] | None = None
    true_vertices: Float[Tensor, "b k 3"] | None = None
    true_scale: Float[Tensor, "b"] | None = None
    cameras: Float[Tensor, "b 4"] | None = None
    weights: Float[Tensor, "b k"] | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: str | torch.device) -> Batch:
        """The same on another device; a sparse batch is cheap to move and can be made dense there."""
        return self._map(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same in pinned memory; DataLoader(pin_memory=True) calls it."""
        return self._map(lambda value: value.pin_memory())

    def dense(self, num_vertices: int) -> Batch:
        """A sparse batch with keypoints and visibility instead."""
        if self.keypoints is not None or self.offsets is None or self.vertex_ids is None or self.points is None:
            return self
        lengths = self.offsets.diff()
        rows = torch.repeat_interleave(torch.arange(len(self), device=lengths.device), lengths, output_size=len(self.vertex_ids))
        places = rows * num_vertices + self.vertex_ids
        keypoints = self.points.new_zeros(len(self) * num_vertices, 2).index_copy_(0, places, self.points)
        visible = torch.zeros(len(self) * num_vertices, dtype=torch.bool, device=places.device).index_fill_(0, places, True)
        shape = (len(self), num_vertices)
        return replace(
            self, keypoints=keypoints.view(*shape, 2), visible=visible.view(shape), offsets=None, vertex_ids=None, points=None
        )

    def _map(self, change) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: change(value) if isinstance(value, Tensor) else value for name, value in values.items()})


def batch_of(block: Block, num_vertices: int, sparse: bool) -> Batch:
    """The instances of a block as tensors."""
    if sparse:
        views = {"offsets": block.offsets, "vertex_ids": block.ids.astype(np.int64), "points": block.points}
    else:
        views = dict(zip(("keypoints", "visible"), block.dense(num_vertices), strict=True))
    rest = {name: getattr(block, name) for name in ("index", "groups", "boxes", "true_vertices", "true_scale", "cameras", "weights")}
    tensors = {name: None if value is None else torch.from_numpy(value) for name, value in (views | rest).items()}
    return Batch(**tensors, names=() if block.names is None else tuple(block.names))


def collate(items: Batch | Sequence[Batch]) -> Batch:
    """Batches, or samples of one instance each, as one batch; for DataLoader(collate_fn=collate)."""
    if isinstance(items, Batch):
        return items
    joined: dict[str, Tensor | None] = {}
    for field in fields(Batch):
        values = [getattr(item, field.name) for item in items]
        if field.name not in ("names", "offsets"):
            joined[field.name] = None if values[0] is None else torch.cat(values)
    offsets = None
    if items[0].offsets is not None:
        lengths = torch.cat([item.offsets.diff() for item in items])
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return Batch(**joined, offsets=offsets, names=tuple(name for item in items for name in item.names))
