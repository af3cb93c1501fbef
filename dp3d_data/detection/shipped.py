"""Weights that come with the project. Light to import."""

from __future__ import annotations

from pathlib import Path

from dp3d_data.detection.spec import ModelSpec
from dp3d_data.errors import InputMissing

FOLDER = Path(__file__).parent / "data"


def shipped_path(spec: ModelSpec) -> Path:
    """Where a network's weights lie if they are shipped."""
    return FOLDER / f"{spec.name}.pth"


def shipped_weights(spec: ModelSpec) -> Path:
    """The weights that come with the project.

    Raises:
        InputMissing: this network's do not; says where to get them.
    """
    path = shipped_path(spec)
    if path.is_file():
        return path
    if spec.checkpoint_url:
        hint = f"curl -fLO {spec.checkpoint_url} and give the file: --weights {spec.checkpoint_url.rpartition('/')[2]}"
    elif spec.name.startswith("cse/"):
        hint = "its weights were never published; choose another: dp3d-data zoo list"
    else:
        hint = "train it: dp3d-data train-cse --category dog, and give the file: --weights FILE"
    raise InputMissing(f"the weights of {spec.name} are not here", expected=path, hint=hint)
