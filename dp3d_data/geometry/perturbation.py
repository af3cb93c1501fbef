"""Noise on true keypoints, as in the supplement's section E: moved, hidden at random, or without the lower half."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from dp3d_data.errors import ShapeError


def move_keypoints(
    keypoints: Float[np.ndarray, "K 2"], box: tuple[float, float, float, float], sigma: float, rng: np.random.Generator
) -> Float[np.ndarray, "K 2"]:
    """Independent Gaussian noise on x and y; sigma is a share of the box's longer side."""
    side = max(box[2] - box[0], box[3] - box[1])
    return keypoints + sigma * side * rng.standard_normal(np.shape(keypoints))


def hide_share(visible: Bool[np.ndarray, "K"], share: float, rng: np.random.Generator) -> Bool[np.ndarray, "K"]:
    """Hide that share of the visible vertices, to the nearest whole number, drawn at random.

    The vertices are hidden in one random order whatever the share, so that a larger share hides those of a smaller one
    too.

    Raises:
        ShapeError: share is not in 0..1.
    """
    if not 0 <= share <= 1:
        raise ShapeError("not a share", got=share, expected="0..1")
    seen = np.flatnonzero(visible)
    hidden = seen[np.argsort(rng.random(len(visible))[seen], kind="stable")[: int(round(share * len(seen)))]]
    result = np.array(visible)
    result[hidden] = False
    return result


def lower_half(rest: Float[np.ndarray, "K 3"], up: int) -> Bool[np.ndarray, "K"]:
    """Vertices below the middle of the rest template's height: the lower half in canonical orientation.

    Args:
        rest: the template's vertices.
        up: its axis that points up: 0, 1 or 2.
    """
    height = np.asarray(rest)[:, up]
    return height < (height.min() + height.max()) / 2
