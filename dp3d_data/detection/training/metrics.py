"""Measures of a CSE network against truth, and of keypoints carried from one photograph to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.errors import ShapeError
from dp3d_data.matching import integer_box, resize_to
from dp3d_data.matching.nearest import best_pixels


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


PCK = {"pck_10": 0.10, "pck_15": 0.15}


@dataclass(frozen=True)
class TrueObject:
    """One object of one image: box xyxy, mask and (where known) template vertex of each pixel and true keypoints.

    groups: what it is scored under beside the whole, such as "view: side". named [n, 3]: annotated keypoints x, y in
    image pixels and whether each is visible. name: of its image, for pictures.
    """

    box: Float[np.ndarray, "4"]
    mask: Bool[np.ndarray, "h w"]
    vertex_map: Int[np.ndarray, "h w"] | None = None
    keypoints: Float[np.ndarray, "vertices 2"] | None = None
    groups: tuple[str, ...] = ()
    named: Float[np.ndarray, "n 3"] | None = None
    name: str = ""

    def annotated(self) -> Float[np.ndarray, "n 3"]:
        """Its annotated keypoints.

        Raises:
            ShapeError: it has none.
        """
        if self.named is None:
            raise ShapeError("an object without annotated keypoints", got=self.name)
        return self.named
