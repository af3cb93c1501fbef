"""Rendered images of a training, kept on disk: each is made once, whoever asks for it first."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data import synthesis as world_package
from dp3d_data.config import file_digest, fingerprint, plain
from dp3d_data.detection.training.compose import Picture
from dp3d_data.files import write_whole
from dp3d_data.geometry import Template, renderer
from dp3d_data.synthesis import World, WorldConfig

HELD_OUT = 1_000_003  # added to the seed: identities, poses and scenes that no training step has seen
PERSPECTIVE = 2.0  # as near as half a body length
COMPANIONS = 0.2  # share of the images with more than one animal
FOLDER = 1000  # images


def training_world(template: Template, seed: int, size: int, **settings: Any) -> World:
    """The world that a training with this seed learns from; seed + HELD_OUT is its held-out twin."""
    fixed: dict[str, Any] = {"identity_images": 1, "perspective": PERSPECTIVE, "companions": COMPANIONS}
    return World(template, WorldConfig(seed=seed, size=size, **fixed, **settings))


def rendered(world: World, index: int) -> Picture:
    """Image `index` of a world with the truth of all its animals."""
    scene = world.scene(index)
    shape = scene.image.shape[:2]
    objects, vertex_map = np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int32)
    for number, animal in enumerate(scene.animals):
        objects[animal.mask] = number
        vertex_map[animal.mask] = animal.vertex_map[animal.mask]
    return Picture(scene.image, objects, vertex_map)


class Renders:
    """The images of one world by index, read from `folder` where they lie and written there where they do not.

    A folder below it is named after the template, the settings and the code of the world, so that no image of another
    world is read. Processes may share it: an image appears whole or not at all.
    """

    def __init__(self, template: Template, folder: str | Path, seed: int, size: int, **settings: Any) -> None:
        self.template, self.seed, self.size, self.settings = template, seed, size, settings
        config = WorldConfig(seed=seed, size=size, **settings)
        code = [
            file_digest(path)
            for path in (*sorted(Path(world_package.__file__).parent.glob("*.py")), Path(renderer.__file__))
        ]
        recipe = fingerprint(plain(config), template.content_hash, PERSPECTIVE, COMPANIONS, code)
        self.folder = Path(folder) / f"{template.name}-{recipe}"

    @cached_property
    def world(self) -> World:
        """Made where it is needed: ray-casting scenes do not cross processes."""
        return training_world(self.template, self.seed, self.size, **self.settings)

    def picture(self, index: int) -> Picture:
        """Image `index` with its truth."""
        path = self.folder / f"{index // FOLDER:03d}" / f"{index:06d}.npz"
        if not path.is_file():
            self._write(path, rendered(self.world, index))
        with np.load(path) as held:
            return Picture(held["image"], held["objects"], held["vertex_map"])

    def _write(self, path: Path, picture: Picture) -> None:
        write_whole(path, lambda stream: np.savez_compressed(stream, **vars(picture)))
