"""Posed surfaces as BITE and AniMer write them: an .obj in the camera's frame, and a focal length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import reading
from dp3d_data.datasets.fits import Fit, FitCamera, FitFailure, attempt, one_number, take
from dp3d_data.datasets.locations import read_json, wrong_tree
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.files import DAMAGE, require_no_pointer
from dp3d_data.geometry.mesh_files import read_mesh

EXPECTED = (
    "NAME_res_e300.obj with details/NAME_flength_e300.npy, or NAME.obj with NAME.json or camera.json: focal, image_size"
)
HINT = 'say the focal length of every .obj of a folder in its camera.json: {"focal": 2100, "image_size": [256, 256]}'
# BITE saves a surface now and then, NAME_res_e000.obj, ..._e150.obj, ..._e300.obj, and its start, NAME_res_ainit.obj.
STEP = re.compile(r"(?P<name>.+)_res_(?P<step>e\d+|ainit)")
SIDE = 256
KNOWN = ("focal", "image_size", "centre")
TURNED = np.diag([1.0, -1.0, -1.0])


class PosedMesh(Dataset):
    """A folder of .obj files with the vertices of the body model in its order, and the focal length of each.

    The vertices lie in the camera's frame with the camera at the origin: x right, y down, z away (BITE), or y up and z
    towards the viewer (AniMer, as viewers of meshes have it); the sign of z tells which. The focal length is in pixels
    of the image of that camera: BITE's square crop of 256 pixels, AniMer's whole photograph.
    """

    name = "posed-mesh"

    def fits(self) -> Iterator[Fit | FitFailure]:
        """Every surface in the order of the names, of BITE's steps the last; one that cannot be read is a failure."""
        root = self.root(EXPECTED)
        paths = _last_steps(sorted(root.rglob("*.obj")))
        if not paths:
            raise wrong_tree(root, EXPECTED, HINT)
        for name, path in sorted((path.with_name(name).relative_to(root).as_posix(), path) for path, name in paths):
            yield attempt(f"{name}#0", name, path, _fit, path, name)


def _last_steps(paths: list[Path]) -> list[tuple[Path, str]]:
    """Each surface with its name without the step; of several steps the last, never the start."""
    last: dict[Path, tuple[Path, str]] = {}
    for path in paths:
        step = STEP.fullmatch(path.stem)
        name = step["name"] if step else path.stem
        if step is None or step["step"] != "ainit":
            last[path.with_name(name)] = (path, name)
    return list(last.values())


def _fit(path: Path, name: str) -> Fit:
    camera = _camera_fields(path)
    width, height = take(camera, "image_size")
    focal = tuple(np.broadcast_to(np.ravel(np.asarray(take(camera, "focal"), dtype=np.float64)), 2))
    centre = tuple(np.ravel(camera["centre"])) if camera.get("centre") is not None else (width / 2, height / 2)
    return Fit(
        instance_id=f"{name}#0",
        image_id=name,
        image_path=None,
        image_size=(width, height),
        group=name,
        split=None,
        body="smal",
        pose=np.zeros((0, 3)),
        betas=np.zeros(0),
        translation=np.zeros(3),
        camera=FitCamera("perspective", _rotation(path), np.zeros(3), focal=focal, centre=centre),
        mesh_path=path,
    )


def _rotation(path: Path) -> np.ndarray:
    """From the file's frame to the camera's, by the side on which the surface lies.

    Raises:
        InputCorrupt: it lies on neither side of the camera alone.
    """
    depths = read_mesh(path).vertices[:, 2]
    if len(depths) and depths.min() > 0:
        return np.eye(3)
    if len(depths) and depths.max() < 0:
        return TURNED
    got = f"z from {depths.min():.3g} to {depths.max():.3g}" if len(depths) else "no vertex"
    what = "the surface does not lie before a camera at the origin"
    raise InputCorrupt(what, got=got, expected="z of one sign", path=path)


def _camera_fields(path: Path) -> dict[str, Any]:
    """Focal length and size of the image: BITE's array, else NAME.json, else the folder's camera.json.

    Raises:
        InputMissing: none of them is there.
        InputCorrupt: unreadable, or with other fields.
    """
    step = STEP.fullmatch(path.stem)
    array = f"{step['name']}_flength_{step['step']}.npy" if step else ""
    places = [folder / array for folder in (path.parent / "details", path.parent)] if step else []
    found = next(filter(Path.is_file, places), None)
    if found is not None:
        return {"focal": _flength(found), "image_size": (SIDE, SIDE)}
    file = next(filter(Path.is_file, (path.with_suffix(".json"), path.with_name("camera.json"))), None)
    if file is None:
        got = f"no {array or path.stem + '.json'}"
        raise InputMissing("no focal length", got=got, expected=EXPECTED, hint=HINT, path=path)
    fields = read_json(file, EXPECTED, HINT)
    unknown = sorted(set(fields) - set(KNOWN)) if isinstance(fields, dict) else [type(fields).__name__]
    if unknown:
        got, expected = ", ".join(unknown), ", ".join(KNOWN)
        raise InputCorrupt("not a camera of a posed surface", got=got, expected=expected, path=file)
    return fields


def _flength(path: Path) -> float:
    require_no_pointer(path)
    with reading("not a focal length", "one number", path=path, errors=DAMAGE):
        return one_number("focal length", np.load(path, allow_pickle=False))
