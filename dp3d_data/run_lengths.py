"""Run lengths: masks of whole images in COCO's compressed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from dp3d_data.errors import InputCorrupt
from dp3d_data.records import RunLength

# Bits of a run length; a text that goes on is none.
LONGEST = 60
# Most pixels of a mask: as many as max_pixels allows.
MOST_PIXELS = 300_000_000


def within_limit(width: int, height: int) -> tuple[int, int]:
    """The size of a mask.

    Raises:
        InputCorrupt: more pixels than any photograph that is read.
    """
    if min(width, height) < 1 or width * height > MOST_PIXELS:
        got, expected = f"{width} x {height}", f"1 to {MOST_PIXELS} pixels"
        raise InputCorrupt("a mask of an impossible size", got=got, expected=expected)
    return width, height


def mask_pixels(runs: RunLength) -> Bool[np.ndarray, "h w"]:
    """The mask as an array.

    Raises:
        InputCorrupt: the runs do not fill the image.
    """
    lengths = filling_runs(runs)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(runs.width, runs.height).T


def filling_runs(runs: RunLength) -> list[int]:
    """The lengths of the runs.

    Raises:
        InputCorrupt: they do not fill the image.
    """
    within_limit(runs.width, runs.height)
    lengths = decode_runs(runs.counts)
    if sum(lengths) != runs.height * runs.width or min(lengths, default=0) < 0:
        expected = f"{runs.width} x {runs.height} pixels"
        raise InputCorrupt("a mask whose runs do not fill the image", got=f"{sum(lengths)} pixels", expected=expected)
    return lengths


def encode_pixels(mask: Bool[np.ndarray, "h w"]) -> RunLength:
    """The runs of an array; see `mask_pixels`."""
    columns = mask.T.ravel()
    ends = np.flatnonzero(np.diff(columns, prepend=False, append=not columns[-1]))
    height, width = mask.shape
    return RunLength(height, width, encode_runs(np.diff(ends, prepend=0).tolist()))


def encode_placed(mask: Bool[np.ndarray, "h w"], origin: tuple[int, int], size: tuple[int, int]) -> RunLength:
    """The runs of a mask that lies at `origin` (x, y) in an image of (width, height), without what lies outside."""
    (x, y), (width, height) = origin, size
    first, last = max(x, 0), max(min(x + mask.shape[1], width), max(x, 0))
    inside = mask[max(-y, 0) : max(height - y, 0), first - x : last - x]
    columns = np.zeros((last - first + 2, height), dtype=bool)  # those that it fills, with an empty one on either side
    columns[1:-1, max(y, 0) : max(y, 0) + len(inside)] = inside.T
    ends = np.flatnonzero(np.diff(columns.ravel(), prepend=False)) + (first - 1) * height
    return RunLength(height, width, encode_runs(np.diff(ends, prepend=0, append=width * height).tolist()))


def area(runs: RunLength) -> int:
    """Pixels of the mask."""
    return sum(decode_runs(runs.counts)[1::2])


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
