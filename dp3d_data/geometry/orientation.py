"""How a bare mesh lies: its mirror plane, its feet and its head tell left, up and forward."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dp3d_data.geometry.symmetry import mirror_map

TOLERANCE = 0.01  # of the largest extent
SLAB = 0.02  # of the extent: feet end this near to the ground


def guessed_axes(vertices: Float[np.ndarray, "K 3"]) -> str:
    """The axes that point forward, left and up, such as "-z-x+y"; empty where the shape does not tell (ours).

    Left is the only axis across which the body is its own mirror image. Of the four ways to stand, that one is taken
    where the few points that touch the ground lie widest apart; the upper half of a body lies before its middle.

    Args:
        vertices: in the file's axes, any unit.
    """
    points = np.asarray(vertices, dtype=np.float64)
    points = (points - (points.min(axis=0) + points.max(axis=0)) / 2) / np.ptp(points, axis=0).max()
    mirrors = [axis for axis in range(3) if mirror_map(points, axis)[1].max() <= TOLERANCE]
    if len(mirrors) != 1:
        return ""
    left = mirrors[0]
    ways = [(axis, sign) for axis in range(3) if axis != left for sign in (1, -1)]
    up, sense = max(ways, key=lambda way: _stands(points, left, *way))
    forward = next(axis for axis in range(3) if axis not in (left, up))
    upper = points[sense * points[:, up] > 0, forward].mean() if (sense * points[:, up] > 0).any() else 0.0
    ahead = 1 if upper >= 0 else -1
    frame = np.zeros((3, 3))
    frame[0, forward], frame[2, up] = ahead, sense
    frame[1] = np.cross(frame[2], frame[0])
    return "".join(("+" if row.sum() > 0 else "-") + "xyz"[int(np.abs(row).argmax())] for row in np.round(frame))


def _stands(points: np.ndarray, left: int, up: int, sense: int) -> float:
    """How well a body stands on its lowest points: their spread over the ground for how few they are."""
    height = sense * points[:, up]
    low = points[height < height.min() + SLAB]
    forward = 3 - left - up
    spread = np.ptp(low[:, left]) * np.ptp(low[:, forward])
    return float(spread / (0.02 + len(low) / len(points)))
