"""Held-out scenes with the truth of their animals, grouped by where the viewer stands and by how much is seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dp3d_data.detection.training.evaluation import TrueObject
from dp3d_data.detection.training.renders import HELD_OUT, training_world
from dp3d_data.geometry import Template
from dp3d_data.geometry.visibility import visible_vertices
from dp3d_data.synthesis.sample import SyntheticInstance

STEEP = 50.0  # degrees of elevation from which a view is from above or below
CUT = 0.02  # share of the vertices outside the image
LITTLE, MUCH = 0.5, 0.8  # of what faces the viewer


def grouped_scenes(
    template: Template, seed: int, size: int, count: int
) -> Iterator[tuple[np.ndarray, list[TrueObject]]]:
    """BGR renders of the world that a training of this seed never sees, each with all its animals and their groups."""
    world = training_world(template, seed + HELD_OUT, size)
    for index in range(count):
        scene = world.scene(index)
        truth = []
        for one in scene.animals:
            if one.mask.any():
                groups = groups_of(one, template.faces, size)
                truth.append(TrueObject(np.asarray(one.box), one.mask, one.vertex_map, one.keypoints, groups))
        yield np.ascontiguousarray(scene.image[:, :, ::-1]), truth


def groups_of(animal: SyntheticInstance, faces: np.ndarray, size: int) -> tuple[str, str, str]:
    """View, share seen and border of one animal (ours).

    The view is where the viewer stands around the body: "front" and "rear" within 45 degrees, "side" between, "above"
    and "below" beyond STEEP degrees. The share seen is that of the vertices that face a far viewer: what the border,
    other things and other animals hide is missing.
    """
    facing = visible_vertices(animal.true_vertices, faces)
    share = (animal.visible & facing).sum() / max(facing.sum(), 1)
    seen = (
        f"under {LITTLE:.0%}"
        if share < LITTLE
        else f"{LITTLE:.0%} to {MUCH:.0%}"
        if share < MUCH
        else f"over {MUCH:.0%}"
    )
    inside = ((animal.keypoints >= 0) & (animal.keypoints < size)).all(axis=1).mean()
    return (
        f"view: {view_name(animal.camera_from_template)}",
        f"seen: {seen}",
        f"border: {'cut' if inside < 1 - CUT else 'whole'}",
    )


def view_name(camera_from_template: np.ndarray) -> str:
    """front, side, rear, above or below: where the viewer stands in the template frame (x forward, y left, z up)."""
    toward = -np.asarray(camera_from_template)[2]
    elevation = np.rad2deg(np.arcsin(np.clip(toward[2], -1, 1)))
    if abs(elevation) > STEEP:
        return "above" if elevation > 0 else "below"
    azimuth = abs(np.rad2deg(np.arctan2(toward[1], toward[0])))
    return "front" if azimuth < 45 else "rear" if azimuth > 135 else "side"
