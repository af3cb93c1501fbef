"""Masks as annotations write them: polygons and run lengths, compressed or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp3d_data.errors import InputCorrupt
from dp3d_data.records import RunLength
from dp3d_data.run_lengths import encode_runs, filling_runs, within_limit

# Fewest numbers of a polygon, and how many times the image's longer side its corners may lie away.
LEAST, FAR = 6, 4


def segmentation_mask(segmentation: Any, size: tuple[int, int] | None) -> RunLength | None:
    """The mask of an annotation; None where it has none.

    Args:
        segmentation: COCO's: polygons [x0, y0, x1, y1, ...] in image pixels, one or a list of them, also as pairs [x, y];
            or {"size", "counts"} with counts as COCO's text or as a list of run lengths down the columns.
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
    """The polygons with three points or more, each flat; those of one or two points, as COCO has a few, are left out."""
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
        raise InputCorrupt("a mask without size or run lengths", got=repr(segmentation)[:80], expected="COCO's size and counts") from error
    if size not in (None, (columns, rows)):
        raise InputCorrupt("a mask of another size than its image", got=f"{columns} x {rows}", expected=f"{size[0]} x {size[1]}")
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if not isinstance(counts, bytes):
        raise InputCorrupt("a mask without run lengths", got=type(counts).__name__, expected="COCO's counts")
    runs = RunLength(rows, columns, counts)
    filling_runs(runs)
    return runs
