"""The camera of the rigid template in closed form: affine fit, orthonormal rows, scale; and where it stands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dp3d_data.errors import ShapeError

RIDGE = 1e-9
# What a keypoint of weight 0 weighs: where none is trusted, all count alike.
LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class Camera:
    """Orthographic cameras: keypoint = scale * (rotation @ vertex)[:2] + translation.

    Attributes:
        rotation: [N, 3, 3] camera_from_template; camera frame x right, y down, z away from the viewer.
        scale: [N] pixels per template unit.
        translation: [N, 2] pixels.
    """

    rotation: Float[Tensor, "n 3 3"]
    scale: Float[Tensor, "n"]
    translation: Float[Tensor, "n 2"]


@dataclass(frozen=True)
class Pinhole:
    """Pinholes turned towards their objects, in template units; parallel rays where inverse_depth is 0.

    Attributes:
        inverse_depth: [N] one over the distance that the rigid template has; template units.
        axis: [N, 2] where the turned camera looks, from the keypoints' origin.
        rotation: [N, 3, 3] camera_from_turned: from the turned camera to that of the image.
    """

    inverse_depth: Float[Tensor, "n"]
    axis: Float[Tensor, "n 2"]
    rotation: Float[Tensor, "n 3 3"]


def fit_camera(
    template: Float[Tensor, "k 3"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    weights: Float[Tensor, "n k"] | None = None,
) -> Camera:
    """The camera of the rigid template (ours): the affine map that fits best, then the orthonormal rows nearest to it.

    Args:
        template: vertices, template units.
        keypoints: image pixels, x right, y down; values where not visible do not matter.
        visible: at least one vertex per instance; four that span space for a unique answer.
        weights: of the squared distances of visible vertices; None for all alike.

    Raises:
        ShapeError: the arrays do not belong together, or an instance has no visible vertex.
    """
    if keypoints.shape[:2] != visible.shape or keypoints.shape[1] != len(template):
        got = f"{tuple(keypoints.shape)} keypoints, {tuple(visible.shape)} visible, {len(template)} vertices"
        raise ShapeError("keypoints, visibility and template differ in the number of vertices", got=got)
    if not bool(visible.any(1).all()):
        expected = "at least one; build-shards drops such instances"
        raise ShapeError("an instance has no visible vertex", expected=expected)
    mass = visible.to(torch.float64)
    if weights is not None:
        mass = mass * (weights.to(torch.float64) + LEAST_WEIGHT)
    x = template.to(torch.float64)
    y = torch.where(visible[..., None].expand_as(keypoints), keypoints, torch.zeros_like(keypoints)).to(torch.float64)
    share = mass / mass.sum(1, keepdim=True)
    x_mean, y_mean = share @ x, (share[:, None] @ y)[:, 0]
    products = (share @ (x[:, :, None] * x[:, None, :]).reshape(-1, 9)).reshape(-1, 3, 3)
    squares = products - x_mean[:, :, None] * x_mean[:, None, :]
    mixed = (y * share[..., None]).transpose(1, 2) @ x - y_mean[:, :, None] * x_mean[:, None, :]
    ridge = RIDGE * squares.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-12)
    squares = squares + ridge[:, None, None] * torch.eye(3, dtype=x.dtype, device=x.device)
    affine = torch.linalg.solve(squares, mixed.transpose(1, 2)).transpose(1, 2)
    rows, scale = orthonormal_rows(affine)
    rotation = torch.cat([rows, torch.linalg.cross(rows[:, :1], rows[:, 1:])], dim=1)
    translation = y_mean - scale[:, None] * torch.einsum("nca,na->nc", rows, x_mean)
    return Camera(*(part.to(template.dtype) for part in (rotation, scale, translation)))


def orthonormal_rows(affine: Float[Tensor, "n 2 3"]) -> tuple[Float[Tensor, "n 2 3"], Float[Tensor, "n"]]:
    """The pair of orthonormal rows nearest to each affine map, and the mean of its two singular values.

    For A of rank 2 the rows are (A A^T)^(-1/2) A, and a 2x2 square root has a closed form: with d = sqrt(det M) and
    t = sqrt(trace M + 2 d), M^(1/2) = (M + d I) / t, whose trace t is the sum of the singular values.
    """
    gram = affine @ affine.transpose(1, 2)
    a, b, c = gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]
    floor = 1e-12 * (a + c).clamp_min(1e-30)
    d = (a * c - b * b).clamp_min(0.0).sqrt() + floor
    t = (a + c + 2.0 * d).sqrt()
    det = ((a + d) * (c + d) - b * b).clamp_min(1e-30)
    inverse = torch.stack([torch.stack([c + d, -b], -1), torch.stack([-b, a + d], -1)], -2)
    return (t / det)[:, None, None] * inverse @ affine, t / 2.0


def view_angles(rotation: Float[Tensor, "n 3 3"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Where each camera stands, in the template frame: azimuth about z in -180..180 and elevation in -90..90, degrees.

    Azimuth 0 is along x (before the built-in dog's nose), 90 along y (on its left); elevation 90 is above.

    Args:
        rotation: camera_from_template; its third row points away from the viewer.
    """
    x, y, z = (-rotation[:, 2]).unbind(1)
    return torch.rad2deg(torch.atan2(y, x)), torch.rad2deg(torch.asin(z.clamp(-1.0, 1.0)))


def fit_residual(
    camera: Camera, template: Float[Tensor, "k 3"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"]
) -> Float[Tensor, "n"]:
    """Root mean square distance of visible keypoints to the rigid template under its camera, template units."""
    flat = torch.einsum("nca,ka->nkc", camera.rotation[:, :2], template)
    seen = (keypoints - camera.translation[:, None]) / camera.scale[:, None, None]
    squares = torch.where(visible, (seen - flat).square().sum(2), torch.zeros_like(seen[..., 0]))
    return (squares.sum(1) / visible.sum(1).clamp_min(1)).sqrt()
