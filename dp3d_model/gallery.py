"""The files that people look at: the learned parts, and every lifted instance with its pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dp3d_model.export import export_mesh
from dp3d_model.instances import Instances
from dp3d_model.lifter import Lifter
from dp3d_model.palette import part_colours
from dp3d_model.prediction import Prediction, predict
from dp3d_model.visualise import beside_photograph, save_picture, turntable

SHEET_ROWS = 8


def model_colours(lifter: Lifter) -> np.ndarray:
    """The colour of each template vertex by its learned parts; one colour where the body has none."""
    with torch.no_grad():
        parts = lifter.body(torch.zeros(1, lifter.body.size)).parts
    weights = np.ones((len(lifter.surface.vertices), 1)) if parts is None else parts.weights.cpu().numpy()
    return part_colours(weights)


def draw_parts(lifter: Lifter, path: str | Path) -> Path:
    """The template from six sides, coloured by its learned parts."""
    surface = lifter.surface
    picture = turntable(surface.vertices.numpy(), surface.faces.numpy(), model_colours(lifter), size=260)
    return save_picture(picture, Path(path))


def write_predictions(
    lifter: Lifter,
    instances: Instances,
    folder: str | Path,
    formats: tuple[str, ...] = ("glb",),
    pictures: bool = True,
    done: Callable[[], None] = lambda: None,
) -> Path:
    """Write NNN-NAME.npz, the mesh files and NNN-NAME.png of each instance in their order, and lifted.png of the first ones."""
    folder, colours, faces = Path(folder), model_colours(lifter), lifter.surface.faces.numpy()
    sheet: list[np.ndarray] = []
    for i, prediction in enumerate(predict(lifter, instances)):
        name = f"{i:03d}-{safe_name(instances.ids[i])}"
        prediction.save(folder / f"{name}.npz")
        for kind in formats:
            export_mesh(folder / f"{name}.{kind}", prediction.vertices, faces, colours)
        if pictures:
            picture = draw_instance(prediction, instances, i, faces, colours)
            save_picture(picture, folder / f"{name}.png")
            if len(sheet) < SHEET_ROWS:
                sheet.append(picture)
        done()
    if sheet:
        save_picture(np.concatenate(sheet), folder / "lifted.png")
    return folder


def photographs_first(instances: Instances, count: int) -> Instances:
    """At most `count` of them (0 for all), those with a photograph first, otherwise in order."""
    paths = instances.image_paths or ("",) * len(instances)
    order = sorted(range(len(instances)), key=lambda i: not (paths[i] and Path(paths[i]).is_file()))
    return instances.take(order[: count or None])


def draw_instance(prediction: Prediction, instances: Instances, i: int, faces: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A row of tiles: photograph with keypoints, body over it, body alone, and four views around it."""
    visible = instances.visible[i].numpy()
    keypoints = instances.keypoints[i].numpy()[visible]
    path = instances.image_paths[i] if instances.image_paths else ""
    front = beside_photograph(path, keypoints, colours[visible], prediction.projected(), faces, colours)
    return np.concatenate([front, turntable(prediction.vertices, faces, colours, views=4)], axis=1)


def safe_name(instance_id: str) -> str:
    """An instance's name as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", instance_id).strip("._") or "instance"
