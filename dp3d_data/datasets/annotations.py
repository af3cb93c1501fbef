"""What a file says of one image, annotation by annotation: boxes, masks, keypoints, sizes, and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dp3d_data.datasets import BadInstance, ReadyInstance
from dp3d_data.errors import Dp3dError, InputCorrupt
from dp3d_data.records import Box, GivenObject, ImageRecord, RunLength
from dp3d_data.run_lengths import encode_runs, filling_runs, within_limit

# What values of the wrong form make the readers of annotations raise; errors of ours are ValueErrors too.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
# Longest side of an image, pixels.
LONGEST_SIDE = 1_000_000
# Fewest numbers of a polygon, and how many times the image's longer side its corners may lie away.
LEAST, FAR = 6, 4


@dataclass
class Annotations:
    """The annotations of one image, gathered one by one; see `ImageRecord` for the other fields.

    Attributes:
        trouble: why no annotation of the image can be used; empty where they can.
        names: what the image may be called on disk, where the file of annotations says it; the first is its id.
        listed: whether that file has the image; else it is named by annotations alone.
    """

    size: tuple[int, int] | None = None
    objects: list[GivenObject] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    crowds: list[str] = field(default_factory=list)
    trouble: str = ""
    names: list[str] = field(default_factory=list)
    listed: bool = True

    def add(self, name: str, make: Callable[..., GivenObject], *arguments: Any) -> None:
        """The object that `make` gives; what is wrong with it becomes a fault of that name."""
        try:
            if self.trouble:
                raise InputCorrupt(self.trouble)
            self.objects.append(make(*arguments))
        except MALFORMED as error:
            self.faults.append(f"{name}: {in_words(error)}")

    def join(self, other: Annotations) -> None:
        """Add those of the same image under another name; they are faults where they are of another size."""
        if self.size is not None and other.size not in (None, self.size):
            told = f"its image is {other.size[0]} x {other.size[1]} here and {self.size[0]} x {self.size[1]} before"
            self.faults += [f"box {one.name or place}: {told}" for place, one in enumerate(other.objects)]
        else:
            self.objects += other.objects
        self.size = self.size or other.size
        self.faults += other.faults
        self.crowds += other.crowds

    def of(self, record: ImageRecord) -> ImageRecord:
        """The record with these annotations."""
        objects, faults, crowds = tuple(self.objects), tuple(self.faults), tuple(self.crowds)
        return replace(record, size=self.size, objects=objects, faults=faults, crowds=crowds)


def instance_of(name: str, make: Callable[..., ReadyInstance], *arguments: Any) -> ReadyInstance | BadInstance:
    """The instance that `make` gives of its name and the arguments, or what is wrong with it."""
    try:
        return make(name, *arguments)
    except MALFORMED as error:
        return BadInstance(name, error)


@contextmanager
def reading(
    what: str,
    expected: object = None,
    hint: str | None = None,
    path: str | Path | None = None,
    errors: tuple[type[Exception], ...] = MALFORMED,
) -> Iterator[None]:
    """What values of another form raise in the block comes out as one InputCorrupt, which says `what`."""
    try:
        yield
    except errors as error:
        raise InputCorrupt(what, got=in_words(error)[:120], expected=expected, hint=hint, path=path) from error


def in_words(error: Exception) -> str:
    """One line on what is wrong with an annotation."""
    if isinstance(error, Dp3dError):
        got = "" if error.got is None else f", got {error.got}"
        return error.what + got + (f", expected {error.expected}" if error.expected else "")
    return f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


def box_of(values: Any, *, sized: bool = False) -> Box:
    """Four numbers as the corners of a box: x0, y0, x1, y1, or x, y, width, height where it is `sized`.

    Raises:
        InputCorrupt: not four finite numbers, corners in another order, or no width or height.
    """
    with suppress(TypeError, ValueError, OverflowError):
        x0, y0, x1, y1 = _numbers(values)
        if sized:
            x1, y1 = x0 + x1, y0 + y1
        if all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1:
            return x0, y0, x1, y1
    expected = "x0 < x1 and y0 < y1, in image pixels"
    if sized:
        expected = "x, y, width and height in image pixels, the last two above 0"
    raise InputCorrupt("not a box", got=repr(values)[:80], expected=expected)


def _numbers(values: Any) -> list[float]:
    """The numbers of a list; the letters of a text and the names of an object are none."""
    if isinstance(values, (str, bytes, Mapping)):
        raise TypeError("not a list of numbers")
    return [float(value) for value in values]


def keypoints_of(values: Any) -> tuple[tuple[float, float, float], ...] | None:
    """x, y and visibility (0 where not labelled) of each keypoint; None where there are none.

    Args:
        values: one after the other, or in rows of three.

    Raises:
        InputCorrupt: other than finite numbers, three of each.
    """
    expected = "x, y and visibility of each keypoint"
    try:
        nested = isinstance(values, list) and values and isinstance(values[0], list)
        rows = [_numbers(row) for row in values] if nested else [_numbers(values)]
    except (TypeError, ValueError, OverflowError, LookupError) as error:
        raise InputCorrupt("keypoints that are no numbers", got=repr(values)[:80], expected=expected) from error
    flat = [value for row in rows for value in row]
    if len(flat) % 3 or (len(rows) > 1 and any(len(row) != 3 for row in rows)) or not all(map(math.isfinite, flat)):
        raise InputCorrupt("keypoints that are no triples of numbers", got=repr(values)[:80], expected=expected)
    return tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True)) or None


def size_of_image(width: Any, height: Any) -> tuple[int, int] | None:
    """The size that a file gives an image; None where it gives none.

    Raises:
        InputCorrupt: not two whole numbers of pixels.
    """
    if width is None and height is None:
        return None
    try:
        size = int(float(width)), int(float(height))
        if size == (float(width), float(height)) and all(1 <= side <= LONGEST_SIDE for side in size):
            return size
    except (TypeError, ValueError, OverflowError):
        pass
    got = f"{width} x {height}"[:80]
    raise InputCorrupt("the size of its image is none", got=got, expected=f"whole pixels, 1 to {LONGEST_SIDE} a side")


def segmentation_mask(segmentation: Any, size: tuple[int, int] | None) -> RunLength | None:
    """The mask of an annotation; None where it has none.

    Args:
        segmentation: COCO's: polygons [x0, y0, x1, y1, ...] in image pixels, one or a list of them, also as pairs [x,
            y]; or {"size", "counts"} with counts as COCO's text or as a list of run lengths down the columns.
        size: (width, height) of the image, pixels, where the file gives it.

    Raises:
        InputCorrupt: none of these forms, another size than that of the image, or polygons far outside of it.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, size)
    if size is None:
        raise InputCorrupt("polygons in an image without a size", expected="width and height of the image")
    width, height = within_limit(*size)
    polygons = _polygons(segmentation, (width, height))
    from pycocotools import mask

    encoded = mask.merge(mask.frPyObjects(polygons, height, width))
    return RunLength(height, width, encoded["counts"])


def _polygons(segmentation: Any, size: tuple[int, int]) -> list[list[float]]:
    """The polygons, each flat, without those of one or two points, of which COCO has a few."""
    expected = "polygons x0, y0, x1, y1, ... of three points or more, near the image"
    try:
        polygons = [_flat(part) for part in _listed(segmentation)]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputCorrupt("a mask that is no polygon", got=repr(segmentation)[:80], expected=expected) from error
    kept = [polygon for polygon in polygons if len(polygon) >= LEAST]
    far = FAR * max(size)
    if not kept or any(len(polygon) % 2 or not all(-far <= value <= far for value in polygon) for polygon in kept):
        raise InputCorrupt("a mask that is no polygon", got=repr(segmentation)[:80], expected=expected)
    return kept


def _listed(segmentation: list[Any]) -> list[Any]:
    """A list of polygons: one polygon, flat or as pairs, is a list of its own."""
    if isinstance(segmentation[0], (list, tuple)):
        pairs = all(len(part) == 2 and not isinstance(part[0], (list, tuple)) for part in segmentation)
        return [segmentation] if pairs and len(segmentation) * 2 >= LEAST else segmentation
    return [segmentation]


def _flat(polygon: Sequence[Any]) -> list[float]:
    if polygon and isinstance(polygon[0], (list, tuple)):
        return [float(value) for x, y in polygon for value in (x, y)]
    return [float(value) for value in polygon]


def _from_runs(segmentation: dict[str, Any], size: tuple[int, int] | None) -> RunLength:
    try:
        rows, columns = (int(value) for value in segmentation.get("size") or (size or ())[::-1])
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            counts = encode_runs([int(value) for value in counts])
    except (TypeError, ValueError, OverflowError) as error:
        got, expected = repr(segmentation)[:80], "COCO's size and counts"
        raise InputCorrupt("a mask without size or run lengths", got=got, expected=expected) from error
    if size not in (None, (columns, rows)):
        got, expected = f"{columns} x {rows}", f"{size[0]} x {size[1]}"
        raise InputCorrupt("a mask of another size than its image", got=got, expected=expected)
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if not isinstance(counts, bytes):
        raise InputCorrupt("a mask without run lengths", got=type(counts).__name__, expected="COCO's counts")
    runs = RunLength(rows, columns, counts)
    filling_runs(runs)
    return runs
