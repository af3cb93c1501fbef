"""Photographs of people with SMPL: Human3.6M, 3DPW and UP-3D as their authors publish them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets import BadInstance, Dataset
from dp3d_data.datasets.annotations import MALFORMED, Annotations, box_of, reading
from dp3d_data.datasets.fits import (
    Fit,
    FitCamera,
    attempt,
    failure,
    joints,
    one_number,
    picture_size,
    refuse_unknown,
    take,
    vector,
)
from dp3d_data.datasets.folder import names_below
from dp3d_data.datasets.locations import below, existing, read_json, require_tree, split_lists, subfolder
from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing
from dp3d_data.files import DAMAGE, read_text, require_no_pointer
from dp3d_data.records import GivenObject, ImageRecord
from dp3d_data.unpickling import read_pickle

H36M_IMAGES = (
    "images/s_01_act_02_subact_01_ca_01/*.jpg (or S1/.../*.jpg), and annotations/Human36M_subject1_data.json for boxes"
)
H36M_HINT = "the annotations come with I2L-MeshNet or NeuralAnnot, the images from http://vision.imar.ro/human3.6m"
H36M_FITS = (
    "annotations/Human36M_subject1_data.json with _camera.json and _smpl_param.json or _SMPL_NeuralAnnot.json beside"
    " it, and images/"
)
PREFIX, DATA = "Human36M_subject", "_data.json"
COCO = "COCO's images and annotations"
PARAMETERS = ("_smpl_param.json", "_SMPL_NeuralAnnot.json")
METRES = 1e-3
# Protocol 2 of the dataset, as usual: the other subjects train.
TEST_SUBJECTS = (9, 11)
SUBJECT = re.compile(r"(?:^|/)(?:s_0?(\d+)_act_|S(\d+)(?=[/_]))")


class Human36M(Dataset):
    """The folder that holds `images/`, or that folder itself: every frame on disk.

    A frame's subject, S1 to S11, is its group; subjects 9 and 11 are test. Frames that `annotations/` names have the
    boxes of the annotations, in folders without annotations people are detected. A box that is none is a fault of its
    frame alone.

    Annotations and fits have the form of I2L-MeshNet and NeuralAnnot. `_data.json` is COCO's: images (id, file_name,
    width, height, subject, action_idx, subaction_idx, cam_idx, frame_idx) and annotations (id, image_id, bbox [x, y,
    width, height]). `_camera.json`: cam_idx -> R [3, 3] camera from world, t [3] millimetres, f [2], c [2] pixels. The
    parameters: action -> subaction -> frame -> pose [72], shape [10], trans [3] metres, in the world. Lens distortion
    is in none of them and is left out.
    """

    name = "human36m"

    def records(self) -> list[ImageRecord]:
        root = self.root(H36M_IMAGES)
        folder = subfolder(root, "images")
        names = names_below(folder)
        require_tree(any(map(SUBJECT.search, names)), root, H36M_IMAGES, H36M_HINT, "no Human3.6M here")
        annotations = folder.parent / "annotations"
        boxes: dict[str, Annotations] = {}
        for subject in subjects(annotations):
            for note, image in notes_and_images(annotations / f"{PREFIX}{subject}{DATA}"):
                frame = boxes.setdefault(image["file_name"], Annotations())
                frame.add(f"annotation {note['id']}", _marked_person, note)
        records, marked = [], bool(subjects(annotations))
        for name in names:
            found = SUBJECT.search(name)
            told = _subject(int(found[1] or found[2])) if found else {}
            record = ImageRecord(name, str(folder / name), self.name, **told)
            records.append(boxes.get(name, Annotations()).of(record) if marked else record)
        return records

    def fits(self) -> Iterator[Fit | BadInstance]:
        """Every annotation: subjects in order of number, then annotations as the file has them.

        A frame without parameters is a failure: the mocap could not be fitted there.
        """
        root = self.root(H36M_FITS)
        folder = root / "annotations"
        numbers = subjects(folder)
        require_tree(numbers, root, H36M_FITS, H36M_HINT)
        for subject in numbers:
            yield from _h36m_fits(root, folder, subject)


def _subject(number: int) -> dict[str, Any]:
    return {"group": f"S{number}", "split": "test" if number in TEST_SUBJECTS else "train"}


def subjects(annotations: Path) -> list[int]:
    """The subjects whose annotations lie in a folder, in order."""
    numbers = (path.name.removeprefix(PREFIX).removesuffix(DATA) for path in annotations.glob(f"{PREFIX}*{DATA}"))
    return sorted(int(number) for number in numbers if number.isdigit())


def notes_and_images(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The annotations of a subject, each with its image; both have their names and numbers."""
    data = read_json(path, COCO)
    with reading("not the annotations of a subject", COCO, path=path):
        images = {image["id"]: image for image in data["images"]}
        pairs = [(note, images[note["image_id"]]) for note in data["annotations"]]
        if not all(isinstance(image["file_name"], str) and int(note["id"]) >= 0 for note, image in pairs):
            raise ValueError("a file_name that is no text")
    return pairs


def _marked_person(note: dict[str, Any]) -> GivenObject:
    return GivenObject(box_of(note["bbox"], sized=True), str(note["id"]))


def _h36m_fits(root: Path, folder: Path, subject: int) -> Iterator[Fit | BadInstance]:
    start = f"{PREFIX}{subject}"
    parameters = [folder / (start + end) for end in PARAMETERS if (folder / (start + end)).is_file()]
    path, camera = folder / (start + DATA), folder / f"{start}_camera.json"
    require_tree(parameters and camera.is_file(), folder, H36M_FITS, H36M_HINT)
    cameras, smpl = read_json(camera, H36M_FITS), read_json(parameters[0], H36M_FITS)
    for note, image in notes_and_images(path):
        name, number = image["file_name"], int(note["id"])
        yield attempt(f"{name}#{number}", name, parameters[0], _h36m_fit, root, note, image, cameras, smpl)


def _h36m_fit(
    root: Path, note: dict[str, Any], image: dict[str, Any], cameras: dict[str, Any], smpl: dict[str, Any], **names: Any
) -> Fit:
    fields: Any = smpl
    for key in ("action_idx", "subaction_idx", "frame_idx"):
        fields = take(fields, str(image[key]))
    refuse_unknown(fields, ("pose", "shape", "trans", "fitted_3d_pose"))
    x, y, width, height = (float(value) for value in note["bbox"])
    camera = take(cameras, str(image["cam_idx"]))
    place = np.ravel(np.asarray(take(camera, "t"), dtype=np.float64)) * METRES
    return Fit(
        **names,
        image_path=existing(below(root / "images", image["file_name"])),
        image_size=(image["width"], image["height"]),
        **_subject(int(image["subject"])),
        body="smpl",
        pose=joints(take(fields, "pose")),
        betas=vector("shape", take(fields, "shape")),
        translation=vector("trans", take(fields, "trans")),
        camera=FitCamera("perspective", take(camera, "R"), place, tuple(take(camera, "f")), tuple(take(camera, "c"))),
        box=(x, y, x + width, y + height),
    )


THREEDPW = "sequenceFiles/train/NAME.pkl (also validation, test) beside imageFiles/NAME/image_00000.jpg"
THREEDPW_HINT = "3DPW comes from its authors: https://virtualhumans.mpi-inf.mpg.de/3DPW"
GENDERS = {"m": "smpl-male", "f": "smpl-female"}
BETAS = 10
# The authors' fields that look like shape or pose. Of the clothed surfaces and the 60 Hz of the sensors nothing is
# used.
USED = ("poses", "trans", "betas", "cam_poses", "campose_valid")
UNUSED = ("poses_60Hz", "trans_60Hz", "poses2d", "poses2D", "betas_clothed", "v_template_clothed")
SEQUENCE_FOLDERS = {"test": "test", "train": "train", "validation": "val"}


class ThreeDPW(Dataset):
    """The archive's `imageFiles`; the sequence is the group of an image, and gives its split.

    A pickle holds, a list entry for each person, poses [N, 72], trans [N, 3], betas [10 or more], genders "m" or "f",
    campose_valid [N]; and for the sequence cam_poses [N, 4, 4] (camera from world), cam_intrinsics [3, 3], sequence.
    N counts image frames; poses_60Hz and the like are not used.
    """

    name = "3dpw"

    def records(self) -> list[ImageRecord]:
        root = self.root(THREEDPW)
        folder = subfolder(root, "imageFiles")
        names = [name for name in names_below(folder) if name.count("/") == 1]
        require_tree(names, root, THREEDPW, THREEDPW_HINT, "no 3DPW here")
        splits = {name: split for name, split, _ in sequences(folder.parent)}
        pairs = [(name, name.partition("/")[0]) for name in names]
        return [ImageRecord(name, str(folder / name), self.name, group, splits.get(group)) for name, group in pairs]

    def fits(self) -> Iterator[Fit | BadInstance]:
        """Every person of every frame: sequences by name, then people, then frames.

        A sequence that cannot be read is one failure; a frame whose camera is marked as not aligned is one, too.
        """
        root = self.root(THREEDPW)
        paths = sequences(root)
        require_tree(paths, root, THREEDPW, THREEDPW_HINT)
        for name, split, path in paths:
            yield from _fits_of_sequence(root, name, split, path)


def sequences(root: Path) -> list[tuple[str, str, Path]]:
    """Name, split and file of every sequence, by name."""
    paths = [(folder, path) for folder in SEQUENCE_FOLDERS for path in (root / "sequenceFiles" / folder).glob("*.pkl")]
    return sorted((path.stem, SEQUENCE_FOLDERS[folder], path) for folder, path in paths)


def _fits_of_sequence(root: Path, name: str, split: str, path: Path) -> Iterator[Fit | BadInstance]:
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
            known: dict[str, Any] = {"image_path": existing(root / "imageFiles" / image), "image_size": size}
            known |= {"group": name, "split": split}
            yield attempt(f"{image}#{person}", image, path, _3dpw_fit, fields, person, frame, known)


def _3dpw_fit(fields: dict[str, Any], person: int, frame: int, known: dict[str, Any], **names: Any) -> Fit:
    if not np.asarray(take(fields, "campose_valid")[person])[frame]:
        raise InputCorrupt("the camera is marked as not aligned in this frame (campose_valid)")
    gender = str(take(fields, "genders")[person])
    if gender not in GENDERS:
        raise InputCorrupt("unknown gender", got=repr(gender), expected=" or ".join(GENDERS))
    pose = np.asarray(take(fields, "cam_poses")[frame], dtype=np.float64)
    inner = np.asarray(take(fields, "cam_intrinsics"), dtype=np.float64)
    betas = np.ravel(np.asarray(take(fields, "betas")[person], dtype=np.float64))
    used = np.flatnonzero(betas)  # some sequences hold 300, 290 of them 0
    return Fit(
        **names,
        **known,
        body=GENDERS[gender],
        pose=joints(take(fields, "poses")[person][frame]),
        betas=betas[: max(BETAS, used[-1] + 1 if len(used) else 0)],
        translation=take(fields, "trans")[person][frame],
        camera=FitCamera("perspective", pose[:3, :3], pose[:3, 3], inner.diagonal()[:2], (inner[0, 2], inner[1, 2])),
    )


UP3D_IMAGES = "NNNNN_image.png and train.txt, val.txt, test.txt, in this folder or in up-3d/ below it"
UP3D_FITS = "NNNNN_body.pkl and NNNNN_image.png, in this folder or in up-3d/ below it"
UP3D_HINT = "UP-3D comes from its authors: https://files.is.tue.mpg.de/classner/up"
IMAGE_ENDING, FIT_ENDING = "_image.png", "_body.pkl"
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
        folder = subfolder(self.root(UP3D_IMAGES), "up-3d")
        names, splits = sorted(path.name for path in folder.glob(f"*{IMAGE_ENDING}")), official_splits(folder)
        require_tree(names, folder, UP3D_IMAGES, UP3D_HINT, "no UP-3D here")
        return [ImageRecord(name, str(folder / name), self.name, group=name, split=splits.get(name)) for name in names]

    def fits(self) -> Iterator[Fit | BadInstance]:
        folder = subfolder(self.root(UP3D_FITS), "up-3d")
        paths = sorted(folder.glob(f"*{FIT_ENDING}"))
        require_tree(paths, folder, UP3D_FITS, UP3D_HINT)
        splits = official_splits(folder)
        for path in paths:
            image = path.with_name(path.name.removesuffix(FIT_ENDING) + IMAGE_ENDING)
            yield attempt(f"{image.name}#0", image.name, path, _up3d_fit, path, image, splits)


def official_splits(folder: Path) -> dict[str, str]:
    """Image -> train, val or test; what stands in trainval.txt alone is train."""
    return dict.fromkeys(split_lists(folder, ("trainval",)), "train") | split_lists(folder)


def _up3d_fit(path: Path, image: Path, splits: dict[str, str], **names: Any) -> Fit:
    fields = read_pickle(path)
    refuse_unknown(fields, ("pose", "betas", "trans", "rt", "t", "f"))
    size = picture_size(image)
    return Fit(
        **names,
        image_path=image,
        image_size=size,
        split=splits.get(image.name),
        body="smpl",
        pose=joints(take(fields, "pose")),
        betas=vector("betas", take(fields, "betas")),
        translation=vector("trans", take(fields, "trans")),
        camera=_camera_of_crop(fields, _crop(_beside(path, "_fit_crop_info.txt"), size)),
        labels=_labels(_beside(path, "_joints.npy")),
        source_dataset=_line(_beside(path, "_dataset_info.txt")),
        source_quality=_line(_beside(path, "_quality_info.txt")),
    )


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name.removesuffix(FIT_ENDING) + ending)


def _crop(path: Path, size: tuple[int, int]) -> tuple[int, int, int, int, int, int]:
    """h, w of the resized crop; y1, y2, x1, x2 of the crop in the image."""
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


def _camera_of_crop(fields: dict[str, Any], crop: tuple[int, int, int, int, int, int]) -> FitCamera:
    """The camera of the image: the middle of the crop, and the focal length of the resized crop scaled to the image."""
    from scipy.spatial.transform import Rotation

    height, width, top, bottom, left, right = crop
    focal = one_number("f", take(fields, "f"))
    return FitCamera(
        "perspective",
        Rotation.from_rotvec(np.asarray(take(fields, "rt"), dtype=np.float64).reshape(3)).as_matrix(),
        vector("t", take(fields, "t")),
        ((right - left) / width * focal, (bottom - top) / height * focal),
        ((left + right) / 2, (top + bottom) / 2),
    )


def _labels(path: Path) -> Float[np.ndarray, "joints 3"] | None:
    """The labelled joints as (joint of SMPL, x, y) in the image, those that were seen; None without a file."""
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
