"""Fits of SMAL as projects write them: SMALify, WLDO, Animal3D and CtrlAni3D; posed surfaces of BITE and AniMer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dp3d_data.datasets import BadInstance, Dataset
from dp3d_data.datasets.annotations import box_of, reading, size_of_image
from dp3d_data.datasets.fits import (
    LIMBS,
    SMAL_BETAS,
    Fit,
    FitCamera,
    attempt,
    fit_camera,
    one_number,
    picture_size,
    read_fields,
    smal_numbers,
    take,
    vector,
)
from dp3d_data.datasets.locations import SPLITS, below, existing, read_json, require_tree
from dp3d_data.errors import InputCorrupt, InputMissing, ShapeError
from dp3d_data.files import DAMAGE, require_no_pointer
from dp3d_data.geometry.mesh_files import read_mesh

TURNED = np.diag([1.0, -1.0, -1.0])

LAST = "st10_ep0.pkl"
SMALIFY = f"NAME/{LAST}, in this folder or below it"
SMALIFY_HINT = "the folder that smal_fitter/optimize_to_joints.py wrote into checkpoints/"
SMALIFY_SIDE = 256
# PyTorch3D's OpenGLPerspectiveCameras see 60 degrees; look_at_view_transform(2.7, 0, 0) puts one before the origin.
SMALIFY_FOCAL, DISTANCE = float(SMALIFY_SIDE / 2 * np.sqrt(3)), 2.7


class Smalify(Dataset):
    """The folder of a run: NAME/st10_ep0.pkl, the last stage of the image NAME; earlier stages are not read.

    A pickle holds global_rotation [3], joint_rotations [34, 3], betas [20], log_betascale [6] and trans [3]. The camera
    is the fitter's own, of the square crop of 256 pixels that it cut around the silhouette: keypoints are those of it.
    """

    name = "smalify"

    def fits(self) -> Iterator[Fit | BadInstance]:
        root = self.root(SMALIFY)
        paths = sorted(root.rglob(LAST), key=lambda path: path.parts)
        require_tree(paths, root, SMALIFY, SMALIFY_HINT)
        for path in paths:
            image = path.parent.relative_to(root).as_posix()
            image = path.parent.resolve().name if image == "." else image
            yield attempt(f"{image}#0", image, path, _smalify, path)


def _smalify(path: Path, **names: Any) -> Fit:
    return Fit(
        **names,
        **smal_numbers(read_fields(path)),
        image_size=(SMALIFY_SIDE, SMALIFY_SIDE),
        body="smal",
        camera=FitCamera("perspective", TURNED, np.array([0, 0, DISTANCE]), SMALIFY_FOCAL, (SMALIFY_SIDE / 2,) * 2),
    )


WLDO = "BREED_NAME.npz with imgname, pose, betas, camera and trans, in this folder"
WLDO_HINT = "the folder that wldo_regressor/demo.py or eval.py wrote its results into"
# All results of a run in one file, without trans: what it holds stands in the others.
SUMMARY = "params.npz"
WLDO_SIDE, WLDO_FOCAL, DEPTH = 224, 2700.0, 20.0


class Wldo(Dataset):
    """The results of demo.py or eval.py: imgname, pose [105], betas (20, then 6 limb scales), camera [3], trans [3].

    In the crop of 224 pixels, with f = 2700 (1 + camera[0]) and Z = 20 + z, px = 112 + f x / Z and py = 112 - f y / Z:
    x right, y up and z away are a left-handed frame, so the network's dog is the mirror image of the photograph's.
    """

    name = "wldo"

    def fits(self) -> Iterator[Fit | BadInstance]:
        root = self.root(WLDO)
        paths = sorted(path for path in root.glob("*.npz") if path.name != SUMMARY)
        require_tree(paths, root, WLDO, WLDO_HINT)
        for path in paths:
            yield attempt(f"{path.stem}#0", path.stem, path, _wldo, path)


def _wldo(path: Path, **names: Any) -> Fit:
    fields = read_fields(path)
    betas = vector("betas", take(fields, "betas"))
    if len(betas) != SMAL_BETAS and len(betas) < SMAL_BETAS + LIMBS:
        expected = f"{SMAL_BETAS}, or {SMAL_BETAS + LIMBS} and more"
        raise ShapeError("betas of another number", got=len(betas), expected=expected)
    photograph = PurePosixPath(str(fields.get("imgname", "")).replace("\\", "/"))
    values, middle = np.ravel(np.asarray(take(fields, "camera"), dtype=np.float64)), WLDO_SIDE / 2
    if len(values) != 3 or not np.allclose(values[1:], middle):
        expected = f"3 numbers: the scale of the focal length, then {middle:g} twice, the middle of the crop"
        raise InputCorrupt("not the camera of WLDO", got=values[:8].tolist(), expected=expected)
    focal = WLDO_FOCAL * (1 + values[0])
    return Fit(
        **names,
        # The renderer takes the first six limb scales; numbers behind them move nothing.
        **smal_numbers(fields | {"betas": betas[: SMAL_BETAS + LIMBS]}),
        image_size=(WLDO_SIDE, WLDO_SIDE),
        group=photograph.parent.name,  # the breed's folder: .../n02085620-Chihuahua/n02085620_1152.jpg
        body="smal",
        camera=FitCamera("perspective", np.eye(3), np.array([0, 0, DEPTH]), focal, (middle, middle)),
        mirrored=True,
    )


ANIMAL3D = 'train.json or test.json with {"data": [{"img_path", "pose", "shape", "trans", ...}]}, beside images/'
ANIMAL3D_HINT = "Animal3D comes from its authors: https://xujiacong.github.io/Animal3D; CtrlAni3D from AniMer's"
FOCAL = 1000.0
# How far the dataset's own projection of its own points may lie from the camera found, pixels.
TOLERANCE = 2.0


class Animal3D(Dataset):
    """Json files of Animal3D and CtrlAni3D: a list `data`, and the focal length `flength`, otherwise 1000.

    An animal has img_path, mask_path, bbox [x, y, width, height], pose [105], shape [20], shape_extra [21] and trans
    [3] in the camera's frame. Where it has keypoint_3d and reproj_kp_2d, the camera is the one that brings the first to
    the second; otherwise its principal point is the middle of the image, whose size stands in height and width or in
    the image itself.
    """

    name = "animal3d"

    def fits(self) -> Iterator[Fit | BadInstance]:
        root = self.root(ANIMAL3D)
        paths = [root] if root.is_file() else sorted(root.glob("*.json"))
        contents = {path: read_json(path, ANIMAL3D, ANIMAL3D_HINT) for path in paths}
        lists = {path: one.get("data") for path, one in contents.items() if isinstance(one, dict)}
        files = {path: one for path, one in lists.items() if isinstance(one, list)}
        require_tree(files, root, ANIMAL3D, ANIMAL3D_HINT)
        count: Counter[str] = Counter()
        for path, animals in files.items():
            focal = contents[path].get("flength", FOCAL)
            for number, fields in enumerate(animals):
                named = fields.get("img_path") if isinstance(fields, dict) else None
                image = str(named or f"{path.name}-{number}")
                yield attempt(f"{image}#{count[image]}", image, path, _animal, fields, path, focal)
                count[image] += 1


def _animal(fields: dict[str, Any], path: Path, focal: Any, **names: Any) -> Fit:
    image = below(path.parent, str(take(fields, "img_path")))
    numbers = smal_numbers(fields)
    if fields.get("width") is not None and fields.get("height") is not None:
        size = size_of_image(fields["width"], fields["height"])
    else:
        size = picture_size(image) if image.is_file() else None
    return Fit(
        **names,
        **numbers,
        image_path=existing(image),
        image_size=size,
        group=PurePosixPath(names["image_id"]).parent.as_posix(),
        split=path.stem if path.stem in SPLITS else None,
        body="smal",
        camera=_animal_camera(fields, one_number("flength", focal), numbers["translation"], size),
        box=None if fields.get("bbox") is None else box_of(fields["bbox"], sized=True),
        mask_path=existing(below(path.parent, str(fields["mask_path"]))) if fields.get("mask_path") else None,
    )


def _animal_camera(
    fields: dict[str, Any], focal: float, translation: np.ndarray, size: tuple[int, int] | None
) -> FitCamera:
    if fields.get("camera") is not None:
        return fit_camera(fields)
    solved = _solved_camera(fields, focal, translation)
    if solved is not None:
        return solved
    if size is None:
        expected = "reproj_kp_2d with keypoint_3d, or height and width, or the image beside the json"
        raise InputMissing("nothing says where the camera looks", got="no camera in the file", expected=expected)
    return FitCamera("perspective", focal=focal, centre=(size[0] / 2, size[1] / 2))


def _solved_camera(fields: dict[str, Any], focal: float, translation: np.ndarray) -> FitCamera | None:
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
    return FitCamera("perspective", focal=scale * focal, centre=centre)


def _solved(points: np.ndarray, pixels: np.ndarray, focal: float) -> tuple[float, float, tuple[float, float]]:
    """Largest error in pixels (infinite where points lie behind), scale and centre of the best camera."""
    if not (points[:, 2] > 0).all():
        return np.inf, 1.0, (0.0, 0.0)
    flat = focal * points[:, :2] / points[:, 2:]
    middle, target = flat.mean(axis=0), pixels.mean(axis=0)
    scale = float(((flat - middle) * (pixels - target)).sum() / ((flat - middle) ** 2).sum())
    centre = target - scale * middle
    error = float(np.abs(scale * flat + centre - pixels).max()) if scale > 0 else np.inf
    return error, scale, (float(centre[0]), float(centre[1]))


POSED_MESH = (
    "NAME_res_e300.obj with details/NAME_flength_e300.npy, or NAME.obj with NAME.json or camera.json: focal, image_size"
)
POSED_MESH_HINT = (
    'say the focal length of every .obj of a folder in its camera.json: {"focal": 2100, "image_size": [256, 256]}'
)
# BITE saves a surface now and then, NAME_res_e000.obj, ..._e150.obj, ..._e300.obj, and its start, NAME_res_ainit.obj.
STEP = re.compile(r"(?P<name>.+)_res_(?P<step>e\d+|ainit)")
BITE_SIDE = 256
CAMERA_FIELDS = ("focal", "image_size", "centre")


class PosedMesh(Dataset):
    """A folder of .obj files with the vertices of the body model in its order, and the focal length of each.

    The vertices lie in the camera's frame with the camera at the origin: x right, y down, z away (BITE), or y up and z
    towards the viewer (AniMer, as viewers of meshes have it); the sign of z tells which. The focal length is in pixels
    of the image of that camera: BITE's square crop of 256 pixels, AniMer's whole photograph.
    """

    name = "posed-mesh"

    def fits(self) -> Iterator[Fit | BadInstance]:
        root = self.root(POSED_MESH)
        last: dict[str, Path] = {}
        for path in sorted(root.rglob("*.obj")):
            step = STEP.fullmatch(path.stem)
            if step is None or step["step"] != "ainit":
                last[path.with_name(step["name"] if step else path.stem).relative_to(root).as_posix()] = path
        require_tree(last, root, POSED_MESH, POSED_MESH_HINT)
        for name, path in sorted(last.items()):
            yield attempt(f"{name}#0", name, path, _posed_mesh, path)


def _posed_mesh(path: Path, **names: Any) -> Fit:
    camera = _camera_fields(path)
    width, height = take(camera, "image_size")
    focal = np.broadcast_to(np.ravel(np.asarray(take(camera, "focal"), dtype=np.float64)), 2)
    centre = tuple(np.ravel(camera["centre"])) if camera.get("centre") is not None else (width / 2, height / 2)
    return Fit(
        **names,
        image_size=(width, height),
        body="smal",
        pose=np.zeros((0, 3)),
        betas=np.zeros(0),
        translation=np.zeros(3),
        camera=FitCamera("perspective", _rotation(path), focal=focal, centre=centre),
        mesh_path=path,
    )


def _rotation(path: Path) -> np.ndarray:
    """From the file's frame to the camera's, by the side on which the surface lies."""
    depths = read_mesh(path)[0][:, 2]
    if len(depths) and depths.min() > 0:
        return np.eye(3)
    if len(depths) and depths.max() < 0:
        return TURNED
    got = f"z from {depths.min():.3g} to {depths.max():.3g}" if len(depths) else "no vertex"
    what = "the surface does not lie before a camera at the origin"
    raise InputCorrupt(what, got=got, expected="z of one sign", path=path)


def _camera_fields(path: Path) -> dict[str, Any]:
    """Focal length and size of the image: BITE's array, else NAME.json, else the folder's camera.json."""
    step = STEP.fullmatch(path.stem)
    array = f"{step['name']}_flength_{step['step']}.npy" if step else ""
    places = [folder / array for folder in (path.parent / "details", path.parent)] if step else []
    found = next(filter(Path.is_file, places), None)
    if found is not None:
        require_no_pointer(found)
        with reading("not a focal length", "one number", path=found, errors=DAMAGE):
            focal = one_number("focal length", np.load(found, allow_pickle=False))
        return {"focal": focal, "image_size": (BITE_SIDE, BITE_SIDE)}
    file = next(filter(Path.is_file, (path.with_suffix(".json"), path.with_name("camera.json"))), None)
    if file is None:
        got = f"no {array or path.stem + '.json'}"
        raise InputMissing("no focal length", got=got, expected=POSED_MESH, hint=POSED_MESH_HINT, path=path)
    fields = read_json(file, POSED_MESH, POSED_MESH_HINT)
    unknown = sorted(set(fields) - set(CAMERA_FIELDS)) if isinstance(fields, dict) else [type(fields).__name__]
    if unknown:
        got, expected = ", ".join(unknown), ", ".join(CAMERA_FIELDS)
        raise InputCorrupt("not a camera of a posed surface", got=got, expected=expected, path=file)
    return fields
