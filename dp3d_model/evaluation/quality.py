"""What can be said of a lifted instance without its true shape, and whether a model knows where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dp3d_data.errors import NothingToDo
from dp3d_data.geometry.renderer import silhouette
from dp3d_data.records import RunLength
from dp3d_data.run_lengths import mask_pixels
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.geometry.surface import Surface, farthest_points
from dp3d_model.lifting.test_time import halves
from dp3d_model.networks.lifter import Lifted, Lifter

STRETCH = 1.5
# Side of the pictures in which silhouettes are compared, pixels.
SIDE = 160
# Well-spread vertices at which answers are compared.
POINTS = 300
FIGURES = {
    "reprojection": "reprojection error, share of the keypoints' longer side",
    "silhouette_iou": "overlap of the silhouette with the network's mask",
    "stretched": "share of edges more than half longer than the template's",
    "agreement": "distance of the lifts of random halves of the keypoints to the answer, template extents",
    "confidence": "probability that the mean error is below a tenth of the extent",
}


def reprojection(projected: Float[np.ndarray, "k 2"], instances: KeypointBatch, i: int) -> float:
    """Mean distance of the visible vertices to their keypoints, as a share of the longer side of these."""
    visible = instances.visible[i].numpy()
    keypoints = instances.keypoints[i].numpy()[visible]
    off = np.linalg.norm(projected[visible] - keypoints, axis=1).mean()
    return float(off / max(np.ptp(keypoints, axis=0).max(), 1e-9))


def silhouette_iou(projected: Float[np.ndarray, "k 3"], faces: Int[np.ndarray, "f 3"], runs: RunLength | None) -> float:
    """Intersection over union of the silhouette and a mask, inside the image; NaN without a mask.

    Args:
        projected: x, y in image pixels, z away from the viewer in the same unit.
    """
    if runs is None:
        return float("nan")
    mask = mask_pixels(runs)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return float("nan")
    low = np.minimum([columns[0], rows[0]], projected[:, :2].min(0)).clip(0)
    high = np.minimum(np.maximum([columns[-1] + 1, rows[-1] + 1], projected[:, :2].max(0)), mask.shape[::-1])
    step = float((high - low).max()) / SIDE
    width, height = (max(int(np.ceil(side / step)), 1) for side in high - low)
    placed = np.concatenate([(projected[:, :2] - low) / step, projected[:, 2:] / step], axis=1)
    found = silhouette(placed, faces, width, height)
    x, y = (
        np.clip((start + (np.arange(n) + 0.5) * step).astype(int), 0, size - 1)
        for start, n, size in zip(low, (width, height), mask.shape[::-1], strict=True)
    )
    true = mask[y[:, None], x]
    return float((found & true).sum() / max((found | true).sum(), 1))


def stretched(vertices: Float[np.ndarray, "n k 3"], surface: Surface) -> Float[np.ndarray, "n"]:
    """Share of the edges that are more than STRETCH times as long as the template's."""
    edges = surface.edges
    rest, posed = (
        np.linalg.norm(x[..., edges[:, 0], :] - x[..., edges[:, 1], :], axis=-1)
        for x in (surface.vertices.numpy(), vertices)
    )
    return (posed > STRETCH * rest).mean(-1)


def agreement(
    lifter: Lifter, inputs: KeypointBatch, answers: Float[Tensor, "halves n d"], lifted: Lifted
) -> Float[np.ndarray, "n"]:
    """How far what the network makes of random halves of the keypoints lies from the answer, template extents.

    So it grows both where the halves differ and where test-time optimisation went away from what they say.

    Args:
        inputs: normalised instances.
        answers: see `dp3d_model.lifting.test_time.answers_to_halves`.
        lifted: the answer.
    """
    chosen, found = farthest_points(lifter.surface.vertices, POINTS), []
    with torch.no_grad():
        found.append(lifted.log_scale.exp()[:, None, None] * lifted.in_camera()[:, chosen])
        for half, numbers in zip(halves(inputs), answers, strict=True):
            one = lifter.decode(numbers, half, chosen)
            found.append(one.log_scale.exp()[:, None, None] * one.in_camera())
    points = torch.stack(found)
    points = points - points.mean(2, keepdim=True)
    return (points[1:] - points[0]).norm(dim=3).mean((0, 2)).cpu().numpy()


# The figures that confidence is made of.
FEATURES = ("reprojection", "silhouette_iou", "agreement")
# Mean error, template extents, that an instance to be confident of stays below.
GOOD = 0.1
RIDGE = 1e-2
BINS = 10


def features(figures: Mapping[str, Float[np.ndarray, "n"]]) -> Float[np.ndarray, "n f"]:
    """FEATURES of instances, the errors as logarithms; NaN where unknown."""
    return np.stack(
        [figures[name] if name == "silhouette_iou" else np.log(figures[name] + 0.003) for name in FEATURES], axis=1
    )


@dataclass(frozen=True)
class Calibration:
    """A logistic function of FEATURES: what is unknown counts as usual.

    Attributes:
        usual, spread: mean and standard deviation of each feature.
        slopes: of the features in standard deviations; the last is the constant.
    """

    usual: Float[np.ndarray, "f"]
    spread: Float[np.ndarray, "f"]
    slopes: Float[np.ndarray, "f_plus_1"]

    def confidence(self, values: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n"]:
        """The probability that an instance's mean error is below GOOD."""
        return 1.0 / (1.0 + np.exp(-self._design(values) @ self.slopes))

    def _design(self, values: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n f_plus_1"]:
        known = np.where(np.isfinite(values), values, self.usual)
        return np.column_stack([(known - self.usual) / self.spread, np.ones(len(values))])


def calibrate(values: Float[np.ndarray, "n f"], errors: Float[np.ndarray, "n"]) -> Calibration:
    """Logistic regression (with a small ridge) of whether errors are below GOOD, by Newton's method (ours).

    Args:
        errors: mean error of each instance, template extents.

    Raises:
        NothingToDo: fewer than ten instances on either side of GOOD.
    """
    good = errors < GOOD
    if min(good.sum(), (~good).sum()) < 10:
        got = f"{int(good.sum())} of {len(good)} instances below {GOOD:g}"
        raise NothingToDo("too few good or bad instances to calibrate on", got=got, expected="at least ten of either")
    known = [column[np.isfinite(column)] for column in values.T]
    usual = np.array([column.mean() if len(column) else 0.0 for column in known])
    spread = np.array([max(column.std(), 1e-6) if len(column) else 1.0 for column in known])
    start = Calibration(usual, spread, np.zeros(len(known) + 1))
    design, slopes = start._design(values), start.slopes
    for _ in range(30):
        found = 1.0 / (1.0 + np.exp(-design @ slopes))
        curve = design.T @ (design * (found * (1 - found))[:, None]) + RIDGE * len(good) * np.eye(len(slopes))
        slopes = slopes + np.linalg.solve(curve, design.T @ (good - found) - RIDGE * len(good) * slopes)
    return replace(start, slopes=slopes)


def spread_of(figures: Mapping[str, Float[np.ndarray, "n"]]) -> dict[str, dict[str, float]]:
    """Median, mean and worst of every figure that is known, as plain numbers."""
    found = {}
    for name, values in figures.items():
        known = values[np.isfinite(values)]
        if len(known):
            worst = known.min() if name in ("silhouette_iou", "confidence") else known.max()
            own = {"median": np.median(known), "mean": known.mean(), "worst": worst}
            found[name] = {kind: round(float(value), 6) for kind, value in own.items()}
    return found


def rank_correlation(a: Float[Tensor, "n"], b: Float[Tensor, "n"]) -> float:
    """Spearman's: the correlation of the ranks, equal values sharing their mean rank; 0 where either is constant."""
    from scipy.stats import spearmanr  # whose import takes a second

    if bool((a == a[0]).all() or (b == b[0]).all()):
        return 0.0
    return float(spearmanr(a, b).statistic)


def calibration(noise: Float[Tensor, "n"], errors: Float[Tensor, "n"]) -> list[dict[str, float]]:
    """Mean predicted noise and mean error of ten equally large bins, by rising noise."""
    order = noise.argsort(stable=True)
    columns = {"predicted": noise.double(), "error": errors.double()}
    return [
        {name: round(float(values[part].mean()), 6) for name, values in columns.items()}
        for part in order.tensor_split(BINS)
        if len(part)
    ]


def sparsification(noise: Float[Tensor, "n"], errors: Float[Tensor, "n"]) -> list[float]:
    """The mean error of what stays when 0, 10, .. 90 % of the values, those of the largest noise, are dropped."""
    kept = errors[noise.argsort(stable=True)].double()
    return [round(float(kept[: max(1, len(kept) * (BINS - i) // BINS)].mean()), 6) for i in range(BINS)]


def reliability(
    noise: Float[Tensor, "n s"], vertex_errors: Float[Tensor, "n s"], errors: Float[Tensor, "n"]
) -> dict[str, Any]:
    """All of it as plain numbers.

    Args:
        noise: predicted noise b of vertices, in tenths of the extent, as the loss has it.
        vertex_errors: their distance to the truth, template units.
        errors: of whole instances, for which the mean noise of their vertices speaks.
    """
    predicted, found, whole = noise.ravel() / 10.0, vertex_errors.ravel(), noise.mean(1)
    dropped = {"by_noise": sparsification(whole, errors), "oracle": sparsification(errors, errors)}
    gap = sum(a - b for a, b in zip(dropped["by_noise"], dropped["oracle"], strict=True)) / BINS
    return {
        "rank_correlation_of_vertices": round(rank_correlation(predicted, found), 4),
        "rank_correlation_of_instances": round(rank_correlation(whole, errors), 4),
        "calibration": calibration(predicted, found),
        "sparsification": dropped | {"gap": round(gap, 6)},
    }
