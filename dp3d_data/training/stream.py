"""Synthetic images as a stream of training samples: sample i of a seed is always the same, whatever the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.utils.data import DataLoader, Dataset

from dp3d_data.bodies import Template
from dp3d_data.training.recipe import TrainCseConfig
from dp3d_data.world import World, WorldConfig

HELD_OUT = 1_000_003  # added to the seed: identities, poses and scenes that no training step has seen
PERSPECTIVE = 0.4  # strongest body length over distance: nobody photographs dogs from infinity


@dataclass(frozen=True)
class Sample:
    """One image of one object.

    Attributes:
        image: [3, H, W] uint8, BGR.
        box: [4] xyxy, image pixels.
        mask: [H, W] object's pixels.
        points: [P, 2] centres of drawn mask pixels, image pixels.
        vertices: [P] their template vertices.
    """

    image: torch.Tensor
    box: torch.Tensor
    mask: torch.Tensor
    points: torch.Tensor
    vertices: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """Samples side by side; `owner` says which image each point belongs to."""

    images: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    points: torch.Tensor
    vertices: torch.Tensor
    owner: torch.Tensor


def training_world(template: Template, seed: int, size: int, backgrounds: str = "") -> World:
    """The world that a training with this seed learns from; seed + HELD_OUT is its held-out twin."""
    settings = WorldConfig(seed=seed, size=size, identity_images=1, perspective=PERSPECTIVE, backgrounds=backgrounds)
    return World(template, settings)


class SyntheticSamples(Dataset):
    """World instances as training samples, by index."""

    def __init__(self, template: Template, config: TrainCseConfig, first: int, count: int) -> None:
        self.template, self.config, self.first, self.count = template, config, first, count
        self._world: World | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, offset: int) -> Sample:
        if self._world is None:  # made in the worker: ray-casting scenes do not cross processes
            config = self.config
            self._world = training_world(self.template, config.seed, config.image_size, config.backgrounds)
        index = self.first + offset
        instance = self._world.sample(index)
        rng = np.random.default_rng(np.random.SeedSequence([self.config.seed, index, 7]))
        image, vertex_map, box = instance.image, instance.vertex_map, np.asarray(instance.box, dtype=np.float32)
        if self.config.mirror and self.template.symmetry is not None and rng.random() < 0.5:
            image, vertex_map, box = mirrored(image, vertex_map, box, self.template.symmetry)
        points, vertices = drawn_points(vertex_map, self.config.points, rng)
        return Sample(
            torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))),
            torch.from_numpy(box),
            torch.from_numpy(vertex_map >= 0),
            torch.from_numpy(points),
            torch.from_numpy(vertices),
        )


def mirrored(
    image: Int[np.ndarray, "h w 3"],
    vertex_map: Int[np.ndarray, "h w"],
    box: Float[np.ndarray, "4"],
    symmetry: Int[np.ndarray, "vertices"],
) -> tuple[Int[np.ndarray, "h w 3"], Int[np.ndarray, "h w"], Float[np.ndarray, "4"]]:
    """The mirror image: left becomes right in the picture and on the template."""
    flipped = vertex_map[:, ::-1]
    ids = np.where(flipped >= 0, symmetry[np.maximum(flipped, 0)], -1).astype(vertex_map.dtype)
    width = image.shape[1]
    return image[:, ::-1], ids, np.array([width - box[2], box[1], width - box[0], box[3]], dtype=np.float32)


def drawn_points(
    vertex_map: Int[np.ndarray, "h w"], count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "points 2"], Int[np.ndarray, "points"]]:
    """Up to `count` object pixels, uniformly: centres [P, 2] in image pixels, and template vertices [P]."""
    rows, columns = np.nonzero(vertex_map >= 0)
    chosen = rng.choice(len(rows), size=min(count, len(rows)), replace=False)
    points = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32) + 0.5
    return points, vertex_map[rows[chosen], columns[chosen]].astype(np.int64)


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one image size."""
    owner = [torch.full((len(sample.points),), index) for index, sample in enumerate(samples)]
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.box for sample in samples]),
        torch.stack([sample.mask for sample in samples]),
        torch.cat([sample.points for sample in samples]),
        torch.cat([sample.vertices for sample in samples]),
        torch.cat(owner),
    )


def batches(template: Template, config: TrainCseConfig, first_step: int) -> Iterator[Batch]:
    """The batches of steps first_step, first_step + 1, ... to the last."""
    samples = SyntheticSamples(template, config, first_step * config.batch, (config.steps - first_step) * config.batch)
    context = "spawn" if config.workers else None
    return iter(
        DataLoader(
            samples,
            batch_size=config.batch,
            num_workers=config.workers,
            collate_fn=collate,
            multiprocessing_context=context,
            prefetch_factor=4 if config.workers else None,
        )
    )
