"""A trained model as one file: settings, template, basis and weights, readable without trusting its author."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from dp3d_data.config import from_mapping, plain
from dp3d_data.errors import CheckpointError, InputMissing, TemplateMismatch, WeightsMismatch
from dp3d_model.config import TrainConfig
from dp3d_model.lifter import Lifter
from dp3d_model.surface import Surface

FORMAT = 1
MODEL_FILE = "model.pt"


def save_model(lifter: Lifter, path: str | Path, recipe: str = "", trained: dict[str, Any] | None = None) -> Path:
    """Write everything that lifting needs; the file appears whole or not at all."""
    surface = lifter.surface
    content = {
        "format": FORMAT,
        "recipe": recipe,
        "trained": trained or {},
        "config": plain(lifter.config),
        "template": {"name": surface.name, "hash": surface.content_hash, "unit": surface.unit, "factor": surface.factor},
        "vertices": surface.vertices,
        "faces": surface.faces,
        "functions": surface.functions,
        "symmetry": surface.symmetry,
        "weights": lifter.state_dict(),
    }
    return save_atomically(content, path)


def save_atomically(content: dict[str, Any], path: str | Path) -> Path:
    """torch.save beside the path, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    torch.save(content, partial)
    os.replace(partial, path)
    return path


def load_model(path: str | Path, device: str = "cpu") -> Lifter:
    """Read a model file, or model.pt of a training folder, ready for evaluation.

    Raises:
        InputMissing: no such file.
        CheckpointError: not a model file.
        WeightsMismatch: its weights do not fit its own settings.
    """
    content = read_content(path, "model")
    given = content["template"]
    surface = Surface(
        given["name"], given["hash"], content["vertices"], content["faces"], content["functions"], given["unit"], given["factor"],
        content.get("symmetry"),
    )  # fmt: skip
    lifter = Lifter(surface, from_mapping(TrainConfig, content["config"], path=path))
    load_weights(lifter, content["weights"], path)
    return lifter.to(device).eval()


def load_weights(module: torch.nn.Module, weights: dict[str, Any], path: str | Path) -> None:
    """Strict loading.

    Raises:
        WeightsMismatch: names or shapes differ.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsMismatch("the weights do not fit the settings", got=str(error).splitlines()[-1].strip(), path=path) from error


def read_content(path: str | Path, kind: str) -> dict[str, Any]:
    """The dictionary in a file written by save_atomically, read without running anything in it.

    Raises:
        InputMissing: no such file.
        CheckpointError: not such a file.
    """
    path = model_path(path)
    if not path.is_file():
        raise InputMissing(f"no such {kind} file", path=path, hint="train one: dp3d-model train")
    expected = f"a {kind} file written by: dp3d-model train"
    hint = "train one: dp3d-model train"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
        got = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"not a {kind} file", got=got, expected=expected, hint=hint, path=path) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"not a {kind} file", expected=expected, hint=hint, path=path)
    return content


def model_path(path: str | Path) -> Path:
    """The file itself, where its folder is given."""
    return Path(path) / MODEL_FILE if Path(path).is_dir() else Path(path)


def check_template(lifter: Lifter, name: str, content_hash: str, path: str | Path | None = None) -> None:
    """Refuse shards of another template: their vertex ids mean other places.

    Raises:
        TemplateMismatch: the content hashes differ.
    """
    own = lifter.surface
    if content_hash != own.content_hash:
        raise TemplateMismatch(
            "the shards belong to another template than the model",
            got=f"{name} {content_hash}",
            expected=f"{own.name} {own.content_hash}",
            path=path,
        )
