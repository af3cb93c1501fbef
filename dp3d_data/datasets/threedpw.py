"""3DPW: one folder of frames a sequence, and one pickle with its people and a camera that moves; the pickles' folders
tell the split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import MALFORMED
from dp3d_data.datasets.fits import (
    Fit,
    FitCamera,
    FitFailure,
    attempt,
    failure,
    joints,
    picture_size,
    refuse_unknown,
    take,
)
from dp3d_data.datasets.folder import names_below
from dp3d_data.datasets.locations import existing, subfolder, wrong_tree
from dp3d_data.errors import Dp3dError, InputCorrupt
from dp3d_data.records import ImageRecord
from dp3d_data.unpickling import read_pickle

EXPECTED = "sequenceFiles/train/NAME.pkl (also validation, test) beside imageFiles/NAME/image_00000.jpg"
HINT = "3DPW comes from its authors: https://virtualhumans.mpi-inf.mpg.de/3DPW"
GENDERS = {"m": "smpl-male", "f": "smpl-female"}
BETAS = 10
# The authors' fields that look like shape or pose. Of the clothed surfaces and the 60 Hz of the sensors nothing is
# used.
USED = ("poses", "trans", "betas", "cam_poses", "campose_valid")
UNUSED = ("poses_60Hz", "trans_60Hz", "poses2d", "poses2D", "betas_clothed", "v_template_clothed")
SPLITS = {"test": "test", "train": "train", "validation": "val"}


class ThreeDPW(Dataset):
    """The archive's `imageFiles`; the group of an image is its sequence, its split that of the sequence's file, which
    is not opened.

    A pickle holds, a list entry for each person, poses [N, 72], trans [N, 3], betas [10 or more], genders "m" or "f",
    campose_valid [N]; and for the sequence cam_poses [N, 4, 4] (camera from world), cam_intrinsics [3, 3], sequence.
    N counts image frames; poses_60Hz and the like are not used.
    """

    name = "3dpw"

    def records(self) -> list[ImageRecord]:
        """Every image by sequence and frame."""
        root = self.root(EXPECTED)
        folder = subfolder(root, "imageFiles")
        names = [name for name in names_below(folder) if name.count("/") == 1]
        if not names:
            raise wrong_tree(root, EXPECTED, HINT, "no 3DPW here")
        splits = {name: split for name, split, _ in sequences(folder.parent)}
        pairs = [(name, name.partition("/")[0]) for name in names]
        return [ImageRecord(name, str(folder / name), self.name, group, splits.get(group)) for name, group in pairs]

    def fits(self) -> Iterator[Fit | FitFailure]:
        """Every person of every frame: sequences by name, then people, then frames.

        A sequence that cannot be read is one failure; a frame whose camera is marked as not aligned is one, too.
        """
        root = self.root(EXPECTED)
        paths = sequences(root)
        if not paths:
            raise wrong_tree(root, EXPECTED, HINT)
        for name, split, path in paths:
            yield from _sequence(root, name, split, path)


def sequences(root: Path) -> list[tuple[str, str, Path]]:
    """Name, split and file of every sequence, by name."""
    paths = [(folder, path) for folder in SPLITS for path in (root / "sequenceFiles" / folder).glob("*.pkl")]
    return sorted((path.stem, SPLITS[folder], path) for folder, path in paths)


def _sequence(root: Path, name: str, split: str, path: Path) -> Iterator[Fit | FitFailure]:
    try:
        fields = read_pickle(path)
        refuse_unknown(fields, (*USED, *UNUSED))
        people, frames = len(take(fields, "poses")), len(take(fields, "cam_poses"))
        first = min((root / "imageFiles" / name).glob("*.jpg"), default=None)
        size = None if first is None else picture_size(first)  # all images of a sequence are of one size
    except (Dp3dError, *MALFORMED) as error:
        yield failure(name, name, path, error)
        return
    for person in range(people):
        for frame in range(frames):
            image = f"{name}/image_{frame:05d}.jpg"
            known: dict[str, Any] = {"instance_id": f"{image}#{person}", "image_id": image}
            known |= {"image_path": existing(root / "imageFiles" / image), "image_size": size}
            known |= {"group": name, "split": split}
            yield attempt(known["instance_id"], image, path, _fit, fields, person, frame, known)


def _fit(fields: dict[str, Any], person: int, frame: int, known: dict[str, Any]) -> Fit:
    if not np.asarray(take(fields, "campose_valid")[person])[frame]:
        raise InputCorrupt("the camera is marked as not aligned in this frame (campose_valid)")
    gender = str(take(fields, "genders")[person])
    if gender not in GENDERS:
        raise InputCorrupt("unknown gender", got=repr(gender), expected=" or ".join(GENDERS))
    pose = np.asarray(take(fields, "cam_poses")[frame], dtype=np.float64)
    inner = np.asarray(take(fields, "cam_intrinsics"), dtype=np.float64)
    focal = inner[0, 0], inner[1, 1]
    return Fit(
        **known,
        body=GENDERS[gender],
        pose=joints(take(fields, "poses")[person][frame]),
        betas=_trimmed(take(fields, "betas")[person]),
        translation=take(fields, "trans")[person][frame],
        camera=FitCamera("perspective", pose[:3, :3], pose[:3, 3], focal=focal, centre=(inner[0, 2], inner[1, 2])),
    )


def _trimmed(betas: Any) -> np.ndarray:
    """The first ten, and what stands behind them up to the last that is not 0: some sequences hold 300, 290 of them
    0."""
    values = np.ravel(np.asarray(betas, dtype=np.float64))
    used = np.flatnonzero(values)
    return values[: max(BETAS, used[-1] + 1 if len(used) else 0)]
