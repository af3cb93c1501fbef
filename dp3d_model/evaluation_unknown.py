"""What can be said of lifted instances whose true shape is unknown: reprojection, stretched edges, agreement with the mirror image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from dp3d_data.errors import NothingToDo
from dp3d_model.augmentation import mirror
from dp3d_model.config import preset
from dp3d_model.evaluation import RIGID, common_surface
from dp3d_model.instances import Instances
from dp3d_model.lifter import Lifter
from dp3d_model.prediction import predict
from dp3d_model.surface import Surface

STRETCH = 1.5
BATCH = 256
MEASURES = {
    "reprojection": "reprojection error, share of the keypoints' longer side",
    "stretched": "share of edges more than half longer than the template's",
    "mirror": "distance to the lift of the mirror image, template extents",
}


def evaluate_unknown(lifters: Mapping[str, Lifter], instances: Instances) -> dict[str, Any]:
    """Median, mean and worst of every measure, of every model and the rigid template, as plain numbers.

    Raises:
        NothingToDo: no instance.
        TemplateMismatch: the models belong to different templates.
    """
    if not len(instances):
        raise NothingToDo("no instance to measure", hint="name another split: --split all")
    surface = common_surface(lifters)
    found = {name: measures(lifter, instances) for name, lifter in {RIGID: Lifter(surface, preset("rigid")), **lifters}.items()}
    return {
        "instances": len(instances),
        "vertices": len(surface.vertices),
        "truth": False,
        "models": {name: {measure: _spread(values) for measure, values in own.items()} for name, own in found.items()},
    }


def _spread(values: Float[np.ndarray, "n"]) -> dict[str, float]:
    figures = {"median": np.median(values), "mean": values.mean(), "worst": values.max()}
    return {name: round(float(value), 6) for name, value in figures.items()}


def measures(lifter: Lifter, instances: Instances) -> dict[str, Float[np.ndarray, "n"]]:
    """Of each instance: MEASURES; the mirror where the template's symmetry is known."""
    symmetry, parts = lifter.surface.symmetry, []
    for start in range(0, len(instances), BATCH):
        some = instances.take(list(range(start, min(start + BATCH, len(instances)))))
        (many,) = predict(lifter, some, BATCH)
        found = {
            "reprojection": np.array([_reprojection(many.at(i).projected()[:, :2], some, i) for i in range(len(some))]),
            "stretched": stretched(many.vertices, lifter.surface),
        }
        if symmetry is not None:
            (other,) = predict(lifter, mirror_image(some, lifter.surface), BATCH)
            one, two = (each.vertices @ each.camera_from_template.swapaxes(1, 2) for each in (many, other))
            difference = one - two[:, symmetry.numpy()] * np.array([-1.0, 1.0, 1.0], np.float32)
            found["mirror"] = np.linalg.norm(difference - difference.mean(1, keepdims=True), axis=2).mean(1)
        parts.append(found)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _reprojection(projected: Float[np.ndarray, "k 2"], instances: Instances, i: int) -> float:
    """Mean distance of the visible vertices to their keypoints, as a share of the longer side of these."""
    visible = instances.visible[i].numpy()
    keypoints = instances.keypoints[i].numpy()[visible]
    return float(np.linalg.norm(projected[visible] - keypoints, axis=1).mean() / max(np.ptp(keypoints, axis=0).max(), 1e-9))


def stretched(vertices: Float[np.ndarray, "n k 3"], surface: Surface) -> Float[np.ndarray, "n"]:
    """Share of the edges that are more than STRETCH times as long as the template's."""
    faces = surface.faces.numpy()
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    rest, posed = (np.linalg.norm(x[..., edges[:, 0], :] - x[..., edges[:, 1], :], axis=-1) for x in (surface.vertices.numpy(), vertices))
    return (posed > STRETCH * rest).mean(-1)


def mirror_image(instances: Instances, surface: Surface) -> Instances:
    """The instances as a mirror shows them, each vertex in the place of its partner; truth does not come along."""
    keypoints, visible = mirror(instances.keypoints, instances.visible, surface.symmetry)
    cameras = None if instances.cameras is None else instances.cameras * torch.tensor([1.0, 1.0, -1.0, 1.0])
    return replace(instances, keypoints=keypoints, visible=visible, cameras=cameras, true_vertices=None, true_scale=None)
