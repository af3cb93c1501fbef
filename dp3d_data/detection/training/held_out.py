"""Scores on the held-out twin of the training's world, while it trains."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np

from dp3d_data.detection import DensePredictor, ModelSpec
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.evaluation import TrueObject, examine
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.renders import HELD_OUT, training_world
from dp3d_data.detection.training.start import Start
from dp3d_data.geometry import Template
from dp3d_data.geometry.geodesics import geodesic_distances

LARGEST = 320


def rendered_side(spec: ModelSpec, asked: int = 0) -> int:
    """Side of renders that a network is to look at, pixels: the one asked for, or its own, at most LARGEST."""
    return asked or min(spec.min_side, LARGEST)


def scenes_with_truth(
    template: Template, seed: int, size: int, count: int
) -> Iterator[tuple[np.ndarray, list[TrueObject]]]:
    """BGR renders of the world that a training of this seed never sees, each with all its animals."""
    world = training_world(template, seed + HELD_OUT, size)
    for index in range(count):
        scene = world.scene(index)
        truth = [
            TrueObject(one.box, one.mask, one.vertex_map, one.keypoints) for one in scene.animals if one.mask.any()
        ]
        yield np.ascontiguousarray(scene.image[:, :, ::-1]), truth


def held_out_measures(
    network: Dp3dDenseRCNN, start: Start, template: Template, config: TrainCseConfig
) -> dict[str, float]:
    """The measures of `examine` of a copy of the network on `config.evaluate_images` images."""
    mesh_of = {**start.spec.class_to_mesh, **start.learned}
    predictor = DensePredictor(copy.deepcopy(network), start.spec, device=config.device, mesh_of=mesh_of)
    images = scenes_with_truth(template, config.seed, config.image_size, config.evaluate_images)
    return examine(predictor, images, geodesic_distances(template), classes=sorted(mesh_of)).result()
