"""Named fields: a camera, nested as json has it or flat as npz does; and those that nobody understands."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from dp3d_data.datasets.fits.records import FitCamera, one_number
from dp3d_data.errors import InputCorrupt
from dp3d_data.unpickling import Tensor

PREFIX = "camera_"
EXPECTED = "kind, rotation, translation, and focal with centre (perspective) or scale with centre (orthographic)"
HINT = "a network's own camera belongs to the crop it saw: write a camera of the photograph, or read WLDO's files: --dataset wldo"
# What a field is called that changes the surface or its place; one so called that no reader knows is never left out.
SHAPING = re.compile(
    r"pose|theta|(?<![a-z])rot|orient|beta|shape|scal|trans|limb|bone|deform|offset|del_?v|delta|displace|quat|euler"
    r"|axis_?angle|personal|stretch",
    re.IGNORECASE,
)
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
        focal=None
        if focal is None
        else tuple(np.broadcast_to(np.ravel(focal), 2) if np.size(focal) == 1 else np.ravel(focal)),
        centre=tuple(np.ravel(camera["centre"])),
        scale=None if scale is None else one_number("scale", scale),
    )
