"""Synthetic images as a stream of training samples: the batch of a step is always the same, whatever the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.utils.data import DataLoader, Dataset

from dp3d_data.bodies import Template
from dp3d_data.ranks import ALONE, Ranks
from dp3d_data.training.compose import LEAST_PIXELS, Picture, framed, mirrored, overlaid, relit
from dp3d_data.training.recipe import TrainCseConfig
from dp3d_data.world import World, WorldConfig

HELD_OUT = 1_000_003  # added to the seed: identities, poses and scenes that no training step has seen
LANES = 8  # batches of a lane share rendered images; processes that divide this number share no lane
WINDOW = 48  # rendered images that a lane draws from
COMPOSE = 7
PERSPECTIVE = 2.0  # as near as half a body length
COMPANIONS = 0.2  # share of the images with more than one animal


@dataclass(frozen=True)
class Batch:
    """Images side by side, their objects one after the other.

    Attributes:
        images: [n, 3, H, W] uint8, BGR.
        image_of: [m] image of each object, ascending.
        boxes: [m, 4] xyxy, image pixels.
        masks: [m, H, W] the objects' pixels.
        points: [P, 2] centres of drawn object pixels, image pixels.
        vertices: [P] their template vertices.
        owner: [P] object of each point.
    """

    images: torch.Tensor
    image_of: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    points: torch.Tensor
    vertices: torch.Tensor
    owner: torch.Tensor

    def boxes_by_image(self, boxes: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Boxes, the true ones unless given, of each image."""
        boxes = self.boxes if boxes is None else boxes
        return [boxes[self.image_of == index] for index in range(len(self.images))]


def training_world(template: Template, seed: int, size: int, backgrounds: str = "") -> World:
    """The world that a training with this seed learns from; seed + HELD_OUT is its held-out twin."""
    settings = WorldConfig(
        seed=seed, size=size, identity_images=1, perspective=PERSPECTIVE, companions=COMPANIONS, backgrounds=backgrounds
    )
    return World(template, settings)


def rendered(world: World, index: int) -> Picture:
    """Image `index` of a world with the truth of all its animals."""
    scene = world.scene(index)
    shape = scene.image.shape[:2]
    objects, vertex_map = np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int32)
    for number, animal in enumerate(scene.animals):
        objects[animal.mask] = number
        vertex_map[animal.mask] = animal.vertex_map[animal.mask]
    return Picture(scene.image, objects, vertex_map)


class SyntheticBatches(Dataset):
    """The batch of each step, made from rendered images that several steps share.

    Of R processes that share the steps, number r takes batches r, r + R, ... of one stream: step s has batches s R to s R + R - 1.
    Batch b belongs to lane b % LANES. A lane draws from a window of rendered images that moves on by one for every
    `replay` images drawn, so that each is seen about `replay` times, every time cut, turned, mirrored, relit and
    combined anew. A process keeps the windows of the lanes that it serves; what it keeps changes no batch.
    """

    def __init__(self, template: Template, config: TrainCseConfig, first_step: int = 0, ranks: Ranks = ALONE) -> None:
        self.template, self.config, self.first_step, self.ranks = template, config, first_step, ranks
        self._world: World | None = None
        self._kept: dict[int, Picture] = {}

    def __len__(self) -> int:
        return self.config.steps - self.first_step

    def __getitem__(self, offset: int) -> Batch:
        number = (self.first_step + offset) * self.ranks.count + self.ranks.rank
        window = window_of(number, self.config)
        lane = number % LANES
        self._kept = {i: kept for i, kept in self._kept.items() if i % LANES != lane or i // LANES in window}
        pictures = []
        for position in range(self.config.batch):
            rng = np.random.default_rng(np.random.SeedSequence([self.config.seed, COMPOSE, number, position]))
            pictures.append((rng, self._composed(rng, window, lane)))
        return batch_of(pictures, self.config.points)

    def _composed(self, rng: np.random.Generator, window: range, lane: int) -> Picture:
        own, other = (int(number) * LANES + lane for number in rng.integers(window.start, window.stop, 2))
        mirror = self.config.mirror and self.template.symmetry is not None
        picture = framed(rng, self._picture(own)) if self.config.replay > 1 else self._picture(own)
        if rng.random() < self.config.overlaid:
            picture = overlaid(rng, picture, self._picture(other))
        if mirror and rng.random() < 0.5:
            picture = mirrored(picture, self.template.symmetry)
        return Picture(relit(rng, picture.image), picture.objects, picture.vertex_map)

    def _picture(self, index: int) -> Picture:
        if self._world is None:  # made in the worker: ray-casting scenes do not cross processes
            config = self.config
            self._world = training_world(self.template, config.seed, config.image_size, config.backgrounds)
        if index not in self._kept:
            self._kept[index] = rendered(self._world, index)
        return self._kept[index]


def window_of(number: int, config: TrainCseConfig) -> range:
    """The rendered images that the lane of this batch draws from, counted within the lane."""
    newest = config.batch + number // LANES * config.batch // config.replay
    return range(max(0, newest - WINDOW), newest)


def batch_of(pictures: list[tuple[np.random.Generator, Picture]], points: int) -> Batch:
    """Stack pictures of one size; animals of which too little is seen are no objects."""
    masks, image_of, drawn = [], [], []
    for index, (rng, picture) in enumerate(pictures):
        for name in np.unique(picture.objects[picture.objects >= 0]):
            mask = picture.objects == name
            if mask.sum() < LEAST_PIXELS:
                continue
            masks.append(mask)
            image_of.append(index)
            drawn.append(drawn_points(np.where(mask, picture.vertex_map, -1), points, rng))
    height, width = pictures[0][1].objects.shape
    stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)
    owner = np.repeat(np.arange(len(drawn)), [len(vertices) for _, vertices in drawn])
    images = np.stack([picture.image[:, :, ::-1].transpose(2, 0, 1) for _, picture in pictures])
    return Batch(
        torch.from_numpy(images),
        torch.tensor(image_of, dtype=torch.int64),
        torch.from_numpy(tight_boxes(stacked)),
        torch.from_numpy(stacked),
        torch.from_numpy(np.concatenate([one for one, _ in drawn]) if drawn else np.zeros((0, 2), dtype=np.float32)),
        torch.from_numpy(np.concatenate([one for _, one in drawn]) if drawn else np.zeros(0, dtype=np.int64)),
        torch.from_numpy(owner),
    )


def tight_boxes(masks: np.ndarray) -> Float[np.ndarray, "m 4"]:
    """xyxy around each mask's pixels."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for index, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def drawn_points(
    vertex_map: Int[np.ndarray, "h w"], count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "points 2"], Int[np.ndarray, "points"]]:
    """Up to `count` object pixels, uniformly: centres [P, 2] in image pixels, and template vertices [P]."""
    rows, columns = np.nonzero(vertex_map >= 0)
    chosen = rng.choice(len(rows), size=min(count, len(rows)), replace=False)
    points = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32) + 0.5
    return points, vertex_map[rows[chosen], columns[chosen]].astype(np.int64)


def batches(template: Template, config: TrainCseConfig, first_step: int, ranks: Ranks = ALONE) -> Iterator[Batch]:
    """This process's batches of steps first_step, first_step + 1, ... to the last."""
    return iter(
        DataLoader(
            SyntheticBatches(template, config, first_step, ranks),
            batch_size=None,
            num_workers=config.workers,
            multiprocessing_context="spawn" if config.workers else None,
            prefetch_factor=4 if config.workers else None,
        )
    )
