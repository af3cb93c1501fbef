"""A trained model as one file: settings, template, basis and weights, readable without trusting its author."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from dp3d_data.categories import category as category_named
from dp3d_data.config import former_names, from_mapping, plain, workspace
from dp3d_data.errors import CheckpointError, TemplateError
from dp3d_data.files import require_keys
from dp3d_data.geometry.template import Template
from dp3d_data.torch_files import packed_weights, read_torch, unpacked_weights, write_torch
from dp3d_model.config import TrainConfig
from dp3d_model.evaluation.quality import FEATURES, Calibration
from dp3d_model.geometry.surface import Surface, surface_of
from dp3d_model.losses.terms import faces_around
from dp3d_model.networks.lifter import Lifter

FORMAT = 1
# Of a model whose large matrices are kept in 8 bits.
SMALL_FORMAT = 2
MODEL_FILE = "model.pt"
TRAIN = "train a model on these shards: dp3d-model train --shards PATH"
KINDS = {
    "model": {
        "recipe": str,
        "config": dict,
        "template": dict,
        "vertices": torch.Tensor,
        "faces": torch.Tensor,
        "functions": torch.Tensor,
        "weights": dict,
    },
    "state": {"recipe": str, "config": dict, "step": int, "objective": dict, "optimiser": dict, "average": dict},
}
# Of the figures that a calibration was learned on; one of other figures says nothing of these.
CALIBRATION_VERSION = 2
CALIBRATION_KINDS = {"usual": torch.Tensor, "spread": torch.Tensor, "slopes": torch.Tensor}
TEMPLATE_KINDS = {"name": str, "hash": str, "unit": str, "factor": (int, float)}


def save_model(
    lifter: Lifter, path: str | Path, fingerprint: str = "", trained: dict[str, Any] | None = None, small: bool = False
) -> Path:
    """Write everything that lifting needs; the file appears whole or not at all.

    Args:
        small: keep large matrices in 8 bits and the rest in 16, for a third of the space.
    """
    surface, calibration = lifter.surface, lifter.calibration
    weights, functions = lifter.state_dict(), surface.functions
    template = {"name": surface.name, "hash": surface.content_hash, "unit": surface.unit, "factor": surface.factor}
    content = {
        "format": SMALL_FORMAT if small else FORMAT,
        "recipe": fingerprint,
        "trained": trained or {},
        "config": plain(lifter.config),
        "template": template,
        "vertices": surface.vertices,
        "faces": surface.faces,
        "functions": functions.half() if small else functions,
        "symmetry": surface.symmetry,
        "weights": packed_weights(weights) if small else weights,
        "calibration": None,
    }
    if calibration is not None:
        learned = {name: torch.from_numpy(value) for name, value in vars(calibration).items()}
        content["calibration"] = {"version": CALIBRATION_VERSION, **learned}
    return write_torch(path, content)


def load_model(path: str | Path, device: str = "cpu") -> Lifter:
    """Read a model file, or model.pt of a training folder, ready for evaluation.

    Raises:
        InputMissing: no such file.
        CheckpointError: not a model file, or its weights do not fit its own settings.
    """
    content = read_content(path, "model")
    name, content_hash, unit, factor = (content["template"][key] for key in TEMPLATE_KINDS)
    vertices, faces, functions = content["vertices"], content["faces"], content["functions"].float()
    surface = Surface(name, content_hash, vertices, faces, functions, unit, factor, content.get("symmetry"))
    lifter = Lifter(surface, read_config(content["config"], path))
    load_weights(lifter, unpacked_weights(content["weights"]), path)
    if content.get("calibration"):
        require_keys(content["calibration"], CALIBRATION_KINDS, "calibration of a model file", path, CheckpointError)
        found = Calibration(**{name: content["calibration"][name].numpy() for name in CALIBRATION_KINDS})
        known = content["calibration"].get("version") == CALIBRATION_VERSION and len(found.usual) == len(FEATURES)
        lifter.calibration = found if known else None
    return lifter.to(device).eval()


def read_config(values: dict[str, Any], path: str | Path) -> TrainConfig:
    """The settings in a model or state file, also by the names that they had before version 0.2, in one table.

    Raises:
        ConfigError: no such settings.
    """
    if not any(isinstance(value, dict) for value in values.values()):
        now = former_names(TrainConfig)
        values = {now.get(name, name): value for name, value in values.items()}
    return from_mapping(TrainConfig, values, path)


def origin_of(path: str | Path) -> dict[str, Any]:
    """What a model file says of its training, as `save_model` takes it."""
    content = read_content(path, "model")
    return {"fingerprint": content["recipe"], "trained": content.get("trained") or {}}


def load_weights(module: torch.nn.Module, weights: dict[str, Any], path: str | Path) -> None:
    """Strict loading.

    Raises:
        CheckpointError: names or shapes differ.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        got = str(error).splitlines()[-1].strip()
        raise CheckpointError("the weights do not fit the settings", got=got, path=path) from error


def read_content(path: str | Path, kind: str) -> dict[str, Any]:
    """The dictionary in a model or state file, read without running anything in it.

    Args:
        kind: "model" or "state".

    Raises:
        InputMissing: no such file.
        CheckpointError: not such a file, or a damaged one.
    """
    path, expected = model_path(path), f"a {kind} file written by: dp3d-model train"
    hint = "train one: dp3d-model train"
    content = read_torch(path, f"{kind} file", expected=expected, hint=hint)
    formats = (FORMAT, SMALL_FORMAT) if kind == "model" else (FORMAT,)
    if not isinstance(content, dict) or content.get("format") not in formats:
        raise CheckpointError(f"not a {kind} file", expected=expected, hint=hint, path=path)
    require_keys(content, KINDS[kind], f"{kind} file", path, CheckpointError)
    if kind == "model":
        require_keys(content["template"], TEMPLATE_KINDS, "template of a model file", path, CheckpointError)
    return content


def embedded_model(category: str) -> Path | None:
    """The model of a category that comes with the package; None where there is none."""
    path = Path(__file__).parents[1] / "data" / f"{category}.pt"
    return path if path.is_file() else None


def find_model(category: str, given: str | None = None) -> Path:
    """The model that is given, else the workspace's, else the embedded one; without any, the workspace's place.

    Raises:
        UsageError: no model is given or in the workspace, and there is no such category.
    """
    if given:
        return Path(given)
    own = workspace(category) / "model"
    if (own / MODEL_FILE).is_file():
        return own
    return embedded_model(category_named(category).name) or own


def model_path(path: str | Path) -> Path:
    """The file itself, where its folder is given."""
    return Path(path) / MODEL_FILE if Path(path).is_dir() else Path(path)


def check_template(lifter: Lifter, template: Template, path: str | Path | None = None) -> None:
    """Refuse shards of another template: their vertex ids mean other places.

    Raises:
        TemplateError: the content hashes differ.
    """
    own, what = lifter.surface, "the shards belong to another template than the model"
    if template.content_hash != own.content_hash:
        got, expected = f"{template.name} {template.content_hash}", f"{own.name} {own.content_hash}"
        raise TemplateError(what, got=got, expected=expected, hint=TRAIN, path=path)


# Mean distance between two meshings of one surface, template units.
APART = 0.02
# Vertices whose triangles are candidates for the nearest one.
NEIGHBOURS = 4


def lifter_for(lifter: Lifter, template: Template, remeshed: bool, path: str | Path | None = None) -> Lifter:
    """The model on the template of some shards: its own, or, where that is asked for, another meshing of it.

    Raises:
        TemplateError: another template.
    """
    if not remeshed or template.content_hash == lifter.surface.content_hash:
        check_template(lifter, template, path)
        return lifter
    return lifter.on(carried(lifter.surface, template, path))


def carried(surface: Surface, template: Template, path: str | Path | None = None) -> Surface:
    """The template with the functions of a surface that has the same shape (ours): linear inside the nearest triangle.

    Raises:
        TemplateError: the two surfaces lie apart.
    """
    blank = np.zeros((len(template.vertices), 1), dtype=np.float32)
    found = surface_of(template, blank, 1)
    corners, weights, there = nearest_points(surface, found.vertices.numpy())
    back = nearest_points(found, surface.vertices.numpy())[2]
    apart = max(float(there.mean()), float(back.mean()))
    if apart > APART:
        what, expected = "the shards' template is no other meshing of the model's", f"{surface.name}, at most {APART}"
        got = f"{template.name}, on average {apart:.3f} of the extent away"
        raise TemplateError(what, got=got, expected=expected, hint=TRAIN, path=path)
    shares = torch.tensor(weights, dtype=torch.float32)[..., None]
    return replace(found, functions=(shares * surface.functions[torch.tensor(corners)]).sum(1))


def nearest_points(
    surface: Surface, points: Float[np.ndarray, "q 3"]
) -> tuple[Int[np.ndarray, "q 3"], Float[np.ndarray, "q 3"], Float[np.ndarray, "q"]]:
    """The point of a surface near each point: corners of its triangle, barycentric weights, and distance.

    Candidates are the triangles around the nearest vertices; on each the foot of the perpendicular, its weights clipped
    to the triangle.
    """
    vertices = surface.vertices.double().numpy()
    _, near = cKDTree(vertices).query(points, k=min(NEIGHBOURS, len(vertices)))
    triangles = faces_around(surface).numpy()[near].reshape(len(points), -1, 3)
    a, b, c = np.moveaxis(vertices[triangles], 2, 0)
    u, v, w = b - a, c - a, np.asarray(points, dtype=np.float64)[:, None] - a
    uu, uv, vv = (u * u).sum(2), (u * v).sum(2), (v * v).sum(2)
    wu, wv = (w * u).sum(2), (w * v).sum(2)
    area = np.maximum(uu * vv - uv**2, 1e-18)
    second, third = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    weights = np.clip(np.stack([1.0 - second - third, second, third], axis=2), 0.0, None)
    weights /= weights.sum(2, keepdims=True)
    feet = (weights[..., None] * vertices[triangles]).sum(2)
    distance = np.linalg.norm(feet - points[:, None], axis=2)
    best = distance.argmin(1)
    rows = np.arange(len(points))
    return triangles[rows, best], weights[rows, best], distance[rows, best]
