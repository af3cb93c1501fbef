"""SMALify: one folder an image, the parameters of every stage in it; a fit of a square crop around the silhouette."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.fits import Fit, FitCamera, FitFailure, attempt, plain_fields, smal_numbers
from dp3d_data.datasets.locations import wrong_tree
from dp3d_data.unpickling import read_pickle

LAST = "st10_ep0.pkl"
EXPECTED = f"NAME/{LAST}, in this folder or below it"
HINT = "the folder that smal_fitter/optimize_to_joints.py wrote into checkpoints/"
SIDE = 256
# PyTorch3D's OpenGLPerspectiveCameras see 60 degrees; look_at_view_transform(2.7, 0, 0) puts one before the origin.
FOCAL = float(SIDE / 2 * np.sqrt(3))
DISTANCE = 2.7


class Smalify(Dataset):
    """The folder of a run: NAME/st10_ep0.pkl, the last stage of the image NAME; earlier stages are not read.

    A pickle holds global_rotation [3], joint_rotations [34, 3], betas [20], log_betascale [6] and trans [3]. The camera
    is the fitter's own, of the square crop of 256 pixels that it cut around the silhouette: keypoints are those of it.
    """

    name = "smalify"

    def fits(self) -> Iterator[Fit | FitFailure]:
        """Every image in the order of the names; one whose pickle cannot be read is a failure."""
        root = self.root(EXPECTED)
        paths = sorted(root.rglob(LAST), key=lambda path: path.parts)
        if not paths:
            raise wrong_tree(root, EXPECTED, HINT)
        for path in paths:
            image = path.parent.relative_to(root).as_posix()
            image = path.parent.resolve().name if image == "." else image
            yield attempt(f"{image}#0", image, path, _fit, path, image)


def _fit(path: Path, image: str) -> Fit:
    camera = FitCamera(
        "perspective",
        np.diag([1.0, -1.0, -1.0]),
        np.array([0, 0, DISTANCE]),
        focal=(FOCAL, FOCAL),
        centre=(SIDE / 2, SIDE / 2),
    )
    return Fit(
        **smal_numbers(plain_fields(read_pickle(path))),
        instance_id=f"{image}#0",
        image_id=image,
        image_path=None,
        image_size=(SIDE, SIDE),
        group=image,
        split=None,
        body="smal",
        camera=camera,
    )
