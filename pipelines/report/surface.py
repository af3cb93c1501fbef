"""Colours of values on a surface."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

_STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float64)


def heat(values: Float[np.ndarray, "K"]) -> UInt8[np.ndarray, "K 3"]:
    """Dark violet at 0 to yellow at 1, RGB; values outside are clipped."""
    place = np.clip(np.nan_to_num(values), 0, 1) * (len(_STOPS) - 1)
    index = np.minimum(place.astype(int), len(_STOPS) - 2)
    share = (place - index)[:, None]
    return np.round(_STOPS[index] * (1 - share) + _STOPS[index + 1] * share).astype(np.uint8)
