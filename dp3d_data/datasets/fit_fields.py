"""The fields of fits by the names that projects give them: numbers of a body, a camera; and those that nobody
understands."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets.fits import FitCamera, one_number, real_numbers, vector
from dp3d_data.datasets.trees import read_json
from dp3d_data.errors import InputCorrupt
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import read_arrays
from dp3d_data.unpickling import Tensor, read_pickle

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
    strange = sorted(
        name for name in names if SHAPING.search(name) and name not in known and not name.startswith("has_")
    )
    if strange:
        got = ", ".join(strange)[:200]
        what = "fields that look like shape, scale or pose and are not understood"
        raise InputCorrupt(what, got=got, expected=", ".join(sorted(known)))


def plain_fields(fields: Any) -> dict[str, Any]:
    """The fields with `camera_kind`, `camera_focal`, ... gathered in `camera`, and tensors as arrays.

    Raises:
        InputCorrupt: no mapping.
    """
    if not isinstance(fields, Mapping):
        raise InputCorrupt("not a record with named fields", got=type(fields).__name__)
    fields = {name: value.array() if isinstance(value, Tensor) else value for name, value in fields.items()}
    flat = {str(name).removeprefix(PREFIX): value for name, value in fields.items() if str(name).startswith(PREFIX)}
    plain = {str(name): value for name, value in fields.items() if not str(name).startswith(PREFIX)}
    return plain | ({"camera": flat} if flat else {})


def fit_camera(fields: Mapping[str, Any]) -> FitCamera:
    """The camera in `camera`; without rotation and translation the fit's world is the camera's frame.

    Raises:
        InputCorrupt: no camera, or numbers that make none.
    """
    camera = fields.get("camera")
    if not isinstance(camera, Mapping):
        got = "none" if camera is None else f"{np.size(camera)} numbers without names"
        raise InputCorrupt("no camera with named fields", got=got, expected=EXPECTED, hint=HINT)
    strange = sorted(str(name) for name, value in camera.items() if value is not None and name not in CAMERA)
    if strange:
        got = ", ".join(strange)[:200]
        raise InputCorrupt("fields of a camera that are not understood", got=got, expected=", ".join(CAMERA))
    kind = camera.get("kind")
    if kind is None or camera.get("centre") is None:
        raise InputCorrupt(
            "the camera lacks kind or centre", got=", ".join(map(str, sorted(camera))), expected=EXPECTED
        )
    focal, scale = camera.get("focal"), camera.get("scale")
    return FitCamera(
        str(kind),
        camera.get("rotation", np.eye(3)),
        np.ravel(camera.get("translation", np.zeros(3))),
        focal=(
            None
            if focal is None
            else tuple(np.broadcast_to(np.ravel(focal), 2) if np.size(focal) == 1 else np.ravel(focal))
        ),
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
    """The root's axis-angle first: in one field, or root and joints in two."""
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


def read_fields(path: Path) -> Any:
    """The named numbers of a .pkl, .json or .npz, of the last without object arrays.

    Raises:
        InputMissing, InputCorrupt, UnsafePickle, CheckpointError: no such file, or none of arrays.
    """
    require_no_pointer(path)
    if path.suffix == ".pkl":
        return read_pickle(path)
    if path.suffix == ".json":
        return read_json(path, "named numbers of a fit")
    arrays = read_arrays(path, what="the file cannot be read")
    return {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}


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
    raise InputCorrupt(
        f"no field {names[0]!r}", got=", ".join(map(str, sorted(fields, key=str)[:20])), expected=" or ".join(names)
    )


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


def axis_angle(vector: Any) -> Float[np.ndarray, "3 3"]:
    """The rotation about a vector by its length in radians (Rodrigues)."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(np.asarray(vector, dtype=np.float64).reshape(3)).as_matrix()
