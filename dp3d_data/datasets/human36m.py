"""Human3.6M: frames in folders of sequences, subjects as groups; boxes and SMPL fits in json files of each subject."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import Annotations, corners, reading
from dp3d_data.datasets.fits import Fit, FitCamera, FitFailure, attempt, joints, refuse_unknown, take, vector
from dp3d_data.datasets.folder import names_below
from dp3d_data.datasets.locations import below, existing, read_json, subfolder, wrong_tree
from dp3d_data.records import GivenObject, ImageRecord

IMAGES = (
    "images/s_01_act_02_subact_01_ca_01/*.jpg (or S1/.../*.jpg), and annotations/Human36M_subject1_data.json for boxes"
)
HINT = "the annotations come with I2L-MeshNet or NeuralAnnot, the images from http://vision.imar.ro/human3.6m"
FITS = (
    "annotations/Human36M_subject1_data.json with _camera.json and _smpl_param.json or _SMPL_NeuralAnnot.json beside"
    " it, and images/"
)
PREFIX, DATA = "Human36M_subject", "_data.json"
COCO = "COCO's images and annotations"
PARAMETERS = ("_smpl_param.json", "_SMPL_NeuralAnnot.json")
METRES = 1e-3
# Protocol 2 of the dataset, as usual: the other subjects train.
TEST_SUBJECTS = (9, 11)
_SUBJECT = re.compile(r"(?:^|/)(?:s_0?(\d+)_act_|S(\d+)(?=[/_]))")


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
        """Every frame by path."""
        root = self.root(IMAGES)
        folder = subfolder(root, "images")
        names = names_below(folder)
        if not any(map(_SUBJECT.search, names)):
            raise wrong_tree(root, IMAGES, HINT, "no Human3.6M here")
        boxes = _boxes(folder.parent / "annotations")
        return [self._record(folder, name, boxes) for name in names]

    def fits(self) -> Iterator[Fit | FitFailure]:
        """Every annotation: subjects in order of number, then annotations as the file has them.

        A frame without parameters is a failure: the mocap could not be fitted there.
        """
        root = self.root(FITS)
        folder = root / "annotations"
        numbers = subjects(folder)
        if not numbers:
            raise wrong_tree(root, FITS, HINT)
        for subject in numbers:
            yield from _fits_of(root, folder, subject)

    def _record(self, folder: Path, name: str, boxes: dict[str, Annotations] | None) -> ImageRecord:
        found = _SUBJECT.search(name)
        subject = int(found[1] or found[2]) if found else None
        group, split = (None, None) if subject is None else (f"S{subject}", split_of(subject))
        record = ImageRecord(name, str(folder / name), self.name, group, split)
        return record if boxes is None else boxes.get(name, Annotations()).of(record)


def split_of(subject: int) -> str:
    """The subject's split of protocol 2."""
    return "test" if subject in TEST_SUBJECTS else "train"


def subjects(annotations: Path) -> list[int]:
    """The subjects whose annotations lie in a folder, in order."""
    numbers = (path.name.removeprefix(PREFIX).removesuffix(DATA) for path in annotations.glob(f"{PREFIX}*{DATA}"))
    return sorted(int(number) for number in numbers if number.isdigit())


def notes_and_images(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The annotations of a subject, each with its image; both have their names and numbers.

    Raises:
        InputMissing, InputCorrupt: no such file, or not COCO's images and annotations.
    """
    data = read_json(path, COCO)
    with reading("not the annotations of a subject", COCO, path=path):
        images = {image["id"]: image for image in data["images"]}
        pairs = [(note, images[note["image_id"]]) for note in data["annotations"]]
        if not all(isinstance(image["file_name"], str) and int(note["id"]) >= 0 for note, image in pairs):
            raise ValueError("a file_name that is no text")
    return pairs


def _boxes(annotations: Path) -> dict[str, Annotations] | None:
    """Frame -> its people, and the faults of what gives none; None where there are no annotations."""
    found = subjects(annotations)
    boxes: dict[str, Annotations] = {}
    for subject in found:
        path = annotations / f"{PREFIX}{subject}{DATA}"
        for note, image in notes_and_images(path):
            frame = boxes.setdefault(image["file_name"], Annotations())
            frame.add(f"annotation {note['id']}", _person, note)
    return boxes if found else None


def _person(note: dict[str, Any]) -> GivenObject:
    return GivenObject(corners(note["bbox"]), str(note["id"]))


def _fits_of(root: Path, folder: Path, subject: int) -> Iterator[Fit | FitFailure]:
    start = f"{PREFIX}{subject}"
    parameters = next(filter(Path.is_file, (folder / (start + end) for end in PARAMETERS)), None)
    path, camera = folder / (start + DATA), folder / f"{start}_camera.json"
    if parameters is None or not camera.is_file():
        raise wrong_tree(folder, FITS, HINT)
    cameras, smpl = read_json(camera, FITS), read_json(parameters, FITS)
    for note, image in notes_and_images(path):
        name, number = image["file_name"], int(note["id"])
        yield attempt(f"{name}#{number}", name, parameters, _fit, root, note, image, cameras, smpl)


def _fit(root: Path, note: dict[str, Any], image: dict[str, Any], cameras: dict[str, Any], smpl: dict[str, Any]) -> Fit:
    name, subject = image["file_name"], int(image["subject"])
    fields: Any = smpl
    for key in ("action_idx", "subaction_idx", "frame_idx"):
        fields = take(fields, str(image[key]))
    refuse_unknown(fields, ("pose", "shape", "trans", "fitted_3d_pose"))
    x, y, width, height = (float(value) for value in note["bbox"])
    camera = take(cameras, str(image["cam_idx"]))
    place = np.ravel(np.asarray(take(camera, "t"), dtype=np.float64)) * METRES
    return Fit(
        instance_id=f"{name}#{int(note['id'])}",
        image_id=name,
        image_path=existing(below(root / "images", name)),
        image_size=(image["width"], image["height"]),
        group=f"S{subject}",
        split=split_of(subject),
        body="smpl",
        pose=joints(take(fields, "pose")),
        betas=vector("shape", take(fields, "shape")),
        translation=vector("trans", take(fields, "trans")),
        camera=FitCamera(
            "perspective", take(camera, "R"), place, focal=tuple(take(camera, "f")), centre=tuple(take(camera, "c"))
        ),
        box=(x, y, x + width, y + height),
    )
