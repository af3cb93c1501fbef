"""The numbers of SMAL fits by the names that projects give them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets.fits.fields import refuse_unknown
from dp3d_data.datasets.fits.layout import joints, take
from dp3d_data.datasets.fits.records import vector
from dp3d_data.errors import InputCorrupt

# The first name is ours.
POSE = ("pose", "theta")
ROOT_POSE, JOINT_POSE = (
    ("global_rotation", "global_orient", "global_rot"),
    ("joint_rotations", "body_pose", "joint_rot"),
)
BETAS, MORE_BETAS = ("betas", "shape", "beta"), ("shape_extra",)
SCALES = ("joint_scales", "betas_limbs", "betas_logscale", "log_betascale", "log_betascales", "log_beta_scales")
TRANSLATION = ("translation", "trans", "transl")
KNOWN = (*POSE, *ROOT_POSE, *JOINT_POSE, *BETAS, *MORE_BETAS, *SCALES, *TRANSLATION)
SMAL_BETAS, LIMBS = 20, 6


def smal_numbers(fields: Mapping[str, Any], known: Collection[str] = ()) -> dict[str, Any]:
    """pose, betas, translation and joint_scales of a Fit.

    betas of 26 numbers without limb scales beside them are WLDO's: 20 betas, then 6 limb scales.

    Args:
        known: further fields of the layout that look like shape, scale or pose.

    Raises:
        InputCorrupt: a field is missing, stands there under two names, or is not understood.
    """
    refuse_unknown(fields, (*KNOWN, *known))
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
