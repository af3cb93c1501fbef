"""UP-3D: one numbered photograph a person, lists of the split, and a pickle of pose, shape and camera, made on a crop
of the photograph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import reading
from dp3d_data.datasets.fits import (
    Fit,
    FitCamera,
    FitFailure,
    attempt,
    joints,
    one_number,
    picture_size,
    refuse_unknown,
    take,
    vector,
)
from dp3d_data.datasets.locations import split_lists, subfolder, wrong_tree
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.files import DAMAGE, read_text, require_no_pointer
from dp3d_data.records import ImageRecord
from dp3d_data.unpickling import read_pickle

IMAGES = "NNNNN_image.png and train.txt, val.txt, test.txt, in this folder or in up-3d/ below it"
FITS = "NNNNN_body.pkl and NNNNN_image.png, in this folder or in up-3d/ below it"
HINT = "UP-3D comes from its authors: https://files.is.tue.mpg.de/classner/up"
IMAGE, FIT = "_image.png", "_body.pkl"
CROP = "h w y1 y2 x1 x2: six integers, the size of the resized crop and its place in the image"
# The authors' order of SMPL's joints under the labelled ones: ankles, knees, hips, then wrists, elbows, shoulders.
LABELLED_JOINTS = (8, 5, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20)


class Up3d(Dataset):
    """The folder `up-3d` of the archive, or the one above it; each photograph is its own group.

    NNNNN_image.png, NNNNN_body.pkl, NNNNN_fit_crop_info.txt, and the lists train.txt, val.txt, trainval.txt and
    test.txt; what stands in trainval.txt alone is train. A pickle holds pose [72], betas [10], trans [3], and of the
    camera rt [3] (axis-angle), t [3] and f (pixels), all of a resized crop of the image. Where they are there,
    NNNNN_joints.npy (labelled joints), NNNNN_dataset_info.txt and NNNNN_quality_info.txt are read, too.
    """

    name = "up3d"

    def records(self) -> list[ImageRecord]:
        """Every NNNNN_image.png by name."""
        folder = subfolder(self.root(IMAGES), "up-3d")
        names, splits = sorted(path.name for path in folder.glob(f"*{IMAGE}")), official_splits(folder)
        if not names:
            raise wrong_tree(folder, IMAGES, HINT, "no UP-3D here")
        return [ImageRecord(name, str(folder / name), self.name, group=name, split=splits.get(name)) for name in names]

    def fits(self) -> Iterator[Fit | FitFailure]:
        """Every fit in the order of the files' names; one whose pickle, image or crop cannot be read is a failure."""
        folder = subfolder(self.root(FITS), "up-3d")
        paths = sorted(folder.glob(f"*{FIT}"))
        if not paths:
            raise wrong_tree(folder, FITS, HINT)
        splits = official_splits(folder)
        for path in paths:
            image = path.with_name(path.name.removesuffix(FIT) + IMAGE)
            yield attempt(f"{image.name}#0", image.name, path, _fit, path, image, splits)


def official_splits(folder: Path) -> dict[str, str]:
    """Image -> train, val or test; what stands in trainval.txt alone is train."""
    return dict.fromkeys(split_lists(folder, ("trainval",)), "train") | split_lists(folder)


def _fit(path: Path, image: Path, splits: dict[str, str]) -> Fit:
    fields = read_pickle(path)
    refuse_unknown(fields, ("pose", "betas", "trans", "rt", "t", "f"))
    size = picture_size(image)
    return Fit(
        instance_id=f"{image.name}#0",
        image_id=image.name,
        image_path=image,
        image_size=size,
        group=image.name,
        split=splits.get(image.name),
        body="smpl",
        pose=joints(take(fields, "pose")),
        betas=vector("betas", take(fields, "betas")),
        translation=vector("trans", take(fields, "trans")),
        camera=_camera(fields, _crop(_beside(path, "_fit_crop_info.txt"), size)),
        labels=_labels(_beside(path, "_joints.npy")),
        source_dataset=_line(_beside(path, "_dataset_info.txt")),
        source_quality=_line(_beside(path, "_quality_info.txt")),
    )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name.removesuffix(FIT) + ending)


def _crop(path: Path, size: tuple[int, int]) -> tuple[int, int, int, int, int, int]:
    """h, w of the resized crop; y1, y2, x1, x2 of the crop in the image.

    Raises:
        InputMissing: no such file: without it nobody knows what part of the image was fitted.
        InputCorrupt: other than six integers, or no box in an image of this size.
    """
    if not path.is_file():
        raise InputMissing("no crop of the fit", got="no " + path.name, expected=CROP, path=path)
    require_no_pointer(path)
    words = read_text(path, errors="replace").split()
    try:
        height, width, top, bottom, left, right = map(int, words)
    except ValueError as error:
        raise InputCorrupt("not the crop of a fit", got=" ".join(words)[:80], expected=CROP, path=path) from error
    if min(height, width) <= 0 or not (0 <= top < bottom <= size[1] and 0 <= left < right <= size[0]):
        expected = f"sizes above 0, y1 < y2 and x1 < x2 inside {size[0]} x {size[1]} pixels"
        raise InputCorrupt("not a crop of this image", got=" ".join(words), expected=expected, path=path)
    return height, width, top, bottom, left, right


def _camera(fields: dict[str, Any], crop: tuple[int, int, int, int, int, int]) -> FitCamera:
    """The camera of the image: the middle of the crop, and the focal length of the resized crop scaled to the image."""
    from scipy.spatial.transform import Rotation

    height, width, top, bottom, left, right = crop
    focal = one_number("f", take(fields, "f"))
    return FitCamera(
        "perspective",
        Rotation.from_rotvec(np.asarray(take(fields, "rt"), dtype=np.float64).reshape(3)).as_matrix(),
        vector("t", take(fields, "t")),
        focal=((right - left) / width * focal, (bottom - top) / height * focal),
        centre=((left + right) / 2, (top + bottom) / 2),
    )


def _labels(path: Path) -> Float[np.ndarray, "joints 3"] | None:
    """The labelled joints as (joint of SMPL, x, y) in the image, those that were seen; None without a file.

    Raises:
        InputCorrupt: no array of two or three rows and at least twelve columns.
    """
    if not path.is_file():
        return None
    require_no_pointer(path)
    with reading("not an array of joints", "[2 or 3, 14]", path=path, errors=DAMAGE):
        array = np.load(path, allow_pickle=False).astype(np.float64)
    if array.ndim != 2 or len(array) not in (2, 3) or array.shape[1] < len(LABELLED_JOINTS):
        raise InputCorrupt("not an array of joints", got=list(array.shape), expected="[2 or 3, 14]", path=path)
    marked = array[:, : len(LABELLED_JOINTS)].T
    seen = (np.isfinite(marked) & (marked > 0)).all(axis=1)
    return np.column_stack([LABELLED_JOINTS, marked[:, :2]])[seen]


def _line(path: Path) -> str | None:
    """The text of a small file in one line; None without one or where it is empty."""
    if not path.is_file():
        return None
    return " ".join(read_text(path, errors="replace").split())[:200] or None
