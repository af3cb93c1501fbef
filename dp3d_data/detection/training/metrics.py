"""Measures of a CSE network against truth: average precision, overlap, geodesic error. Arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int


def box_overlaps(a: Float[np.ndarray, "a 4"], b: Float[np.ndarray, "b 4"]) -> Float[np.ndarray, "a b"]:
    """Intersection over union of xyxy boxes; empty boxes overlap nothing."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - common
    return np.where(union > 0, common / np.maximum(union, 1e-12), 0.0)


def average_precision(scores: Float[np.ndarray, "found"], correct: Bool[np.ndarray, "found"], objects: int) -> float:
    """Area under the precision-recall curve, precision made monotone, every point used (as COCO, not its 101 samples).

    Args:
        scores: score of each detection over the whole set of images.
        correct: whether it is the first to hit its object.
        objects: number of true objects.
    """
    if objects == 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(correct[order])
    precision = hits / np.arange(1, len(order) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float((monotone * correct[order]).sum() / objects)


def match_detections(
    found: Float[np.ndarray, "found 4"],
    scores: Float[np.ndarray, "found"],
    true: Float[np.ndarray, "true 4"],
    overlap: float,
) -> Int[np.ndarray, "found"]:
    """Object that each detection hits, or -1: in order of score, each object once, overlap of at least `overlap`."""
    owner = np.full(len(found), -1)
    free = np.ones(len(true), dtype=bool)
    overlaps = box_overlaps(found, true)
    for index in np.argsort(-scores, kind="stable"):
        candidates = np.where(free, overlaps[index], -1.0)
        if len(candidates) and candidates.max() >= overlap:
            owner[index] = int(candidates.argmax())
            free[owner[index]] = False
    return owner


def mask_overlap(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union of two masks of one image; two empty masks agree."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def summary(errors: Float[np.ndarray, "pixels"]) -> dict[str, float]:
    """Mean and share under 5 % and 10 % of distances given in units of the body's extent."""
    if len(errors) == 0:
        return {"mean": float("nan"), "under_5": 0.0, "under_10": 0.0}
    return {
        "mean": float(errors.mean()),
        "under_5": float((errors < 0.05).mean()),
        "under_10": float((errors < 0.10).mean()),
    }


def share_within(errors: Float[np.ndarray, "n"], most: float) -> float:
    """Share of errors of at most `most`; NaN where there are none."""
    return float((errors <= most).mean()) if len(errors) else float("nan")
