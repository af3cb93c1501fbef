"""Charts of people: body part, u and v of every pixel of a box."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import ShapeError
from dp3d_data.matching import integer_box, resize_to


def chart_pixels(
    box: Iterable[float],
    coarse_segm: Float[np.ndarray, "c side side"],
    fine_segm: Float[np.ndarray, "parts side side"],
    u: Float[np.ndarray, "parts side side"],
    v: Float[np.ndarray, "parts side side"],
    *,
    clamp: bool = True,
) -> tuple[Int[np.ndarray, "h w"], Float[np.ndarray, "2 h w"]]:
    """Part and place on it, for each pixel of the box.

    Args:
        box: xyxy in image pixels.
        coarse_segm, fine_segm: scores, background first.
        u, v: coordinates on every part.
        clamp: bring u and v to 0..1, where charts end; a network may answer a little beyond.

    Returns:
        Labels [h, w], 0 for background; u and v [2, h, w] of the label's own chart, 0 on background.

    Raises:
        ShapeError: maps that do not belong together.
    """
    if not fine_segm.shape == u.shape == v.shape:
        raise ShapeError("one u and one v for every part", got=[list(fine_segm.shape), list(u.shape), list(v.shape)])
    _, _, width, height = integer_box(box)
    inside = resize_to(coarse_segm, width, height).argmax(axis=-1) > 0
    labels = resize_to(fine_segm, width, height).argmax(axis=-1) * inside
    chosen = [np.take_along_axis(resize_to(each, width, height), labels[..., None], axis=-1)[..., 0] for each in (u, v)]
    places = np.clip(np.stack(chosen), 0, 1) if clamp else np.stack(chosen)
    return labels, np.where(labels > 0, places, 0).astype(np.float32)
