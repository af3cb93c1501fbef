"""Keypoints carried from one photograph to another by their embeddings alone: no table of vertices has a say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dp3d_data.detection.training.evaluation import PCK, TrueObject
from dp3d_data.detection.training.metrics import share_within
from dp3d_data.matching import integer_box, resize_to
from dp3d_data.matching.nearest import best_pixels


def transferred(seen: Sequence[tuple[object, TrueObject]]) -> dict[str, float]:
    """PCK of keypoints that are taken from each animal to each other one; see `transfer_errors`."""
    errors = transfer_errors(seen)
    return {"keypoints": float(len(errors))} | {name: share_within(errors, share) for name, share in PCK.items()}


def transfer_errors(seen: Sequence[tuple[object, TrueObject]]) -> Float[np.ndarray, "asked"]:
    """Of every ordered pair of animals, and every keypoint visible in both: how far from its place in the second one it
    lands.

    It lands on the pixel of the second one's true mask whose embedding has the direction nearest to that of the pixel
    at the keypoint of the first one.

    Args:
        seen: each animal's detection at its true box, with its embedding, and its truth with named keypoints.

    Returns:
        Distances as shares of the square root of the area of the second one's mask.
    """
    known = [(_at_keypoints(detection, truth), truth.annotated()[:, 2] > 0) for detection, truth in seen]
    errors = [np.zeros(0)]
    for place, (detection, truth) in enumerate(seen):
        pixels, centres = _inside(detection, truth)
        others = [(embedding, visible & known[place][1]) for i, (embedding, visible) in enumerate(known) if i != place]
        if not len(pixels) or not others:
            errors.append(np.full(sum(int(both.sum()) for _, both in others), np.inf))
            continue
        landed = centres[best_pixels(pixels, np.concatenate([embedding[both] for embedding, both in others]))]
        true = np.concatenate([truth.annotated()[both, :2] for _, both in others])
        errors.append(np.linalg.norm(landed - true, axis=1) / np.sqrt(truth.mask.sum()))
    return np.concatenate(errors)


def _at_keypoints(detection, truth: TrueObject) -> Float[np.ndarray, "n d"]:
    """Embedding of the pixel at each keypoint, or of the pixel of the box that is nearest to it."""
    x, y, width, height = integer_box(detection.region)
    columns = np.clip(np.floor(truth.annotated()[:, 0]) - x, 0, width - 1).astype(int)
    rows = np.clip(np.floor(truth.annotated()[:, 1]) - y, 0, height - 1).astype(int)
    return resize_to(np.asarray(detection.embedding), width, height)[rows, columns]


def _inside(detection, truth: TrueObject) -> tuple[Float[np.ndarray, "pixels d"], Float[np.ndarray, "pixels 2"]]:
    """Embeddings and centres, in image pixels, of the pixels of the true mask that lie in the box."""
    x, y, width, height = integer_box(detection.region)
    rows, columns = np.nonzero(truth.mask)
    held = (columns >= x) & (columns < x + width) & (rows >= y) & (rows < y + height)
    rows, columns = rows[held], columns[held]
    embeddings = resize_to(np.asarray(detection.embedding), width, height)[rows - y, columns - x]
    return embeddings, np.stack([columns, rows], axis=1) + 0.5
