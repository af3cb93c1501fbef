"""Masks as annotations write them: polygons and run lengths, compressed or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from dp3d_data.errors import InputCorrupt
from dp3d_data.records import RunLength

# Bits of a run length; a text that goes on is none.
LONGEST = 60
# Fewest numbers of a polygon, and how many times the image's longer side its corners may lie away.
LEAST, FAR = 6, 4
# Most pixels of a mask: as many as --max-pixels allows.
MOST_PIXELS = 300_000_000


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
    width, height = _within_limit(*size)
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
    _within_limit(columns, rows)
    return RunLength(rows, columns, counts)


def _within_limit(width: int, height: int) -> tuple[int, int]:
    """The size of a mask.

    Raises:
        InputCorrupt: more pixels than any photograph that is read.
    """
    if min(width, height) < 1 or width * height > MOST_PIXELS:
        raise InputCorrupt("a mask of an impossible size", got=f"{width} x {height}", expected=f"1 to {MOST_PIXELS} pixels")
    return width, height


def mask_pixels(runs: RunLength) -> Bool[np.ndarray, "h w"]:
    """The mask as an array.

    Raises:
        InputCorrupt: the runs do not fill the image.
    """
    _within_limit(runs.width, runs.height)
    lengths = decode_runs(runs.counts)
    if sum(lengths) != runs.height * runs.width or min(lengths, default=0) < 0:
        expected = f"{runs.width} x {runs.height} pixels"
        raise InputCorrupt("a mask whose runs do not fill the image", got=f"{sum(lengths)} pixels", expected=expected)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(runs.width, runs.height).T


def encode_pixels(mask: Bool[np.ndarray, "h w"]) -> RunLength:
    """The runs of an array; see `mask_pixels`."""
    columns = mask.T.ravel()
    ends = np.flatnonzero(np.diff(columns, prepend=False, append=not columns[-1]))
    height, width = mask.shape
    return RunLength(height, width, encode_runs(np.diff(ends, prepend=0).tolist()))


def decode_runs(text: bytes) -> list[int]:
    """Run lengths of COCO's text: six bits a character above "0", five of number and one of "more follows"; from the
    fourth run on, each is written as the difference to the one before the last."""
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        digit = character - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32 and shift < LONGEST:
            continue
        if digit & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    return lengths


def encode_runs(lengths: Sequence[int]) -> bytes:
    """COCO's text of run lengths; see `decode_runs`."""
    text = bytearray()
    for place, length in enumerate(lengths):
        value = length - lengths[place - 2] if place > 2 else length
        while True:
            digit, value = value & 31, value >> 5
            done = value == (-1 if digit & 16 else 0)
            text.append(48 + (digit if done else digit | 32))
            if done:
                break
    return bytes(text)
