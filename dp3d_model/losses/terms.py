"""The losses of DensePose 3D, each a pure function (weights and robust norm: supplement, sections A and C)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dp3d_model.evaluation.metrics import align_translation

NOISE_FLOOR = 0.1
TENTHS = 10.0


def pseudo_huber(residual: Float[Tensor, "*batch c"], epsilon: float) -> Float[Tensor, "*batch"]:
    """eps (sqrt(1 + (|r| / eps)^2) - 1): quadratic near 0, |r| far away (supplement; eps 0.01 is C3DPO's)."""
    return epsilon * ((1.0 + residual.square().sum(-1) / epsilon**2).sqrt() - 1.0)


def reprojection_loss(
    projected: Float[Tensor, "n k 2"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], epsilon: float
) -> Float[Tensor, ""]:
    """L_rep: the mean over every visible keypoint of the batch, template units."""
    return _visible_mean(pseudo_huber(projected - keypoints, epsilon), visible)


def noisy_reprojection_loss(
    projected: Float[Tensor, "n k 2"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    noise: Float[Tensor, "n k"],
    epsilon: float,
    form: str = "clipped",
) -> Float[Tensor, ""]:
    """L_rep with a predicted noise b per keypoint: log b + h / max(b, 0.1) (supplement, section C).

    The literal formula clips the denominator only, so log b alone falls without bound as b goes to 0; "clipped" (ours,
    the default) clips both. h is in tenths of the extent, and the sum is divided by 100 (ours): at the floor the
    gradient is that of the plain loss.
    """
    clipped = noise.clamp_min(NOISE_FLOOR)
    logarithm = (clipped if form == "clipped" else noise.clamp_min(1e-12)).log()
    value = logarithm + TENTHS * pseudo_huber(projected - keypoints, epsilon) / clipped
    return _visible_mean(value, visible) / TENTHS**2


def shape_loss(
    found: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"], visible: Bool[Tensor, "n k"], epsilon: float
) -> Float[Tensor, "n"]:
    """The mean over vertices of h(found - true), one unit, camera frame; x, y aligned on the visible vertices and depth
    on the mean, as in the evaluation (ours)."""
    return pseudo_huber(align_translation(found, visible) - align_translation(true, visible), epsilon).mean(1)


def canonical_loss(found: Float[Tensor, "n k 3"], shape: Float[Tensor, "n k 3"], epsilon: float) -> Float[Tensor, ""]:
    """L_canon: the mean over vertices of h(Psi(R X) - X), both centred (ours)."""
    return pseudo_huber(found - found.mean(1, keepdim=True) - shape, epsilon).mean()


def entropy_loss(weights: Float[Tensor, "k m"]) -> Float[Tensor, ""]:
    """L_entropy: the mean over vertices of the entropy of the part assignment, in nats; 0 when crisp, log M when
    uniform."""
    return -torch.special.xlogy(weights, weights.clamp_min(1e-30)).sum(1).mean()


def _visible_mean(values: Float[Tensor, "n k"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, ""]:
    return (values * visible).sum() / visible.sum().clamp_min(1)
