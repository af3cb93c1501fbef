"""StanfordExtra: photographs of dogs with box, mask and keypoints, from its json and Stanford Dogs' image folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dp3d_data.errors import InputCorrupt
from dp3d_data.limits import DAMAGE
from dp3d_data.records import GivenObject, ImageRecord, RunLength
from dp3d_data.sources.coco import corners
from dp3d_data.sources.options import SourceOptions, required_path
from dp3d_data.sources.stanford_dogs import breed, images_folder
from dp3d_data.sources.trees import SPLITS, find_image, read_json, require_images

EXPECTED = "a list of objects with img_path, img_width, img_height, img_bbox [x, y, width, height] and seg"
HINT = "StanfordExtra's json comes from its authors: https://github.com/benjiebob/StanfordExtra"
IMAGES = "name the folder of Stanford Dogs' breeds: --images Images/"
MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError)


@dataclass(frozen=True)
class StanfordExtraSource:
    """The json, and the photographs below --images, or in `Images/` or `images/` beside it.

    A dog's breed is its group. The official lists beside the json (train_*.npy, val_*.npy, test_*.npy: numbers of
    entries) give the split.
    """

    options: SourceOptions
    name: ClassVar[str] = "stanford-extra"

    def records(self) -> list[ImageRecord]:
        """The photographs in the order of the json, each with its dogs.

        Raises:
            InputMissing: no such json, or none of its photographs is there.
            InputCorrupt: not StanfordExtra's json, or a list of other numbers.
        """
        path = Path(required_path(self.options, self.name, EXPECTED))
        entries = read_json(path, EXPECTED, HINT)
        folders = [str(images_folder(Path(folder))) for folder in self.options.images] or [str(images_folder(path.parent))]
        splits = _splits(path, len(entries))
        dogs: dict[str, list[GivenObject]] = {}
        sides: dict[str, str | None] = {}
        try:
            for number, entry in enumerate(entries):
                dogs.setdefault(str(entry["img_path"]), []).append(_object(entry, self.options.masks))
                sides.setdefault(str(entry["img_path"]), splits.get(number))
        except MALFORMED as error:
            raise InputCorrupt("not StanfordExtra's json", got=repr(error), expected=EXPECTED, hint=HINT, path=path) from error
        records = [
            ImageRecord(image, find_image([image], folders), self.name, breed(image), sides[image], tuple(objects))
            for image, objects in dogs.items()
        ]
        require_images(records, folders, IMAGES)
        return records

    def digest(self) -> str:
        """Nothing: the records say it all."""
        return ""


def _object(entry: dict[str, Any], masks: bool) -> GivenObject:
    """The dog of an entry; its mask is written as a COCO text."""
    runs = RunLength(int(entry["img_height"]), int(entry["img_width"]), entry["seg"].encode()) if masks else None
    joints = np.array(entry["joints"], dtype=np.float64).reshape(-1, 3)
    return GivenObject(corners(entry["img_bbox"]), mask=runs, keypoints=tuple((x, y, seen) for x, y, seen in joints.tolist()))


def _splits(path: Path, count: int) -> dict[int, str]:
    """Number of an entry -> split, of the lists that are there."""
    splits: dict[int, str] = {}
    for side in SPLITS:
        for place in sorted(path.parent.glob(f"{side}_*.npy")):
            try:
                numbers = np.load(place, allow_pickle=False).astype(np.int64).ravel()
            except DAMAGE as error:
                raise InputCorrupt("not a list of entries", got=str(error)[:120], expected="whole numbers", path=place) from error
            if len(numbers) and not (0 <= numbers.min() and numbers.max() < count):
                raise InputCorrupt("a list of other entries", got=f"up to {numbers.max()}", expected=f"below {count}", path=place)
            splits |= dict.fromkeys(numbers.tolist(), side)
    return splits
