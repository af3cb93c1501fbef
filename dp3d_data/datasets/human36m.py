"""Human3.6M's images: frames in folders of sequences, subjects as groups, boxes where annotations lie beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from dp3d_data.datasets.annotations import Annotations, corners
from dp3d_data.datasets.folder import walk_images
from dp3d_data.datasets.options import SourceOptions, required_path
from dp3d_data.datasets.trees import existing, read_json, wrong_tree
from dp3d_data.errors import InputCorrupt
from dp3d_data.records import GivenObject, ImageRecord

EXPECTED = "images/s_01_act_02_subact_01_ca_01/*.jpg (or S1/.../*.jpg), and annotations/Human36M_subject1_data.json for boxes"
HINT = "the annotations come with I2L-MeshNet or NeuralAnnot, the images from http://vision.imar.ro/human3.6m"
PREFIX, DATA = "Human36M_subject", "_data.json"
COCO = "COCO's images and annotations"
# Protocol 2 of the dataset, as usual: the other subjects train.
TEST_SUBJECTS = (9, 11)
_SUBJECT = re.compile(r"(?:^|/)(?:s_0?(\d+)_act_|S(\d+)(?=[/_]))")


@dataclass(frozen=True)
class Human36MSource:
    """The folder that holds `images/`, or that folder itself: every frame on disk.

    A frame's subject, S1 to S11, is its group; subjects 9 and 11 are test. Frames that `annotations/` names have the boxes
    of the annotations, in folders without annotations people are detected. A box that is none is a fault of its frame alone.
    """

    options: SourceOptions
    name: ClassVar[str] = "human36m"

    def records(self) -> list[ImageRecord]:
        """Every frame by path.

        Raises:
            InputMissing: no such folder, or no frame whose path tells the subject.
            InputCorrupt: annotations that cannot be read.
        """
        root = existing(required_path(self.options, self.name, EXPECTED), EXPECTED)
        folder = root / "images" if (root / "images").is_dir() else root
        names = [Path(path).relative_to(folder).as_posix() for path in walk_images(str(folder))]
        if not any(map(_SUBJECT.search, names)):
            raise wrong_tree(root, EXPECTED, HINT, "no Human3.6M here")
        boxes = _boxes(folder.parent / "annotations")
        return [self._record(folder, name, boxes) for name in names]

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""

    def _record(self, folder: Path, name: str, boxes: dict[str, Annotations] | None) -> ImageRecord:
        found = _SUBJECT.search(name)
        subject = int(found[1] or found[2]) if found else None
        group, split = (None, None) if subject is None else (f"S{subject}", side(subject))
        record = ImageRecord(name, str(folder / name), self.name, group, split)
        return record if boxes is None else boxes.get(name, Annotations()).of(record)


def side(subject: int) -> str:
    """The subject's side of protocol 2."""
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
    try:
        images = {image["id"]: image for image in data["images"]}
        pairs = [(note, images[note["image_id"]]) for note in data["annotations"]]
        if not all(isinstance(image["file_name"], str) and int(note["id"]) >= 0 for note, image in pairs):
            raise ValueError("a file_name that is no text")
    except (KeyError, TypeError, ValueError) as error:
        raise InputCorrupt("not the annotations of a subject", got=repr(error), expected=COCO, path=path) from error
    return pairs


def _boxes(annotations: Path) -> dict[str, Annotations] | None:
    """Frame -> its people, and the faults of what gives none; None where there are no annotations."""
    found = subjects(annotations)
    boxes: dict[str, Annotations] = {}
    for subject in found:
        path = annotations / f"{PREFIX}{subject}{DATA}"
        for note, image in notes_and_images(path):
            frame = boxes.setdefault(image["file_name"], Annotations())
            frame.add(f"annotation {note['id']}", lambda note=note: GivenObject(corners(note["bbox"]), str(note["id"])))
    return boxes if found else None
