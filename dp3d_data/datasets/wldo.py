"""WLDO: one npz a photograph as its regressor writes it; the mirror image of a dog in a square crop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.fits import (
    LIMBS,
    SMAL_BETAS,
    Fit,
    FitCamera,
    FitFailure,
    attempt,
    plain_fields,
    read_fields,
    smal_numbers,
    take,
    vector,
)
from dp3d_data.datasets.locations import wrong_tree
from dp3d_data.errors import InputCorrupt, ShapeError

EXPECTED = "BREED_NAME.npz with imgname, pose, betas, camera and trans, in this folder"
HINT = "the folder that wldo_regressor/demo.py or eval.py wrote its results into"
# All results of a run in one file, without trans: what it holds stands in the others.
SUMMARY = "params.npz"
SIDE, FOCAL, DEPTH = 224, 2700.0, 20.0


class Wldo(Dataset):
    """The results of demo.py or eval.py: imgname, pose [105], betas (20, then 6 limb scales), camera [3], trans [3].

    In the crop of 224 pixels, with f = 2700 (1 + camera[0]) and Z = 20 + z, px = 112 + f x / Z and py = 112 - f y / Z:
    x right, y up and z away are a left-handed frame, so the network's dog is the mirror image of the photograph's.
    """

    name = "wldo"

    def fits(self) -> Iterator[Fit | FitFailure]:
        """Every file in the order of the names; one that cannot be read is a failure."""
        root = self.root(EXPECTED)
        paths = sorted(path for path in root.glob("*.npz") if path.name != SUMMARY)
        if not paths:
            raise wrong_tree(root, EXPECTED, HINT)
        for path in paths:
            yield attempt(f"{path.stem}#0", path.stem, path, _fit, path)


def _fit(path: Path) -> Fit:
    fields = plain_fields(read_fields(path))
    betas = vector("betas", take(fields, "betas"))
    if len(betas) != SMAL_BETAS and len(betas) < SMAL_BETAS + LIMBS:
        expected = f"{SMAL_BETAS}, or {SMAL_BETAS + LIMBS} and more"
        raise ShapeError("betas of another number", got=len(betas), expected=expected)
    photograph = PurePosixPath(str(fields.get("imgname", "")).replace("\\", "/"))
    # The renderer takes the first six limb scales; numbers behind them move nothing.
    numbers = smal_numbers(fields | {"betas": betas[: SMAL_BETAS + LIMBS]})
    return Fit(
        **numbers,
        instance_id=f"{path.stem}#0",
        image_id=path.stem,
        image_path=None,
        image_size=(SIDE, SIDE),
        group=photograph.parent.name or path.stem,  # the breed's folder: .../n02085620-Chihuahua/n02085620_1152.jpg
        split=None,
        body="smal",
        camera=_camera(take(fields, "camera")),
        mirrored=True,
    )


def _camera(numbers: Any) -> FitCamera:
    values = np.ravel(np.asarray(numbers, dtype=np.float64))
    if len(values) != 3 or not np.allclose(values[1:], SIDE / 2):
        expected = f"3 numbers: the scale of the focal length, then {SIDE / 2:g} twice, the middle of the crop"
        raise InputCorrupt("not the camera of WLDO", got=values[:8].tolist(), expected=expected)
    focal = FOCAL * (1 + values[0])
    return FitCamera(
        "perspective", np.eye(3), np.array([0, 0, DEPTH]), focal=(focal, focal), centre=(SIDE / 2, SIDE / 2)
    )
