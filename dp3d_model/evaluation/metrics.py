"""Errors of lifted shapes against the truth, by instance and by vertex."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dp3d_model.geometry.camera import nearest_rotation
from dp3d_model.geometry.perspective import visible_mean


def align_translation(shape: Float[Tensor, "n k 3"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, "n k 3"]:
    """Remove what an image cannot tell: the mean depth of all vertices, and x, y of the visible ones (their translation
    is solved from the keypoints)."""
    flat = shape[..., :2] - visible_mean(shape[..., :2], visible)[:, None]
    return torch.cat([flat, shape[..., 2:] - shape[..., 2:].mean(1, keepdim=True)], dim=2)


def position_error(predicted: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """MPJPE: the mean over vertices of the distance, in the unit of the input."""
    return (predicted - true).norm(dim=2).mean(1)


def flip_depth(shape: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
    """The shape mirrored in depth, which an orthographic camera cannot tell apart."""
    return shape * shape.new_tensor([1.0, 1.0, -1.0])


def replace_visible(
    predicted: Float[Tensor, "n k 3"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"]
) -> Float[Tensor, "n k 3"]:
    """The prediction with x, y of the visible vertices taken from the input (C3DPO's convention), same unit, both
    centred."""
    flat = torch.where(visible[..., None], keypoints, predicted[..., :2])
    return torch.cat([flat, predicted[..., 2:]], dim=2)


def similarity_error(predicted: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """PA-MPJPE: the position error after the best rotation, scale and translation of the prediction (least squares)."""
    x = predicted - predicted.mean(1, keepdim=True)
    y = true - true.mean(1, keepdim=True)
    mixed = y.transpose(1, 2) @ x
    turn = nearest_rotation(mixed)
    scale = (turn * mixed).sum((1, 2)) / x.square().sum((1, 2)).clamp_min(1e-12)
    return position_error(scale[:, None, None] * x @ turn.transpose(1, 2), y)


def stress(predicted: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """The mean absolute difference of pairwise distances, over pairs of different vertices."""
    k = predicted.shape[1]
    exact = "donot_use_mm_for_euclid_dist"
    one, two = (torch.cdist(points, points, compute_mode=exact) for points in (predicted, true))
    return (one - two).abs().sum((1, 2)) / max(k * (k - 1), 1)
