"""A batch of instances as tensors, on its way from the loader through augmentation and network to the losses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_data.errors import NothingToDo
from dp3d_data.geometry.rigid_camera import Camera, Pinhole
from dp3d_data.records import RunLength
from dp3d_data.shards.table import InstanceTable


@dataclass(frozen=True)
class KeypointBatch:
    """B instances of a template with K vertices; what was not asked for is None, or empty.

    Keypoints are image pixels, x right, y down; pixel (0, 0) has its centre at (0.5, 0.5). A batch with a camera is
    normalised: its keypoints and true vertices are in template units before that camera, see `normalise` in
    dp3d_model/geometry/perspective.py.

    Attributes:
        keypoints: [B, K, 2]; where invisible, 0 or of no meaning.
        visible: [B, K].
        weights: [B, K] how far each keypoint is trusted, 0..1; 0 where invisible.
        intrinsics: [B, 4] fx, fy, cx, cy of perspective cameras, image pixels; NaN where unknown.
        true_vertices: [B, K, 3] camera frame, template units; NaN where unknown.
        true_scale: [B] image pixels per template unit, normalised over the camera's scale; NaN where unknown.
        index: [B] place of each instance in its split.
        boxes: [B, 4] xyxy, image pixels.
        ids, groups, image_paths: B names; "" where unknown.
        masks: B masks; None where unknown.
        camera: of the rigid template; with a learned camera its scale and an identity rotation.
        centre: [B, 2] image pixels of the visible keypoints' mean.
        pinhole: where any intrinsics are used; keypoints, camera and every answer are those of pinholes turned towards
            the object.
    """

    keypoints: Float[Tensor, "b k 2"]
    visible: Bool[Tensor, "b k"]
    weights: Float[Tensor, "b k"] | None = None
    intrinsics: Float[Tensor, "b 4"] | None = None
    true_vertices: Float[Tensor, "b k 3"] | None = None
    true_scale: Float[Tensor, "b"] | None = None
    index: Int[Tensor, "b"] | None = None
    boxes: Float[Tensor, "b 4"] | None = None
    ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    image_paths: tuple[str, ...] = ()
    masks: tuple[RunLength | None, ...] = ()
    camera: Camera | None = None
    centre: Float[Tensor, "b 2"] | None = None
    pinhole: Pinhole | None = None

    def __len__(self) -> int:
        return len(self.visible)

    @staticmethod
    def of(table: InstanceTable, device: str | torch.device = "cpu") -> KeypointBatch:
        """The instances of a table, made dense on a device: the ragged columns travel, a third of the bytes."""
        on_cpu = torch.device(device).type == "cpu"
        dense = map(_tensor, table.dense()) if on_cpu else _scattered(table, device)
        columns: dict[str, Any] = dict(zip(("keypoints", "visible", "weights"), dense, strict=True))
        for name in ("index", "boxes", "true_vertices", "true_scale", "intrinsics"):
            columns[name] = _tensor(getattr(table, name), device)
        for name in ("ids", "groups", "image_paths"):
            columns[name] = tuple(text or "" for text in _items(table, name))
        return KeypointBatch(**columns, masks=tuple(_items(table, "masks")))

    @staticmethod
    def joined(batches: Sequence[KeypointBatch]) -> KeypointBatch:
        """Batches in image pixels, one after the other.

        Where some lack what others have, numbers are NaN, indices -1, names empty and masks None, and visible keypoints
        weigh 1.
        """
        joined: dict[str, Any] = {}
        for name in (field.name for field in fields(KeypointBatch)):
            pairs = [(batch, getattr(batch, name)) for batch in batches]
            example = next((value for _, value in pairs if isinstance(value, Tensor)), None)
            if example is not None:
                known = [_blank(batch, name, example) if value is None else value for batch, value in pairs]
                joined[name] = torch.cat(known)
            elif any(value for _, value in pairs):
                blank = (None if name == "masks" else "",)
                joined[name] = sum((value or blank * len(batch) for batch, value in pairs), ())
        return KeypointBatch(**joined)

    def take(self, rows: slice | range | Sequence[int] | Int[Tensor, "m"]) -> KeypointBatch:
        """Some instances, in the order given."""
        chosen = rows if isinstance(rows, slice) else [int(row) for row in rows]
        places = range(len(self))[chosen] if isinstance(chosen, slice) else chosen
        return self._map(
            lambda values: values[chosen], lambda values: tuple(values[place] for place in places) if values else ()
        )

    def at_vertices(self, chosen: Int[Tensor, "v"] | None) -> KeypointBatch:
        """The same, of some template vertices only; None for all."""
        if chosen is None:
            return self
        own = {name: getattr(self, name) for name in ("keypoints", "visible", "true_vertices", "weights")}
        cut: dict[str, Any] = {name: values if values is None else values[:, chosen] for name, values in own.items()}
        return replace(self, **cut)

    def to(self, device: str | torch.device) -> KeypointBatch:
        """The same on another device."""
        waits = torch.device(device).type == "cpu"  # what is read here must have arrived
        return self._map(lambda values: values.to(device, non_blocking=not waits))

    def pin_memory(self) -> KeypointBatch:
        """The same in pinned memory; DataLoader(pin_memory=True) calls it."""
        return self._map(lambda values: values.pin_memory())

    def _map(
        self, change: Callable[[Tensor], Tensor], names: Callable[[tuple], tuple] = lambda values: values
    ) -> KeypointBatch:
        def changed(value: Any) -> Any:
            if isinstance(value, Camera | Pinhole):
                return type(value)(**{field.name: change(getattr(value, field.name)) for field in fields(value)})
            return change(value) if isinstance(value, Tensor) else names(value) if isinstance(value, tuple) else value

        return KeypointBatch(**{field.name: changed(getattr(self, field.name)) for field in fields(self)})

    @property
    def has_truth(self) -> Bool[Tensor, "b"]:
        """Whose true shape is known."""
        if self.true_vertices is None or self.true_scale is None:
            return torch.zeros(len(self), dtype=torch.bool)
        return self.true_vertices.isfinite().all(2).all(1) & self.true_scale.isfinite()

    def with_truth(self) -> KeypointBatch:
        """The instances whose true shape is known.

        Raises:
            NothingToDo: none.
        """
        known = self.has_truth
        if bool(known.any()):
            return self if bool(known.all()) else self.take(known.nonzero()[:, 0])
        hint = "evaluate on shards of a synthetic world: dp3d-data synth, then dp3d-data build-shards"
        raise NothingToDo("no instance carries its true shape", got=f"{len(self)} instances without truth", hint=hint)

    @property
    def group_numbers(self) -> Int[Tensor, "b"]:
        """A number for each group, 63 bits of SHA-256 of its name, so that processes agree; -1 where unknown."""
        digests = {name: hashlib.sha256(name.encode()).digest() for name in set(self.groups)}
        return torch.tensor([int.from_bytes(digests[name][:8], "big") >> 1 if name else -1 for name in self.groups])


# What a loader gives: a dense batch, or a ragged table of its instances.
Given = KeypointBatch | InstanceTable


def collate(items: Given | Sequence[Given]) -> Given:
    """Batches, tables, or samples of one instance each, as one; for DataLoader(collate_fn=collate)."""
    if isinstance(items, Given):
        return items
    kind: Any = type(items[0])
    return kind.joined(items)


def _blank(batch: KeypointBatch, name: str, example: Tensor) -> Tensor:
    if name == "weights":
        return batch.visible.to(example.dtype)
    return example.new_full((len(batch), *example.shape[1:]), torch.nan if example.is_floating_point() else -1)


def _items(table: InstanceTable, name: str) -> list:
    values = getattr(table, name)
    return [] if values is None else values.tolist()


def _tensor(values: np.ndarray | None, device: str | torch.device = "cpu") -> Tensor | None:
    return None if values is None else torch.from_numpy(values).to(device, non_blocking=True)


def _scattered(table: InstanceTable, device: str | torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    """What `InstanceTable.dense` gives, made on the device."""
    shape, places = (len(table), table.num_vertices), torch.from_numpy(table.places()).to(device)

    def scattered(values: Tensor) -> Tensor:
        dense = values.new_zeros(len(table) * table.num_vertices, *values.shape[1:])
        return dense.index_copy_(0, places, values).view(*shape, *values.shape[1:])

    keypoints, weights = torch.from_numpy(table.keypoints).to(device, non_blocking=True), _tensor(table.weights, device)
    visible = scattered(torch.ones(len(places), dtype=torch.bool, device=device))
    return scattered(keypoints), visible, None if weights is None else scattered(weights)
