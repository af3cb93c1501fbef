"""Keypoints made worse on purpose: noise, hidden vertices, the lower half removed; a function of seed and instance
alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer

from dp3d_data.config import fingerprint
from dp3d_data.loader import InstanceTable, Source
from dp3d_data.shards.batch import KeypointBatch

LEAST = 4  # keypoints that stay visible, as many as a camera needs


@dataclass(frozen=True)
class Corruption:
    """What is done to an instance.

    Attributes:
        noise: standard deviation of Gaussian noise on x and y, as a share of the longer side of the box of its visible
            keypoints.
        hidden: share of its visible keypoints that is hidden at random.
        removed: share of the instances whose lower half is hidden.
        seed: of all of it. More of one kind keeps what less of it does: the same noise grows, the same vertices hide
            first, the same instances lose their lower half first.
    """

    noise: float = 0.0
    hidden: float = 0.0
    removed: float = 0.0
    seed: int = 0


def lower_half(vertices: Float[np.ndarray, "k 3"], up: str = "z") -> Bool[np.ndarray, "k"]:
    """The vertices below the middle of the template's extent, in its own, canonical, orientation."""
    height = vertices[:, "xyz".index(up)]
    return height < (height.min() + height.max()) / 2


def corrupt(
    ids: Integer[np.ndarray, "v"],
    points: Float[np.ndarray, "v 2"],
    name: str,
    corruption: Corruption,
    lower: Bool[np.ndarray, "k"],
) -> tuple[Integer[np.ndarray, "w"], Float[np.ndarray, "w 2"]]:
    """The keypoints of one instance afterwards; at least four stay visible, or all where no more than four are.

    Args:
        ids: visible vertices.
        points: their keypoints, image pixels.
        name: of the instance; with the seed it decides every random number.
        lower: the lower half of the template, all K vertices.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    random = np.random.default_rng(np.random.SeedSequence([corruption.seed, number]))
    chance = random.random()
    order, offsets = random.random(len(lower)), random.standard_normal((len(lower), 2))
    if corruption.noise and len(ids):
        side = np.ptp(points, axis=0).max()
        points = (points + corruption.noise * side * offsets[ids]).astype(points.dtype)
    if chance < corruption.removed:
        upper = ~lower[ids]
        if upper.sum() >= LEAST:
            ids, points = ids[upper], points[upper]
    if corruption.hidden:
        stays = max(LEAST, round((1.0 - corruption.hidden) * len(ids)))
        kept = np.sort(np.argsort(order[ids], kind="stable")[:stays])
        ids, points = ids[kept], points[kept]
    return ids, points


def corrupted(instances: KeypointBatch, corruption: Corruption, lower: Bool[np.ndarray, "k"]) -> KeypointBatch:
    """The same instances with corrupted keypoints; the truth stays."""
    keypoints, visible = torch.zeros_like(instances.keypoints), torch.zeros_like(instances.visible)
    for i, name in enumerate(instances.ids):
        ids = instances.visible[i].nonzero()[:, 0].numpy()
        ids, points = corrupt(ids, instances.keypoints[i].numpy()[ids], name, corruption, lower)
        visible[i, torch.from_numpy(ids)] = True
        keypoints[i, torch.from_numpy(ids)] = torch.from_numpy(points)
    return replace(instances, keypoints=keypoints, visible=visible)


class CorruptedSource:
    """A source to learn from whose instances are corrupted as they are read.

    Args:
        source: with the names of its instances; where it has none, their places stand for them.
        lower: the lower half of the template.
    """

    def __init__(self, source: Source, corruption: Corruption, lower: Bool[np.ndarray, "k"]) -> None:
        self.source, self.corruption, self.lower = source, corruption, lower
        self.num_vertices, self.sizes = source.num_vertices, source.sizes
        self.identity = fingerprint("corrupted", source.identity, corruption, lower.nonzero()[0].tolist())

    def read(self, group: int) -> InstanceTable:
        """One group, corrupted."""
        table = self.source.read(group)
        names = table.index if table.ids is None else table.ids
        ids, points, kept = [], [], []
        for name, first, last in zip(names, table.offsets[:-1], table.offsets[1:], strict=True):
            own = table.vertex_ids[first:last]
            found, moved = corrupt(own, table.keypoints[first:last], str(name), self.corruption, self.lower)
            ids.append(found)
            points.append(moved)
            kept.append(np.isin(own, found))
        weights = None if table.weights is None else table.weights[np.concatenate(kept)]
        offsets = np.cumsum([0, *map(len, ids)])
        return replace(
            table,
            offsets=offsets,
            vertex_ids=np.concatenate(ids),
            keypoints=np.concatenate(points),
            weights=weights,
            ids=None,
        )
