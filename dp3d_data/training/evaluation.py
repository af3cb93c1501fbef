"""How well a CSE network finds, cuts out and matches animals whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.matching import match_detection, view_of
from dp3d_data.training.metrics import average_precision, mask_overlap, match_detections, summary

AP_OVERLAP = 0.5


@dataclass(frozen=True)
class TrueObject:
    """One object of one image: box xyxy, mask and (where known) template vertex of each pixel and true keypoints."""

    box: Float[np.ndarray, "4"]
    mask: Bool[np.ndarray, "h w"]
    vertex_map: Int[np.ndarray, "h w"] | None = None
    keypoints: Float[np.ndarray, "vertices 2"] | None = None


@dataclass
class Tally:
    """What was seen so far, image by image."""

    scores: list[float] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    objects: int = 0
    box_overlap: list[float] = field(default_factory=list)
    mask_overlap: list[float] = field(default_factory=list)
    geodesic: list[np.ndarray] = field(default_factory=list)
    keypoint: list[np.ndarray] = field(default_factory=list)

    def result(self) -> dict[str, float]:
        """The measures; means of overlaps and errors are over the objects that were found."""
        errors = np.concatenate(self.geodesic) if self.geodesic else np.zeros(0)
        pixels = np.concatenate(self.keypoint) if self.keypoint else np.zeros(0)
        named = {
            "objects": float(self.objects),
            "found": float(sum(self.correct)),
            "ap50": average_precision(np.array(self.scores), np.array(self.correct, dtype=bool), self.objects),
            "mask_iou": float(np.mean(self.mask_overlap)) if self.mask_overlap else float("nan"),
        }
        if self.geodesic:
            named |= {f"geodesic_{name}": value for name, value in summary(errors).items()}
        if self.keypoint:
            named["keypoint_error"] = float(pixels.mean()) if len(pixels) else float("nan")
        return named


def evaluate(predictor, images: Iterable[tuple[np.ndarray, list[TrueObject]]], geodesics=None, score: float = 0.05) -> dict[str, float]:
    """Run a predictor over images with truth.

    Args:
        predictor: a `DensePredictor`.
        images: BGR image [H, W, 3] uint8 and its objects.
        geodesics: [K, K] surface distances in template units, for the geodesic error.
        score: detections below are not looked at; average precision needs the weak ones too.

    Returns:
        ap50; mask_iou; geodesic_mean, _under_5, _under_10 (of the body's extent, over pixels of prediction and truth
        both); keypoint_error (distance of pooled keypoints to the truth, as a share of the box's longer side).
    """
    tally = Tally()
    for image, objects in images:
        tally.objects += len(objects)
        found = predictor.predict(image, score=score)
        boxes = np.array([one.box for one in found]).reshape(-1, 4)
        scores = np.array([one.score for one in found])
        owner = match_detections(boxes, scores, np.array([one.box for one in objects]).reshape(-1, 4), AP_OVERLAP)
        tally.scores += scores.tolist()
        tally.correct += (owner >= 0).tolist()
        for detection, index in zip(found, owner, strict=True):
            if index >= 0:
                compare(tally, predictor, detection, objects[index], geodesics)
    return tally.result()


def compare(tally: Tally, predictor, detection, truth: TrueObject, geodesics) -> None:
    """Add one found object to the tally."""
    dense = match_detection(detection, predictor.vertex_embeddings(detection.class_id))
    vertices = on_image(dense, truth.mask.shape)
    tally.mask_overlap.append(mask_overlap(vertices >= 0, truth.mask))
    if truth.vertex_map is None or geodesics is None:
        return
    both = (vertices >= 0) & (truth.vertex_map >= 0)
    tally.geodesic.append(geodesics[vertices[both], truth.vertex_map[both]])
    if truth.keypoints is not None and dense.mask.any():
        view = view_of(dense, len(geodesics))
        longest = max(truth.box[2] - truth.box[0], truth.box[3] - truth.box[1])
        tally.keypoint.append(np.linalg.norm(view.keypoints - truth.keypoints[view.ids], axis=1) / longest)


def on_image(dense, shape: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """A detection's vertex ids on the whole image, -1 outside its mask; parts beyond the border are cut."""
    canvas = np.full(shape, -1, dtype=np.int64)
    (x, y), (height, width) = dense.origin, dense.mask.shape
    top, left, bottom, right = max(y, 0), max(x, 0), min(y + height, shape[0]), min(x + width, shape[1])
    if top < bottom and left < right:
        part = slice(top - y, bottom - y), slice(left - x, right - x)
        canvas[top:bottom, left:right] = np.where(dense.mask[part], dense.vertex_ids[part], -1)
    return canvas
