"""Annotations of a photograph as it is stored, turned as its EXIF turns the photograph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dp3d_data.datasets.images import Photograph
from dp3d_data.datasets.ready import ReadyInstance
from dp3d_data.errors import InputCorrupt
from dp3d_data.records import Box, GivenObject, ImageRecord, RunLength, VertexView
from dp3d_data.run_lengths import encode_pixels, mask_pixels

# EXIF's orientations that exchange width and height; of a stored point (x, y) in an image of w x h pixels they make
# (y, x), (h - y, x), (h - y, w - x), (y, w - x).
TURNS = (5, 6, 7, 8)
MIRRORS = (5, 7)


def turn_of(size: tuple[int, int] | None, photograph: Photograph) -> int:
    """How annotations of an image of this size (width, height) must be turned to fit the upright photograph: 0, or EXIF's orientation.

    Raises:
        InputCorrupt: they are of another image.
    """
    upright = photograph.width, photograph.height
    if size in (None, upright):
        return 0
    if size == upright[::-1] and photograph.orientation in TURNS:
        return photograph.orientation
    got, expected = f"{size[0]} x {size[1]}", f"{upright[0]} x {upright[1]} pixels, as the photograph has"
    hint = "name the folder of the photographs that were annotated (--images FOLDER), or detect instead (--set given_boxes=false)"
    raise InputCorrupt("the annotations are of an image of another size", got=got, expected=expected, hint=hint)


def turned_record(record: ImageRecord, photograph: Photograph) -> ImageRecord:
    """The record with its objects in pixels of the upright photograph.

    Raises:
        InputCorrupt: its annotations are of another image.
    """
    turn = turn_of(record.size, photograph)
    if not turn or record.size is None:
        return record
    objects = tuple(_turned_object(one, turn, record.size) for one in record.objects or ())
    return replace(record, objects=objects, size=record.size[::-1])


def turned_instance(one: ReadyInstance, turn: int, size: tuple[int, int]) -> ReadyInstance:
    """An instance with its box, keypoints and true points turned.

    Raises:
        InputCorrupt: a photograph that EXIF mirrors, in which left and right of the body were exchanged; pixels of a dense prediction.
    """
    if turn in MIRRORS or not isinstance(one.found, VertexView):
        raise InputCorrupt("keypoints of a photograph that EXIF mirrors", expected="keypoints of the upright photograph")
    view = replace(one.found, keypoints=turned_points(one.found.keypoints, turn, size))
    points = None
    if one.points is not None:
        points = np.concatenate([turned_points(one.points[:, :2], turn, (0, 0)), one.points[:, 2:]], axis=1)
    return replace(one, box=_turned_box(one.box, turn, size), found=view, points=points)


def turned_points(points: Float[np.ndarray, "N 2"], turn: int, size: tuple[int, int]) -> Float[np.ndarray, "N 2"]:
    """Points of the stored image, in pixels of the upright one.

    Args:
        size: (width, height) of the stored image.
    """
    x = size[1] - points[:, 1] if turn in (6, 7) else points[:, 1]
    y = size[0] - points[:, 0] if turn in (7, 8) else points[:, 0]
    return np.stack([x, y], axis=1)


def _turned_box(box: Box, turn: int, size: tuple[int, int]) -> Box:
    ends = turned_points(np.array(box, dtype=np.float64).reshape(2, 2), turn, size)
    (x0, y0), (x1, y1) = ends.min(axis=0).tolist(), ends.max(axis=0).tolist()
    return x0, y0, x1, y1


def _turned_object(one: GivenObject, turn: int, size: tuple[int, int]) -> GivenObject:
    mask = None if one.mask is None else _turned_mask(one.mask, turn)
    keypoints = one.keypoints
    if keypoints is not None:
        places = turned_points(np.array(keypoints)[:, :2], turn, size).tolist()
        keypoints = tuple((x, y, seen) for (x, y), (_, _, seen) in zip(places, keypoints, strict=True))
    return replace(one, box=_turned_box(one.box, turn, size), mask=mask, keypoints=keypoints)


def _turned_mask(mask: RunLength, turn: int) -> RunLength:
    pixels = mask_pixels(mask).T
    return encode_pixels(pixels[:: -1 if turn in (7, 8) else 1, :: -1 if turn in (6, 7) else 1])
