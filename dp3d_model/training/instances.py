"""The instances of a split as tensors, read from shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_data.errors import NothingToDo
from dp3d_data.loader import BlockSource, block_of_arrays
from dp3d_data.records import RunLength
from dp3d_data.shards.reader import Instances as ShardInstances
from dp3d_data.shards.reader import ShardReader


@dataclass(frozen=True)
class Instances:
    """N instances of one template.

    Attributes:
        ids: unique names.
        keypoints: [N, K, 2] image pixels, x right, y down; meaningless where not visible.
        visible: [N, K].
        true_vertices: [N, K, 3] camera frame, template units; None where unknown.
        true_scale: [N] pixels per template unit; None where unknown.
        boxes: [N, 4] xyxy, image pixels.
        groups, image_paths: of each instance; "" where unknown.
        cameras: [N, 4] fx, fy, cx, cy of perspective cameras, image pixels; NaN where unknown, None where all are.
        weights: [N, K] how far each keypoint is trusted, 0..1; None for all alike.
        masks: of each instance, None where unknown; empty where all are.
    """

    ids: tuple[str, ...]
    keypoints: Float[Tensor, "n k 2"]
    visible: Bool[Tensor, "n k"]
    true_vertices: Float[Tensor, "n k 3"] | None = None
    true_scale: Float[Tensor, "n"] | None = None
    boxes: Float[Tensor, "n 4"] | None = None
    groups: tuple[str, ...] = ()
    image_paths: tuple[str, ...] = ()
    cameras: Float[Tensor, "n 4"] | None = None
    weights: Float[Tensor, "n k"] | None = None
    masks: tuple[RunLength | None, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Int[Tensor, "m"] | Sequence[int]) -> Instances:
        """Some of them, in the order given."""
        chosen = [int(i) for i in indices]
        parts: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                parts[field.name] = tuple(value[i] for i in chosen) if value else ()
            else:
                parts[field.name] = None if value is None else value[chosen]
        return Instances(**parts)

    def source(self, truth: bool = False) -> BlockSource:
        """The same for a loader, with the true shapes where they are asked for and any is known."""
        cameras = None if self.cameras is None else self.cameras.numpy()
        block = block_of_arrays(self.keypoints.numpy(), self.visible.numpy(), cameras)
        if truth and self.true_vertices is not None and self.true_scale is not None:
            block = replace(block, true_vertices=self.true_vertices.numpy(), true_scale=self.true_scale.numpy())
        return BlockSource(block, self.visible.shape[1])

    @property
    def known(self) -> Bool[Tensor, "n"]:
        """Whose true shape is known."""
        if self.true_vertices is None or self.true_scale is None:
            return torch.zeros(len(self), dtype=torch.bool)
        return self.true_vertices.isfinite().all(2).all(1) & self.true_scale.isfinite()

    def with_truth(self) -> Instances:
        """Those whose true shape is known.

        Raises:
            NothingToDo: none.
        """
        known = self.known
        if not bool(known.any()):
            raise self._untrue()
        return self if bool(known.all()) else self.take(known.nonzero()[:, 0])

    def truth(self) -> tuple[Float[Tensor, "n k 3"], Float[Tensor, "n"]]:
        """The true shapes and their scales, NaN where unknown.

        Raises:
            NothingToDo: none is known.
        """
        if self.true_vertices is None or self.true_scale is None:
            raise self._untrue()
        return self.true_vertices, self.true_scale

    def _untrue(self) -> NothingToDo:
        hint = "evaluate on shards of a synthetic world: dp3d-data synth, then dp3d-data build-shards"
        return NothingToDo("no instance carries its true shape", got=f"{len(self)} instances without truth", hint=hint)


def load_split(reader: ShardReader, split: str) -> Instances:
    """The instances of a split; "all" takes every split.

    Raises:
        UsageError: no such split.
        ShardError: a shard is missing or damaged.
    """
    names = reader.splits if split == "all" else [split]
    parts = [instances_of(reader.split(name)) for name in names]
    return parts[0] if len(parts) == 1 else concatenate(parts)


def concatenate(parts: list[Instances]) -> Instances:
    """One after the other; truth and cameras are NaN where a part has none, and None where no part has any."""
    known = next((part for part in parts if part.true_vertices is not None), None)
    joined: dict[str, Any] = {name: sum((getattr(part, name) for part in parts), ()) for name in ("ids", "groups", "image_paths")}
    joined["masks"] = sum((part.masks or (None,) * len(part) for part in parts), ()) if any(part.masks for part in parts) else ()
    if any(part.weights is not None for part in parts):
        joined["weights"] = torch.cat([part.visible.float() if part.weights is None else part.weights for part in parts])
    for name in ("keypoints", "visible", "boxes"):
        joined[name] = torch.cat([getattr(part, name) for part in parts])
    if known is not None:
        for name in ("true_vertices", "true_scale"):
            joined[name] = _joined(name, getattr(known, name), parts)
    lens = next((part.cameras for part in parts if part.cameras is not None), None)
    joined["cameras"] = None if lens is None else _joined("cameras", lens, parts)
    return Instances(**joined)


def _joined(name: str, known: Tensor, parts: list[Instances]) -> Tensor:
    """One field of all parts, NaN where a part has none; `known` is that of any part."""
    blank = torch.full_like(known[:1], torch.nan)
    values = [getattr(part, name) for part in parts]
    return torch.cat(
        [blank.expand(len(part), *blank.shape[1:]) if value is None else value for value, part in zip(values, parts, strict=True)]
    )


def instances_of(arrays: ShardInstances) -> Instances:
    """The same as tensors."""
    return Instances(
        ids=tuple(arrays.instance_ids),
        keypoints=torch.from_numpy(arrays.keypoints),
        visible=torch.from_numpy(arrays.visible),
        true_vertices=_tensor(arrays.true_vertices),
        true_scale=_tensor(arrays.true_scale),
        boxes=torch.tensor(np.asarray(arrays.boxes), dtype=torch.float32),
        cameras=torch.tensor(arrays.cameras) if np.isfinite(arrays.cameras).any() else None,
        groups=tuple(name or "" for name in arrays.groups),
        image_paths=tuple(name or "" for name in arrays.image_paths),
        weights=torch.from_numpy(arrays.weights),
        masks=tuple(arrays.masks),
    )


def _tensor(values: np.ndarray | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32)
