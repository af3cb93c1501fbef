"""Animal3D, and CtrlAni3D of AniMer in the same form: one json a split, SMAL's numbers of each animal in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import corners, size_of_image
from dp3d_data.datasets.fits import (
    Fit,
    FitCamera,
    FitFailure,
    attempt,
    fit_camera,
    one_number,
    picture_size,
    smal_numbers,
    take,
)
from dp3d_data.datasets.locations import SPLITS, below, existing, read_json, wrong_tree
from dp3d_data.errors import InputCorrupt, InputMissing

EXPECTED = 'train.json or test.json with {"data": [{"img_path", "pose", "shape", "trans", ...}]}, beside images/'
HINT = "Animal3D comes from its authors: https://xujiacong.github.io/Animal3D; CtrlAni3D from AniMer's"
FOCAL = 1000.0
# How far the dataset's own projection of its own points may lie from the camera found, pixels.
TOLERANCE = 2.0


class Animal3D(Dataset):
    """Json files as both projects publish them: a list `data`, and the focal length `flength`, 1000 where there is
    none.

    An animal has img_path, mask_path, bbox [x, y, width, height], pose [105], shape [20], shape_extra [21] and trans
    [3] in the camera's frame. Where it has keypoint_3d and reproj_kp_2d, the camera is the one that brings the first to
    the second; otherwise its principal point is the middle of the image, whose size stands in height and width or in
    the image itself.
    """

    name = "animal3d"

    def fits(self) -> Iterator[Fit | FitFailure]:
        """Every animal: files by name, then as the file has them; one with missing or strange fields is a failure."""
        root = self.root(EXPECTED)
        paths = [root] if root.is_file() else sorted(root.glob("*.json"))
        files = [(path, content) for path in paths if isinstance((content := read_json(path, EXPECTED, HINT)), dict)]
        files = [(path, content) for path, content in files if isinstance(content.get("data"), list)]
        if not files:
            raise wrong_tree(root, EXPECTED, HINT)
        seen: Counter[str] = Counter()
        for path, content in files:
            focal = content.get("flength", FOCAL)
            for number, fields in enumerate(content["data"]):
                named = fields.get("img_path") if isinstance(fields, dict) else None
                image = str(named or f"{path.name}-{number}")
                identity, split = f"{image}#{seen[image]}", path.stem if path.stem in SPLITS else None
                seen[image] += 1
                known = {"instance_id": identity, "image_id": image, "split": split}
                yield attempt(identity, image, path, _fit, fields, known, path.parent, focal)


def _fit(fields: dict[str, Any], known: dict[str, Any], folder: Path, focal: Any) -> Fit:
    image = below(folder, str(take(fields, "img_path")))
    numbers = smal_numbers(fields)
    size = _size(fields, image)
    return Fit(
        **known,
        **numbers,
        image_path=existing(image),
        image_size=size,
        group=PurePosixPath(known["image_id"]).parent.as_posix(),
        body="smal",
        camera=_camera(fields, one_number("flength", focal), numbers["translation"], size),
        box=None if fields.get("bbox") is None else corners(fields["bbox"]),
        mask_path=existing(below(folder, str(fields["mask_path"]))) if fields.get("mask_path") else None,
    )


def _size(fields: dict[str, Any], image: Path) -> tuple[int, int] | None:
    if fields.get("width") is not None and fields.get("height") is not None:
        return size_of_image(fields["width"], fields["height"])
    return picture_size(image) if image.is_file() else None


def _camera(fields: dict[str, Any], focal: float, translation: np.ndarray, size: tuple[int, int] | None) -> FitCamera:
    if fields.get("camera") is not None:
        return fit_camera(fields)
    own = _own_camera(fields, focal, translation)
    if own is not None:
        return own
    if size is None:
        expected = "reproj_kp_2d with keypoint_3d, or height and width, or the image beside the json"
        raise InputMissing("nothing says where the camera looks", got="no camera in the file", expected=expected)
    return FitCamera("perspective", np.eye(3), np.zeros(3), focal=(focal, focal), centre=(size[0] / 2, size[1] / 2))


def _own_camera(fields: dict[str, Any], focal: float, translation: np.ndarray) -> FitCamera | None:
    """The camera without rotation that brings keypoint_3d, or keypoint_3d + trans, to reproj_kp_2d; None without them.

    The image may have been resized or cut before the fit: the pixels are scale * focal * (x, y) / z + centre.

    Raises:
        InputCorrupt: no such camera does.
    """
    if fields.get("reproj_kp_2d") is None or fields.get("keypoint_3d") is None:
        return None
    pixels = np.asarray(fields["reproj_kp_2d"], dtype=np.float64)[:, :2]
    points = np.asarray(fields["keypoint_3d"], dtype=np.float64)[:, :3]
    if len(points) < 4 or not np.ptp(points, axis=0).all():
        return None
    found = [_solved(points + shift, pixels, focal) for shift in (np.zeros(3), np.asarray(translation))]
    error, scale, centre = min(found)
    if not error <= TOLERANCE:
        got, expected = f"{error:.1f} pixels off", f"at most {TOLERANCE:g} pixels from reproj_kp_2d"
        what = "keypoint_3d and reproj_kp_2d belong to no camera of this focal length"
        raise InputCorrupt(what, got=got, expected=expected)
    return FitCamera("perspective", np.eye(3), np.zeros(3), focal=(scale * focal, scale * focal), centre=centre)


def _solved(points: np.ndarray, pixels: np.ndarray, focal: float) -> tuple[float, float, tuple[float, float]]:
    """Largest error in pixels, scale and centre of the best camera; the error is infinite where points lie behind
    it."""
    if not (points[:, 2] > 0).all():
        return np.inf, 1.0, (0.0, 0.0)
    seen = focal * points[:, :2] / points[:, 2:]
    middle, target = seen.mean(axis=0), pixels.mean(axis=0)
    scale = float(((seen - middle) * (pixels - target)).sum() / ((seen - middle) ** 2).sum())
    centre = target - scale * middle
    error = float(np.abs(scale * seen + centre - pixels).max()) if scale > 0 else np.inf
    return error, scale, (float(centre[0]), float(centre[1]))
