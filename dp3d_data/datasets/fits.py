"""A fit: pose, shape and camera of a body model that explain one body; and the names that projects give its fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets import BadInstance
from dp3d_data.datasets.annotations import MALFORMED, box_of, size_of_image
from dp3d_data.datasets.images import open_image
from dp3d_data.datasets.locations import read_json
from dp3d_data.errors import Dp3dError, InputCorrupt, ShapeError
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import read_arrays
from dp3d_data.unpickling import Tensor, read_pickle

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
        focal: (fx, fy) pixels, or one number for both; perspective only.
        centre: (cx, cy) pixels: the principal point, or where the orthographic origin falls.
        scale: pixels per metre; orthographic only.
    """

    kind: str
    rotation: Float[np.ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    translation: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    focal: Any = None
    centre: tuple[float, float] = (0.0, 0.0)
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in CAMERA_KINDS:
            raise InputCorrupt("unknown kind of camera", got=repr(self.kind), expected=" or ".join(CAMERA_KINDS))
        _take(self, "rotation", (3, 3))
        _take(self, "translation", (3,))
        object.__setattr__(self, "centre", _numbers("centre", self.centre, 2))
        if self.kind == "perspective":
            single = self.focal is not None and np.size(self.focal) == 1
            focal = np.ravel(self.focal).repeat(2) if single else self.focal
            object.__setattr__(self, "focal", _numbers("focal", focal, 2, positive=True))
        else:
            object.__setattr__(self, "scale", _numbers("scale", (self.scale,), 1, positive=True)[0])
        product = self.rotation @ self.rotation.T
        if np.abs(product - np.eye(3)).max() > ROTATION_TOLERANCE or np.linalg.det(self.rotation) < 0:
            got = self.rotation.tolist()
            raise InputCorrupt("the camera's rotation is none", got=got, expected="orthonormal, determinant 1")


@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """One instance of a dataset of fits.

    Attributes:
        instance_id: unique in the dataset.
        image_id: stable name of the image; instances of one image share it.
        image_path: where the image lies, None where the dataset's images are not at hand.
        image_size: (width, height) pixels, None where nothing says it.
        group: what must stay in one split: sequence, subject, breed; the image where none is given.
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
    image_path: Path | None = None
    image_size: tuple[int, int] | None = None
    group: str = ""
    split: str | None = None
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
        object.__setattr__(self, "group", self.group or self.image_id)
        shapes = {"pose": (-1, 3), "betas": (-1,), "translation": (3,), "joint_scales": (-1,), "labels": (-1, 3)}
        for name, shape in shapes.items():
            if name not in ("joint_scales", "labels") or getattr(self, name) is not None:
                _take(self, name, shape)
        if self.image_size is not None:
            size = size_of_image(*_numbers("image_size", self.image_size, 2))
            object.__setattr__(self, "image_size", size)
        if self.box is not None:
            object.__setattr__(self, "box", box_of(self.box))


def _take(record: Any, name: str, shape: tuple[int, ...]) -> None:
    """Make a field a finite float64 array of a shape; -1 stands for any length."""
    try:
        array = real_numbers(getattr(record, name))
    except (TypeError, ValueError) as error:
        raise InputCorrupt(f"{name} is no array of numbers", got=repr(getattr(record, name))[:80]) from error
    if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
        expected = ["any" if n < 0 else n for n in shape]
        raise ShapeError(f"{name} has another shape", got=list(array.shape), expected=expected)
    if not np.isfinite(array).all():
        raise InputCorrupt(f"{name} holds NaN or infinity")
    object.__setattr__(record, name, array)


def real_numbers(values: Any) -> np.ndarray:
    """An array of float64, of nothing but real numbers."""
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


def attempt(
    instance_id: str, image_id: str, path: Path, build: Callable[..., Fit], *arguments: Any
) -> Fit | BadInstance:
    """The fit that `build` makes of the arguments and the two names, or why it makes none."""
    try:
        return build(*arguments, instance_id=instance_id, image_id=image_id)
    except (Dp3dError, *MALFORMED) as error:
        return failure(instance_id, image_id, path, error)


def failure(instance_id: str, image_id: str, path: Path, error: Exception) -> BadInstance:
    """A fit that cannot be used; its error is one of ours, without the frames that it came through."""
    if not isinstance(error, Dp3dError):
        error = InputCorrupt(f"not the fields expected: {error!r}"[:200])
    return BadInstance(instance_id, copy(error), image_id, path)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image from its header, before EXIF's rotation.

    Raises:
        InputMissing: no such file.
        InputCorrupt: no image, one of too many pixels, or a pointer in its place.
    """
    with open_image(path) as image:
        return image.size


PREFIX = "camera_"
EXPECTED = "kind, rotation, translation, and focal with centre (perspective) or scale with centre (orthographic)"
HINT = (
    "a network's own camera belongs to the crop it saw: write a camera of the photograph, or read WLDO's files:"
    " --dataset wldo"
)
# What a field is called that changes the surface or its place; one so called that no reader knows is never left out.
SHAPING = re.compile(
    r"pose|theta|(?<![a-z])rot|orient|beta|shape|scal|trans|limb|bone|deform|offset|del_?v|delta|displace|quat|euler"
    r"|axis_?angle|personal|stretch",
    re.IGNORECASE,
)
# The first name is ours.
POSE = ("pose", "theta")
ROOT_POSE = ("global_rotation", "global_orient", "global_rot")
JOINT_POSE = ("joint_rotations", "body_pose", "joint_rot")
BETAS, MORE_BETAS = ("betas", "shape", "beta"), ("shape_extra",)
SCALES = ("joint_scales", "betas_limbs", "betas_logscale", "log_betascale", "log_betascales", "log_beta_scales")
TRANSLATION = ("translation", "trans", "transl")
KNOWN = (*POSE, *ROOT_POSE, *JOINT_POSE, *BETAS, *MORE_BETAS, *SCALES, *TRANSLATION)
SMAL_BETAS, LIMBS = 20, 6
CAMERA = ("kind", "rotation", "translation", "focal", "centre", "scale")


def refuse_unknown(fields: Any, known: Collection[str]) -> None:
    """Refuse a record with a field that by its name is pose, shape, scale or place, and is not one of those known.

    Raises:
        InputCorrupt: there is such a field, other than None.
    """
    names = [str(name) for name, value in fields.items() if value is not None] if isinstance(fields, Mapping) else []
    unknown = sorted(name for name in {*names} - {*known} if SHAPING.search(name) and not name.startswith("has_"))
    if unknown:
        what, got = "fields that look like shape, scale or pose and are not understood", ", ".join(unknown)[:200]
        raise InputCorrupt(what, got=got, expected=", ".join(sorted(known)))


def fit_camera(fields: Mapping[str, Any]) -> FitCamera:
    """The camera in `camera`; without rotation and translation the fit's world is the camera's frame.

    Raises:
        InputCorrupt: no camera, or numbers that make none.
    """
    camera = fields.get("camera")
    if not isinstance(camera, Mapping):
        got = "none" if camera is None else f"{np.size(camera)} numbers without names"
        raise InputCorrupt("no camera with named fields", got=got, expected=EXPECTED, hint=HINT)
    unknown = sorted(str(name) for name, value in camera.items() if value is not None and name not in CAMERA)
    if unknown:
        got = ", ".join(unknown)[:200]
        raise InputCorrupt("fields of a camera that are not understood", got=got, expected=", ".join(CAMERA))
    kind, focal, scale = camera.get("kind"), camera.get("focal"), camera.get("scale")
    if kind is None or camera.get("centre") is None:
        got = ", ".join(map(str, sorted(camera)))
        raise InputCorrupt("the camera lacks kind or centre", got=got, expected=EXPECTED)
    return FitCamera(
        str(kind),
        camera.get("rotation", np.eye(3)),
        np.ravel(camera.get("translation", np.zeros(3))),
        focal=None if focal is None else np.ravel(focal),
        centre=tuple(np.ravel(camera["centre"])),
        scale=None if scale is None else one_number("scale", scale),
    )


def smal_numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """pose, betas, translation and joint_scales of a Fit.

    betas of 26 numbers without limb scales beside them are WLDO's: 20 betas, then 6 limb scales.

    Raises:
        InputCorrupt: a field is missing, stands there under two names, or is not understood.
    """
    refuse_unknown(fields, KNOWN)
    betas = vector("betas", _only(fields, BETAS))
    scales = vector("limb scales", _only(fields, SCALES)) if _given(fields, SCALES) else None
    if scales is not None and len(scales) < LIMBS:
        raise InputCorrupt("limb scales of another number", got=len(scales), expected=f"{LIMBS} or more")
    if _given(fields, MORE_BETAS):
        betas = np.concatenate([betas, vector("more betas", _only(fields, MORE_BETAS))])
    elif scales is None and len(betas) == SMAL_BETAS + LIMBS:
        betas, scales = betas[:SMAL_BETAS], betas[SMAL_BETAS:]
    return {
        "pose": _pose(fields),
        "betas": betas,
        "translation": vector("translation", _only(fields, TRANSLATION)),
        "joint_scales": scales,
    }


def _pose(fields: Mapping[str, Any]) -> Float[np.ndarray, "joints 3"]:
    if not _given(fields, (*ROOT_POSE, *JOINT_POSE)):
        return joints(_only(fields, POSE))
    if _given(fields, POSE):
        raise InputCorrupt("two poses", got=", ".join(_given(fields, (*POSE, *ROOT_POSE, *JOINT_POSE))), expected="one")
    return np.concatenate([joints(_only(fields, ROOT_POSE)), joints(_only(fields, JOINT_POSE))])


def _given(fields: Mapping[str, Any], names: Collection[str]) -> list[str]:
    return [name for name in names if fields.get(name) is not None]


def _only(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The field that goes by one of these names, and by one alone."""
    given = _given(fields, names)
    if len(given) > 1:
        raise InputCorrupt("one thing under two names", got=", ".join(given), expected=f"one of {', '.join(names)}")
    return take(fields, *names)


def read_fields(path: Path) -> dict[str, Any]:
    """The named numbers of a .pkl, .json or .npz (without object arrays); `camera_kind`, `camera_focal`, ... stand in
    `camera`, tensors are arrays.

    Raises:
        InputMissing, InputCorrupt, UnsafePickle, CheckpointError: no such file, or none of named numbers.
    """
    require_no_pointer(path)
    if path.suffix == ".npz":
        arrays = read_arrays(path, what="the file cannot be read")
        fields: Any = {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}
    else:
        fields = read_json(path, "named numbers of a fit") if path.suffix == ".json" else read_pickle(path)
    if not isinstance(fields, Mapping):
        raise InputCorrupt("not a record with named fields", got=type(fields).__name__)
    fields = {str(name): one.array() if isinstance(one, Tensor) else one for name, one in fields.items()}
    flat = {name.removeprefix(PREFIX): one for name, one in fields.items() if name.startswith(PREFIX)}
    plain = {name: one for name, one in fields.items() if not name.startswith(PREFIX)}
    return plain | ({"camera": flat} if flat else {})


def take(fields: Any, *names: str) -> Any:
    """The field that goes by the first of these names.

    Raises:
        InputCorrupt: no mapping, or none of the names is in it.
    """
    if not isinstance(fields, Mapping):
        raise InputCorrupt("not a record with named fields", got=type(fields).__name__, expected=", ".join(names))
    for name in names:
        if fields.get(name) is not None:
            return fields[name]
    got = ", ".join(map(str, sorted(fields, key=str)[:20]))
    raise InputCorrupt(f"no field {names[0]!r}", got=got, expected=" or ".join(names))


def joints(pose: Any) -> Float[np.ndarray, "joints 3"]:
    """A pose of axis-angles, flat or in rows, as [J, 3].

    Raises:
        InputCorrupt: its length is no multiple of three, or it holds rotation matrices.
    """
    array = real_numbers(pose)
    matrices = array.ndim > 2 and array.shape[-2:] == (3, 3)
    if matrices or array.size == 0 or array.size % 3 or (array.ndim > 1 and array.shape[-1] != 3):
        raise InputCorrupt("pose is no list of axis-angles", got=list(array.shape), expected="3 numbers a joint")
    return array.reshape(-1, 3)
