"""StanfordExtra: photographs of dogs with box, mask and keypoints, from its json and Stanford Dogs' image folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.datasets import Dataset
from dp3d_data.datasets.annotations import Annotations, corners, keypoints_of, reading, segmentation_mask, size_of_image
from dp3d_data.datasets.locations import SPLITS, find_image, read_json, require_images
from dp3d_data.datasets.stanford_dogs import breed, images_folder
from dp3d_data.errors import InputCorrupt
from dp3d_data.limits import DAMAGE
from dp3d_data.records import GivenObject, ImageRecord

EXPECTED = "a list of objects with img_path, img_width, img_height, img_bbox [x, y, width, height] and seg"
HINT = "StanfordExtra's json comes from its authors: https://github.com/benjiebob/StanfordExtra"
IMAGES = "name the folder of Stanford Dogs' breeds: --images Images/"
NO_IMAGE = "entries without img_path"


class StanfordExtra(Dataset):
    """The json, and the photographs below --images, or in `Images/` or `images/` beside it.

    A dog's breed is its group. The official lists beside the json (train_*.npy, val_*.npy, test_*.npy: numbers of
    entries) give the split.
    """

    name = "stanford-extra"

    def records(self) -> list[ImageRecord]:
        """The photographs in the order of the json, each with its dogs."""
        path = self.path(EXPECTED)
        entries = read_json(path, EXPECTED, HINT)
        if not isinstance(entries, list):
            got = f"a json {type(entries).__name__}"
            raise InputCorrupt("not StanfordExtra's json", got=got, expected=EXPECTED, hint=HINT, path=path)
        folders = [str(images_folder(Path(folder))) for folder in self.options.images or (path.parent,)]
        official = _splits(path, len(entries))
        dogs: dict[str, Annotations] = {}
        splits: dict[str, str | None] = {}
        for number, entry in enumerate(entries):
            image = str(entry.get("img_path") or NO_IMAGE) if isinstance(entry, dict) else NO_IMAGE
            dogs.setdefault(image, Annotations()).join(_annotations(entry, number, self.options.masks))
            splits.setdefault(image, official.get(number))
        records = []
        for image, dog in dogs.items():
            place = find_image([image], folders) if image != NO_IMAGE else ""
            records.append(dog.of(ImageRecord(image, place, self.name, breed(image), splits[image])))
        if records and not any(record.objects for record in records):
            what, got = "not StanfordExtra's json: no entry of it can be used", records[0].faults[0]
            raise InputCorrupt(what, got=got, expected=EXPECTED, hint=HINT, path=path)
        require_images([record for record in records if record.path], folders, IMAGES)
        return records


def _annotations(entry: Any, number: int, masks: bool) -> Annotations:
    """The dog of an entry, or what is wrong with it."""
    found = Annotations()

    def make() -> GivenObject:
        found.size = size_of_image(entry["img_width"], entry["img_height"])
        if found.size is None:
            raise KeyError("img_width")
        if not entry["img_path"]:
            raise KeyError("img_path")
        mask = segmentation_mask({"counts": entry["seg"]}, found.size) if masks else None  # run lengths as COCO's text
        return GivenObject(corners(entry["img_bbox"]), mask=mask, keypoints=keypoints_of(entry["joints"]))

    found.add(f"entry {number}", make)
    return found


def _splits(path: Path, count: int) -> dict[int, str]:
    """Number of an entry -> split, of the lists that are there."""
    splits: dict[int, str] = {}
    for split in SPLITS:
        for place in sorted(path.parent.glob(f"{split}_*.npy")):
            with reading("not a list of entries", "whole numbers", path=place, errors=DAMAGE):
                numbers = np.load(place, allow_pickle=False).ravel()
                if numbers.dtype.kind not in "iu" and (numbers != np.floor(numbers)).any():
                    raise ValueError(f"{numbers.dtype} numbers that are not whole")
                numbers = numbers.astype(np.int64)
            if len(numbers) and not (0 <= numbers.min() and numbers.max() < count):
                got, expected = f"up to {numbers.max()}", f"below {count}"
                raise InputCorrupt("a list of other entries", got=got, expected=expected, path=place)
            splits |= dict.fromkeys(numbers.tolist(), split)
    return splits
