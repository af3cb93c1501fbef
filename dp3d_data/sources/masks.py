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


def segmentation_mask(segmentation: Any, height: int, width: int) -> RunLength | None:
    """The mask of an annotation; None where it has none.

    Args:
        segmentation: COCO's: a list of polygons [x0, y0, x1, y1, ...] in image pixels, or {"size", "counts"} with counts
            as COCO's text or as a list of run lengths down the columns.
        height, width: of the image, pixels.

    Raises:
        InputCorrupt: none of these forms, or runs that do not fill the image.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width)
    polygons = [[float(value) for value in polygon] for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return None
    from pycocotools import mask

    encoded = mask.merge(mask.frPyObjects(polygons, int(height), int(width)))
    return RunLength(int(height), int(width), encoded["counts"])


def _from_runs(segmentation: dict[str, Any], height: int, width: int) -> RunLength:
    rows, columns = (int(value) for value in segmentation.get("size", (height, width)))
    counts = segmentation.get("counts")
    if (rows, columns) != (int(height), int(width)):
        raise InputCorrupt("a mask of another size than its image", got=f"{columns} x {rows}", expected=f"{width} x {height}")
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if isinstance(counts, bytes):
        return RunLength(rows, columns, counts)
    if not isinstance(counts, list):
        raise InputCorrupt("a mask without run lengths", got=type(counts).__name__, expected="COCO's counts")
    return RunLength(rows, columns, encode_runs([int(value) for value in counts]))


def mask_pixels(runs: RunLength) -> Bool[np.ndarray, "h w"]:
    """The mask as an array.

    Raises:
        InputCorrupt: the runs do not fill the image.
    """
    lengths = decode_runs(runs.counts)
    if sum(lengths) != runs.height * runs.width or min(lengths, default=0) < 0:
        expected = f"{runs.width} x {runs.height} pixels"
        raise InputCorrupt("a mask whose runs do not fill the image", got=f"{sum(lengths)} pixels", expected=expected)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(runs.width, runs.height).T


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
