"""The files that people look at: the learned parts, and every lifted instance with its pictures."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from dp3d_model.export import export_mesh
from dp3d_model.instances import Instances
from dp3d_model.lifter import Lifter
from dp3d_model.palette import part_colours
from dp3d_model.prediction import Prediction, predict
from dp3d_model.prediction_table import PredictionTable
from dp3d_model.rig import write_rig
from dp3d_model.visualise import beside_photograph, save_picture, turntable

SHEET_ROWS = 8


def part_weights(lifter: Lifter) -> np.ndarray:
    """How much each template vertex belongs to each learned part, [K, M]; one part where the body has none."""
    with torch.no_grad():
        parts = lifter.body(torch.zeros(1, lifter.body.size)).parts
    return np.ones((len(lifter.surface.vertices), 1)) if parts is None else parts.weights.cpu().numpy()


def model_colours(lifter: Lifter) -> np.ndarray:
    """The colour of each template vertex by its learned parts; one colour where the body has none."""
    return part_colours(part_weights(lifter))


def draw_parts(lifter: Lifter, path: str | Path) -> Path:
    """The template from six sides, coloured by its learned parts."""
    surface = lifter.surface
    picture = turntable(surface.vertices.numpy(), surface.faces.numpy(), model_colours(lifter), size=260)
    return save_picture(picture, Path(path))


def write_predictions(
    lifter: Lifter,
    instances: Instances,
    folder: str | Path,
    formats: tuple[str, ...] = ("glb", "npz"),
    pictures: bool = True,
    rig: bool = False,
    done: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write the files of each instance in their order, named NNN-NAME, and with pictures lifted.png of the first ones.

    Args:
        formats: glb, obj, ply (meshes), npz (everything that is known) and table (predictions.parquet, all in one file).
        rig: the GLB files carry a skeleton, a joint for each part.
        done: told of so many more finished instances.

    Raises:
        UsageError: a rig of a body without parts.
    """
    folder, start = Path(folder), 0
    writer = _Writer(lifter, folder, formats, pictures, rig)
    with PredictionTable(folder / "predictions.parquet") if "table" in formats else nullcontext() as table:
        for many in predict(lifter, instances):
            some = instances.take(range(start, start + len(many.scale)))
            if table is not None:
                table.add(some.ids, some.image_paths or ("",) * len(some), many)
            for i in range(len(some)) if writer.busy else ():
                writer.write(f"{start + i:03d}-{safe_name(some.ids[i])}", many.at(i), some, i)
                done(1)
            if not writer.busy:
                done(len(some))
            start += len(some)
    if writer.sheet:
        save_picture(np.concatenate(writer.sheet), folder / "lifted.png")
    return folder


class _Writer:
    """Writes the files of one instance after the other, and gathers the sheet of the first ones."""

    def __init__(self, lifter: Lifter, folder: Path, formats: tuple[str, ...], pictures: bool, rig: bool) -> None:
        self.folder, self.formats, self.pictures, self.rig = folder, formats, pictures, rig
        self.faces, self.weights, self.colours = lifter.surface.faces.numpy(), part_weights(lifter), model_colours(lifter)
        self.sheet: list[np.ndarray] = []
        self.busy = pictures or bool(set(formats) - {"table"})

    def write(self, name: str, prediction: Prediction, instances: Instances, i: int) -> None:
        """All files of instance i of some, under a name."""
        if "npz" in self.formats:
            prediction.save(self.folder / f"{name}.npz")
        for kind in self.formats:
            path = self.folder / f"{name}.{kind}"
            if kind == "glb" and self.rig:
                write_rig(path, prediction, self.faces, self.weights, self.colours)
            elif kind in ("glb", "obj", "ply"):
                export_mesh(path, prediction.vertices, self.faces, self.colours)
        if self.pictures:
            picture = draw_instance(prediction, instances, i, self.faces, self.colours)
            save_picture(picture, self.folder / f"{name}.png")
            if len(self.sheet) < SHEET_ROWS:
                self.sheet.append(picture)


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
