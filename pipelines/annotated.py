"""Annotated photographs as truth to measure with: those that are on disk, what was left out, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.datasets.addresses import is_file
from dp3d_data.datasets.images import read_image, turned_record
from dp3d_data.detection.training.evaluation import TrueObject
from dp3d_data.errors import Dp3dError, InputCorrupt, UsageError
from dp3d_data.records import GivenObject, ImageRecord
from dp3d_data.run_lengths import mask_pixels

Pixels = UInt8[np.ndarray, "h w 3"]


class Photographs:
    """The photographs of a source that are on disk, with what is annotated in them as truth; read one at a time.

    Attributes:
        listed: how many the source names.
        records: those that are on disk.
        left_out: name -> why, of those that turned out to be of no use when they were read.
        annotations_left_out: name -> why, of annotations that are of no use beside others of their photograph that are.
            What the network finds there hits nothing then.

    Raises:
        UsageError, InputMissing, InputCorrupt, NothingToDo: as the source.
    """

    def __init__(self, source: str, options: DatasetOptions) -> None:
        records = open_images(source, options).records()
        self.listed, self.records = len(records), [record for record in records if is_file(record.path)]
        self.left_out: dict[str, str] = {}
        self.annotations_left_out: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[Pixels, list[TrueObject]]]:
        """BGR pixels and objects of each."""
        return ((image, objects) for _, image, objects in self.read())

    def read(self, count: int | None = None) -> Iterator[tuple[ImageRecord, Pixels, list[TrueObject]]]:
        """All of them, or so many, evenly over the source; BGR."""
        count = len(self.records) if count is None else min(count, len(self.records))
        for place in range(count):
            record = self.records[place * len(self.records) // count]
            try:
                photograph = read_image(record.path)
                pixels, record = photograph.pixels, turned_record(record, photograph)
                objects = self._objects(record, pixels.shape[:2])
            except Dp3dError as error:
                self.left_out[record.image_id] = _line(error)
                continue
            yield record, np.ascontiguousarray(pixels[:, :, ::-1]), objects

    def _objects(self, record: ImageRecord, shape: tuple[int, ...]) -> list[TrueObject]:
        """What is annotated in a photograph and can be used; the rest is noted.

        Raises:
            InputCorrupt: nothing can be used, of a source that annotates.
        """
        objects: list[TrueObject] = []
        faults = {
            f"{record.image_id}: {text}": InputCorrupt("an annotation that cannot be used", got=text)
            for text in record.faults
        }
        for place, one in enumerate(record.objects or ()):
            try:
                objects.append(_true_object(one, record, shape))
            except InputCorrupt as error:
                faults[f"{record.image_id}#{one.name or place}"] = error
        if not objects and record.objects is not None:
            raise next(iter(faults.values()), InputCorrupt("no annotated object", path=record.path))
        self.annotations_left_out |= {name: _line(error) for name, error in faults.items()}
        return objects

    def account(self) -> dict[str, Any]:
        """How many photographs are listed, how many are on disk, and what was left out: photographs, single
        annotations."""
        return {"listed": self.listed, "on_disk": len(self.records), **self._left_out()}

    def _left_out(self) -> dict[str, dict[str, str]]:
        both = {"left_out": self.left_out, "annotations_left_out": self.annotations_left_out}
        return {name: dict(sorted(found.items())) for name, found in both.items()}


def annotated(source: str, path: str, images: str, category: str = "dog") -> Photographs:
    """The photographs of an annotation.

    Args:
        source: "stanford-extra" or "coco".
        path: its json.
        images: folder that the paths of the json start from.

    Raises:
        UsageError: no folder.
        InputMissing, InputCorrupt, NothingToDo: no such json, or none of its photographs is there.
    """
    if not images:
        raise UsageError("annotated photographs need the folder that they lie in", hint="add --images FOLDER")
    return Photographs(source, DatasetOptions(path=path, images=(images,), category=category, masks=True))


def _line(error: Dp3dError) -> str:
    return " ".join(str(error).split())


def _true_object(one: GivenObject, record: ImageRecord, shape: tuple[int, ...]) -> TrueObject:
    """An annotated object as truth.

    Raises:
        InputCorrupt: no mask, one of another size than the photograph, or a box without an area.
    """
    mask = None if one.mask is None else mask_pixels(one.mask)
    if mask is None or not mask.any():
        raise InputCorrupt("an annotated object without a mask", path=record.path)
    if mask.shape != shape:
        got, expected = f"{mask.shape[1]} x {mask.shape[0]}", f"{shape[1]} x {shape[0]}, its photograph's"
        raise InputCorrupt(
            "an annotation of another size than its photograph", got=got, expected=expected, path=record.path
        )
    box = np.array(one.box)
    if not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        raise InputCorrupt("an annotated box without an area", got=box.tolist(), path=record.path)
    named = None if one.keypoints is None else np.array(one.keypoints, dtype=np.float64).reshape(-1, 3)
    return TrueObject(box, mask, named=named, name=record.image_id)
