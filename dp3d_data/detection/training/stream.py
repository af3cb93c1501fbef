"""The kinds of animals that a network learns, and their renders, kept on disk, as a stream of training samples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import masks_to_boxes

from dp3d_data import synthesis as world_package
from dp3d_data.categories import category
from dp3d_data.config import file_digest, fingerprint_of, plain, workspace
from dp3d_data.detection.training import compose
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.errors import UsageError
from dp3d_data.files import write_arrays
from dp3d_data.geometry import Template, load_template, renderer
from dp3d_data.ranks import ALONE, Ranks
from dp3d_data.synthesis import World, WorldConfig

OTHER = "other"
ENTRY = re.compile(r"(?P<name>\w+)(?P<matched>[=~])(?P<template>[^:]+?)(:(?P<share>[0-9.]+))?")
EXPECTED = (
    "CLASS=TEMPLATE, or CLASS~TEMPLATE without matches, each with :SHARE, such as"
    " dog=dog:6,dog~husky.glb:1,other~deer.glb"
)


@dataclass(frozen=True)
class Kind:
    """A template whose renders a network learns from.

    name: of its class; matched: whether pixels are matched to its vertices, else only box and mask are learned.
    share: of the renders, over all kinds about 1.
    """

    name: str
    template: Template
    matched: bool
    share: float


def kinds_of(config: TrainCseConfig) -> tuple[Kind, ...]:
    """The kinds of a training: those asked for, else the category's template alone.

    Raises:
        UsageError: a text that is none, no template, or a class that is matched to two.
    """
    if not config.kinds:
        name = config.template or category(config.category).template
        if not name:
            hint = "give your mesh: --template MESH.obj"
            raise UsageError(f"no built-in template for {config.category!r}", hint=hint)
        return (Kind(config.category, load_template(name), True, 1.0),)
    found = [_kind(text.strip(), config.rigs) for text in config.kinds.split(",") if text.strip()]
    matched = [one.name for one in found if one.matched]
    if not matched or len(set(matched)) < len(matched) or OTHER in matched:
        raise UsageError("every class but 'other' is matched to one template", got=config.kinds, expected=EXPECTED)
    total = sum(one.share for one in found)
    return tuple(replace(one, share=one.share / total) for one in found)


def class_names(kinds: tuple[Kind, ...]) -> list[str]:
    """Classes in order: those that are matched, then the others."""
    matched = [one.name for one in kinds if one.matched]
    return matched + sorted({one.name for one in kinds} - set(matched))


def _kind(text: str, rigs: str) -> Kind:
    entry = ENTRY.fullmatch(text)
    if entry is None:
        raise UsageError("no kind of animal", got=text, expected=EXPECTED)
    place = entry["template"]
    template = load_template(Path(rigs) / place if "." in place and rigs else place)
    return Kind(entry["name"], template, entry["matched"] == "=", float(entry["share"] or 1))


HELD_OUT = 1_000_003  # added to the seed: identities, poses and scenes that no training step has seen
PERSPECTIVE = 2.0  # as near as half a body length
COMPANIONS = 0.2  # share of the images with more than one animal
FOLDER = 1000  # images


def training_world(template: Template, seed: int, size: int, **settings: Any) -> World:
    """The world that a training with this seed learns from; seed + HELD_OUT is its held-out twin."""
    fixed: dict[str, Any] = {"identity_images": 1, "perspective": PERSPECTIVE, "companions": COMPANIONS}
    return World(template, WorldConfig(seed=seed, size=size, **fixed, **settings))


def rendered(world: World, index: int) -> compose.Picture:
    """Image `index` of a world with the truth of all its animals."""
    animals = world.scene(index)
    shape = animals[0].image.shape[:2]
    objects, vertex_map = np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int32)
    for number, animal in enumerate(animals):
        objects[animal.mask] = number
        vertex_map[animal.mask] = animal.vertex_map[animal.mask]
    return compose.Picture(animals[0].image, objects, vertex_map)


def render_folder(folder: Path, template: Template, seed: int, size: int, **settings: Any) -> Path:
    """Where the images of a world are kept: named after the template, the settings and the code of the world, so that
    no image of another world is read."""
    config = WorldConfig(seed=seed, size=size, **settings)
    code = [file_digest(path) for path in sorted(Path(world_package.__file__).parent.glob("*.py"))]
    code.append(file_digest(renderer.__file__))
    fingerprint = fingerprint_of(plain(config), template.content_hash, PERSPECTIVE, COMPANIONS, code)
    return folder / f"{template.name}-{fingerprint}"


COMPOSE, CROP = 7, 8
FIRST, MORE = 512, 3  # renders that the first step draws from, and how many each step adds
ATTEMPTS = 10
# Generator of the draws, the picture, and of each of its objects the class and whether its vertices are those of
# the class's mesh.
Scene = tuple[np.random.Generator, compose.Picture, list[tuple[int, bool]]]


class SyntheticBatches(Dataset):
    """The batch of each step, made from rendered images that all steps share.

    Of R processes that share the steps, number r takes batches r, r + R, ... of one stream: step s has batches s R to s
    R + R - 1. A batch draws from the first renders only, and each step adds some, so that a training begins before all
    are made. Every time an image is drawn, crop, rotation, mirroring, colour jitter and copy-paste are drawn anew.
    """

    def __init__(
        self,
        kinds: tuple[Kind, ...],
        config: TrainCseConfig,
        again: bool = False,
        first_step: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        self.kinds, self.config, self.again, self.first_step, self.ranks = kinds, config, again, first_step, ranks
        names = class_names(kinds)
        self.class_ids = [names.index(kind.name) for kind in kinds]
        places = {"backgrounds": config.backgrounds, "environments": config.environments}
        self.settings: dict[str, Any] = {name: value for name, value in places.items() if value}
        folder = Path(config.cache) if config.cache else workspace(config.category) / "renders"
        world = config.seed, config.image_size
        self.folders = [render_folder(folder, kind.template, *world, **self.settings) for kind in kinds]
        self.worlds: dict[int, World] = {}  # made where they are needed: ray-casting scenes do not cross processes

    def __len__(self) -> int:
        return self.config.steps - self.first_step

    def __getitem__(self, offset: int) -> compose.Batch:
        step, config = self.first_step + offset, self.config
        number = step * self.ranks.count + self.ranks.rank
        side = config.second_size if config.second_size and step % 2 else config.crop_size
        crops = None
        if self.again:
            crops = compose.stacked(
                [self._crop(number, position, side) for position in range(config.crops)], config.points
            )
        with_scenes = not self.again or step % config.box_every == 0
        scenes = [self._scene(number, position) for position in range(config.batch)] if with_scenes else []
        return batch_of(scenes, 0 if self.again else config.points, config.image_size, crops)

    def _scene(self, number: int, position: int) -> Scene:
        rng = self._rng(COMPOSE, number, position)
        picture, kinds = self._composed(rng, number, whole=True)
        return rng, picture, [(self.class_ids[kind], self.kinds[kind].matched) for kind in kinds]

    def _crop(self, number: int, position: int, side: int) -> tuple[np.random.Generator, compose.Crop, int]:
        for attempt in range(ATTEMPTS):
            rng = self._rng(CROP, number, position, attempt)
            picture, kinds = self._composed(rng, number, whole=False)
            visible = [name for name in range(len(kinds)) if (picture.objects == name).sum() >= compose.LEAST_PIXELS]
            if not visible:
                continue
            chosen = int(rng.choice(visible))
            crop = compose.cropped(rng, picture, chosen, side, self.config.thin_weight)
            if crop is not None:
                image, mask, vertex_map, weights = crop
                if not self.kinds[kinds[chosen]].matched:
                    vertex_map = np.full_like(vertex_map, -1)
                return rng, (image, mask, vertex_map, weights), self.class_ids[kinds[chosen]]
        raise AssertionError("no render shows its animal")

    def _composed(self, rng: np.random.Generator, number: int, whole: bool) -> tuple[compose.Picture, list[int]]:
        """A render, cut anew where it stays `whole`, or with an animal of another laid over it; each object's kind."""
        kind, picture = self._drawn(rng, number)
        picture = compose.random_crop(rng, picture) if whole else picture
        kinds = [kind] * (int(picture.objects.max()) + 1)
        if rng.random() < self.config.copy_paste:
            other, beside = self._drawn(rng, number)
            laid = compose.copy_pasted(rng, picture, beside)
            kinds += [other] * (laid is not picture)
            picture = laid
        return replace(picture, image=compose.colour_jittered(rng, compose.coarsened(rng, picture.image))), kinds

    def _drawn(self, rng: np.random.Generator, number: int) -> tuple[int, compose.Picture]:
        """A kind by its share, and one of the renders that are drawn from by now, mirrored in half of the cases."""
        kind = int(rng.choice(len(self.kinds), p=[one.share for one in self.kinds]))
        available = min(self.config.renders, FIRST + MORE * number)
        one = self.kinds[kind]
        picture = self.render(kind, int(rng.integers(max(1, round(available * one.share)))))
        symmetry = one.template.symmetry if one.matched else np.arange(one.template.num_vertices)
        if self.config.mirror and symmetry is not None and rng.random() < 0.5:
            picture = compose.mirrored(picture, symmetry)
        return kind, picture

    def render(self, kind: int, index: int) -> compose.Picture:
        """Image `index` of the world of a kind, read from its folder where it lies there, else made and written there.

        Processes may share the folder: an image appears whole or not at all.
        """
        path = self.folders[kind] / f"{index // FOLDER:03d}" / f"{index:06d}.npz"
        if not path.is_file():
            if kind not in self.worlds:
                template, config = self.kinds[kind].template, self.config
                self.worlds[kind] = training_world(template, config.seed, config.image_size, **self.settings)
            write_arrays(path, **vars(rendered(self.worlds[kind], index)))
        with np.load(path) as held:
            return compose.Picture(held["image"], held["objects"], held["vertex_map"])

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.config.seed, *key]))


def batch_of(scenes: list[Scene], points: int, side: int, crops: compose.Batch | None = None) -> compose.Batch:
    """Stack pictures of one size; animals of which too little is visible are no objects."""
    masks, image_of, classes, drawn = [], [], [], []
    for index, (rng, picture, objects) in enumerate(scenes):
        for name, (class_id, matched) in enumerate(objects):
            mask = picture.objects == name
            if mask.sum() < compose.LEAST_PIXELS:
                continue
            masks.append(mask)
            image_of.append(index)
            classes.append(class_id)
            shown = np.where(mask & matched, picture.vertex_map, -1)
            drawn.append(compose.drawn_points(shown, points, rng))
    stack = np.stack(masks) if masks else np.zeros((0, side, side), dtype=bool)
    owner = np.repeat(np.arange(len(drawn)), [len(vertices) for _, vertices in drawn])
    images = [picture.image[:, :, ::-1].transpose(2, 0, 1) for _, picture, _ in scenes]
    return compose.Batch(
        torch.from_numpy(np.stack(images) if images else np.zeros((0, 3, side, side), dtype=np.uint8)),
        torch.tensor(image_of, dtype=torch.int64),
        torch.tensor(classes, dtype=torch.int64),
        masks_to_boxes(torch.from_numpy(stack)) + torch.tensor([0.0, 0.0, 1.0, 1.0]),
        torch.from_numpy(stack),
        torch.from_numpy(np.concatenate([one for one, _ in drawn]) if drawn else np.zeros((0, 2), dtype=np.float32)),
        torch.from_numpy(np.concatenate([one for _, one in drawn]) if drawn else np.zeros(0, dtype=np.int64)),
        torch.from_numpy(owner),
        crops=crops,
    )


def batches(
    kinds: tuple[Kind, ...], config: TrainCseConfig, first_step: int, *, again: bool = False, ranks: Ranks = ALONE
) -> Iterator[compose.Batch]:
    """This process's batches of steps first_step, first_step + 1, ... to the last."""
    ahead: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": 4} if config.workers else {}
    dataset = SyntheticBatches(kinds, config, again, first_step, ranks)
    return iter(DataLoader(dataset, batch_size=None, num_workers=config.workers, **ahead))
