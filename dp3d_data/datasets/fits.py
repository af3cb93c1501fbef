"""A fit: the pose, shape and camera with which a body model explains one animal or person in one image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets.annotations import MALFORMED, size_of_image
from dp3d_data.datasets.images import open_image
from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing, ShapeError
from dp3d_data.files import require_no_pointer

CAMERA_KINDS = ("perspective", "orthographic")
# How far a camera's rotation may be from orthonormal: published files hold float32.
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class FitCamera:
    """From the fit's world (metres) to pixels: X = rotation @ x + translation, x right, y down, z away from the viewer.

    Perspective: pixel = focal * X[:2] / X[2] + centre. Orthographic: pixel = scale * X[:2] + centre.
    Pixels as everywhere: x right, y down, the top left pixel has its centre at (0.5, 0.5).

    Attributes:
        kind: "perspective" or "orthographic".
        rotation: [3, 3] camera_from_world, a proper rotation.
        translation: [3] metres.
        focal: (fx, fy) pixels; perspective only.
        centre: (cx, cy) pixels: the principal point, or where the orthographic origin falls.
        scale: pixels per metre; orthographic only.
    """

    kind: str
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    focal: tuple[float, float] | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in CAMERA_KINDS:
            raise InputCorrupt("unknown kind of camera", got=repr(self.kind), expected=" or ".join(CAMERA_KINDS))
        _take(self, "rotation", (3, 3))
        _take(self, "translation", (3,))
        object.__setattr__(self, "centre", _numbers("centre", self.centre, 2))
        if self.kind == "perspective":
            object.__setattr__(self, "focal", _numbers("focal", self.focal, 2, positive=True))
        else:
            object.__setattr__(self, "scale", _numbers("scale", (self.scale,), 1, positive=True)[0])
        product = self.rotation @ self.rotation.T
        if np.abs(product - np.eye(3)).max() > ROTATION_TOLERANCE or np.linalg.det(self.rotation) < 0:
            raise InputCorrupt(
                "the camera's rotation is none", got=self.rotation.tolist(), expected="orthonormal, determinant 1"
            )


@dataclass(frozen=True, eq=False)
class Fit:
    """One instance of a dataset of fits.

    Attributes:
        instance_id: unique in the dataset.
        image_id: stable name of the image; instances of one image share it.
        image_path: where the image lies, None where the dataset's images are not at hand.
        image_size: (width, height) pixels, None where nothing says it.
        group: what must stay on one side of a split: sequence, subject, breed.
        split: the dataset's own split, None without.
        body: model that the numbers belong to: "smpl", "smpl-male", "smpl-female", "smal".
        pose: [J, 3] axis-angle, radians, the root's first.
        betas: [B] shape coefficients.
        translation: [3] added to every vertex of the posed model, metres, in the fit's world.
        joint_scales: [L] logarithms of the limb scales of a dog model, None without.
        camera: from that world to the image.
        box: xyxy in image pixels, None where only the projection says it.
        mask_path: the instance's mask, None without.
        mesh_path: an .obj of the posed surface in the body's own order of vertices, in place of pose, betas and limb
            scales, which are empty then; None without.
        mirrored: the numbers describe the mirror image of what is seen: left and right of the body swap, and y of the
            posed surface, translation included, changes its sign.
        labels: [n, 3] of (joint, x, y), joints of the body that somebody marked in the image, pixels; None without.
        source_dataset, source_quality: what the dataset says of where the image comes from, and of the fit.
    """

    instance_id: str
    image_id: str
    image_path: Path | None
    image_size: tuple[int, int] | None
    group: str
    split: str | None
    body: str
    pose: Float[np.ndarray, "joints 3"]
    betas: Float[np.ndarray, "betas"]
    translation: Float[np.ndarray, "3"]
    camera: FitCamera
    joint_scales: Float[np.ndarray, "scales"] | None = None
    box: tuple[float, float, float, float] | None = None
    mask_path: Path | None = None
    mesh_path: Path | None = None
    mirrored: bool = False
    labels: Float[np.ndarray, "n 3"] | None = None
    source_dataset: str | None = None
    source_quality: str | None = None

    def __post_init__(self) -> None:
        _take(self, "pose", (-1, 3))
        _take(self, "betas", (-1,))
        _take(self, "translation", (3,))
        if self.joint_scales is not None:
            _take(self, "joint_scales", (-1,))
        if self.labels is not None:
            _take(self, "labels", (-1, 3))
        if self.image_size is not None:
            size = size_of_image(*_numbers("image_size", self.image_size, 2))
            object.__setattr__(self, "image_size", size)
        if self.box is not None:
            box = _numbers("box", self.box, 4)
            if box[2] <= box[0] or box[3] <= box[1]:
                raise InputCorrupt("not a box", got=box, expected="x0 < x1 and y0 < y1, in image pixels")
            object.__setattr__(self, "box", box)


@dataclass(frozen=True)
class FitFailure:
    """A fit that cannot be used, with what a user needs to find it: a row of the failures table."""

    instance_id: str
    image_id: str
    path: Path
    error: str
    message: str


def _take(record: Any, name: str, shape: tuple[int, ...]) -> None:
    """Make a field a finite float64 array of a shape; -1 stands for any length."""
    try:
        array = real_numbers(getattr(record, name))
    except (TypeError, ValueError) as error:
        raise InputCorrupt(f"{name} is no array of numbers", got=repr(getattr(record, name))[:80]) from error
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        raise ShapeError(
            f"{name} has another shape", got=list(array.shape), expected=["any" if n < 0 else n for n in shape]
        )
    if not np.isfinite(array).all():
        raise InputCorrupt(f"{name} holds NaN or infinity")
    object.__setattr__(record, name, array)


def real_numbers(values: Any) -> np.ndarray:
    """An array of float64.

    Raises:
        TypeError, ValueError: other than real numbers.
    """
    if np.asarray(values).dtype.kind in "bc":
        raise TypeError(f"{np.asarray(values).dtype} in place of real numbers")
    return np.array(values, dtype=np.float64)


def vector(name: str, values: Any) -> np.ndarray:
    """Numbers along one axis; those of several animals are none.

    Raises:
        ShapeError: they lie along more than one.
    """
    array = np.asarray(values)
    if array.size > max(array.shape, default=1):
        raise ShapeError(f"{name} has another shape", got=list(array.shape), expected="numbers of one animal")
    return array.ravel()


def one_number(name: str, value: Any) -> float:
    """A number that may lie in an array of its own.

    Raises:
        InputCorrupt: none, or several.
    """
    numbers = np.ravel(value)
    if numbers.size != 1:
        raise InputCorrupt(f"{name} is not one number", got=numbers.tolist()[:8], expected="one number")
    return float(numbers[0])


def _numbers(name: str, values: Any, count: int, positive: bool = False) -> tuple[float, ...]:
    """That many finite numbers, positive where asked."""
    expected = f"{count} finite {'positive ' if positive else ''}numbers"
    try:
        if isinstance(values, (str, bytes, Mapping)):
            raise TypeError("no list")
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputCorrupt(f"{name} is missing or no number", got=repr(values)[:80], expected=expected) from error
    if len(numbers) != count or not np.isfinite(numbers).all() or (positive and min(numbers) <= 0):
        raise InputCorrupt(f"{name} is out of range", got=numbers, expected=expected)
    return numbers


def attempt(instance_id: str, image_id: str, path: Path, build: Callable[[], Fit]) -> Fit | FitFailure:
    """The fit that `build` makes, or why it makes none."""
    try:
        return build()
    except (Dp3dError, *MALFORMED) as error:
        return failure(instance_id, image_id, path, error)


def failure(instance_id: str, image_id: str, path: Path, error: Exception) -> FitFailure:
    """The row of the failures table for an error."""
    if not isinstance(error, Dp3dError):
        return FitFailure(
            instance_id, image_id, path, InputCorrupt.__name__, f"not the fields expected: {error!r}"[:200]
        )
    got = "" if error.got in (None, "") else f", got {error.got}"
    return FitFailure(instance_id, image_id, path, type(error).__name__, error.what + got)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image from its header, before EXIF's rotation.

    Raises:
        InputMissing: no such file.
        InputCorrupt: no image, one of too many pixels, or a pointer in its place.
    """
    if not path.is_file():
        raise InputMissing("no such image", path=path)
    require_no_pointer(path)
    with open_image(path) as image:
        return image.size
