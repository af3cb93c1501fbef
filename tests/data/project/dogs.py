"""Fits of a random SMAL-like dog, each before a camera that shows it."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dp3d_data.bodies.files import save_body_model
from dp3d_data.bodies.model import DOG_JOINTS, DOG_SCALES, BodyModel, dog_scale_basis
from dp3d_data.datasets.fits import Fit, FitCamera
from dp3d_data.datasets.neutral import write_fits
from pipelines.settings import ProjectConfig
from tests.data.bodies.body_arrays import random_model

SIZE = (640, 480)


def dog_model(divisions: int = 3) -> BodyModel:
    """Random but valid arrays with the joints, betas and limb scales of the dog model."""
    names = tuple(name for name, _, _ in DOG_SCALES)
    scales = {"scale_joints": names, "scale_basis": dog_scale_basis()}
    return random_model(joints=DOG_JOINTS, betas=20, kind="smal", divisions=divisions, **scales)


def dog_fit(number: int, kind: str = "perspective", **changes) -> Fit:
    """Fit `number`: a small random pose seen from a random side."""
    rng = np.random.default_rng(number)
    turn = Rotation.random(random_state=number).as_matrix()
    lens = {"focal": (800.0, 810.0)} if kind == "perspective" else {"scale": 130.0}
    camera = FitCamera(kind, turn, np.array([0.1, -0.1, 6.0]), centre=(320.0, 240.0), **lens)
    fields = {
        "instance_id": f"breed{number % 7}/{number:04d}.jpg#0",
        "image_id": f"breed{number % 7}/{number:04d}.jpg",
        "image_path": None,
        "image_size": SIZE,
        "group": f"breed{number % 7}",
        "split": "test" if number % 4 == 0 else "train",
        "body": "smal",
        "pose": rng.normal(0, 0.05, (DOG_JOINTS, 3)),
        "betas": rng.normal(0, 0.3, 20),
        "translation": np.zeros(3),
        "camera": camera,
        "joint_scales": rng.normal(0, 0.05, 7),
    }
    return Fit(**fields | changes)


def settings(folder: Path, fits: list[Fit], divisions: int = 3, **changes) -> ProjectConfig:
    """The settings of a run on these fits, written below a folder beside their body model."""
    folder.mkdir(parents=True, exist_ok=True)
    write_fits(folder / "fits.json", fits)
    body = folder / "body.npz"
    if not body.is_file():
        save_body_model(dog_model(divisions), body)
    given = {"path": str(folder), "body": (str(body),), "out": str(folder / "run"), "workers": 1, "part": 5}
    return ProjectConfig(**given | changes)
