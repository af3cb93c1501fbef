"""Perspective where intrinsics are known: looking along the object's ray, and placing a body before a pinhole in closed form (ours)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dp3d_data.geometry.rigid_camera import Camera, fit_camera

# Rounds of the rigid fit on straightened keypoints.
ROUNDS = 4
# Least depth of a point, in distances to the object: nothing comes closer to the pinhole, or behind it.
NEAREST = 0.1


@dataclass(frozen=True)
class Lens:
    """Pinholes turned towards their objects, in the units of the observation; parallel rays where nearness is 0.

    Attributes:
        nearness: [N] one over the distance that the rigid template has; template units.
        axis: [N, 2] where the turned camera looks, from the keypoints' origin.
        turn: [N, 3, 3] camera_from_turned: from the turned camera to that of the image.
    """

    nearness: Float[Tensor, "n"]
    axis: Float[Tensor, "n 2"]
    turn: Float[Tensor, "n 3 3"]


def turned_towards(
    keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], cameras: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n k 2"], Float[Tensor, "n 3 3"], Float[Tensor, "n"]]:
    """What pinholes would see that are turned to where the visible keypoints' mean lies.

    A body away from the middle of an image is seen from another side than one in the middle; after the turn it is in the middle.

    Args:
        keypoints: image pixels, finite also where not visible.
        cameras: fx, fy, cx, cy, image pixels; not finite where unknown, and nothing changes there.

    Returns:
        Pixels from the turned camera's principal point (image pixels where unknown), camera_from_turned, and one over the focal length
        sqrt(fx fy), 0 where unknown.
    """
    ideal, square = about_the_axis(keypoints, cameras)
    known, length = square.isfinite().all(1), square[:, 0]
    flat = ideal / torch.where(known, length, torch.ones_like(length))[:, None, None]
    ahead = torch.nn.functional.pad(visible_mean(flat, visible), (0, 1), value=1.0)
    turn = rotation_to(torch.nn.functional.normalize(ahead, dim=1))
    turn = torch.where(known[:, None, None], turn, torch.eye(3).to(turn))
    return through(ideal, square, turn), turn, torch.where(known, 1.0 / length, torch.zeros_like(length))


def about_the_axis(keypoints: Float[Tensor, "n k 2"], cameras: Float[Tensor, "n 4"]) -> tuple[Tensor, Tensor]:
    """Keypoints in square pixels about the principal point, and the cameras of these: sqrt(fx fy) twice, 0, 0; the same where unknown.

    Such an image can be turned about its origin and mirrored, and its camera stays.
    """
    known = cameras.isfinite().all(1)[:, None]
    safe = torch.where(known, cameras, cameras.new_tensor([1.0, 1.0, 0.0, 0.0]))
    length = safe[:, :2].prod(1, keepdim=True).sqrt()
    square = torch.cat([length, length, torch.zeros_like(safe[:, 2:])], dim=1)
    return (keypoints - safe[:, None, 2:]) * (length / safe[:, :2])[:, None], torch.where(known, square, torch.nan)


def through(keypoints: Float[Tensor, "n k 2"], square: Float[Tensor, "n 4"], turn: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n k 2"]:
    """Pixels of turned cameras from those of about_the_axis; the same where the camera is unknown."""
    known = square.isfinite().all(1)
    length = torch.where(known, square[:, 0], torch.ones_like(square[:, 0]))[:, None, None]
    rays = torch.nn.functional.pad(keypoints / length, (0, 1), value=1.0) @ turn
    return torch.where(known[:, None, None], length * rays[..., :2] / rays[..., 2:].clamp_min(1e-3), keypoints)


def fit_perspective(
    template: Float[Tensor, "k 3"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], per_focal: Float[Tensor, "n"]
) -> Camera:
    """The rigid template's camera before turned pinholes; scale is in pixels per template unit at the visible vertices' mean depth.

    The closed-form fit, then again on keypoints that are straightened by the depths of the last fit (POSIT; DeMenthon and Davis 1995).

    Args:
        keypoints: pixels from the principal point.
        per_focal: one over the focal length, 1 / pixels; 0 for parallel rays, which the first fit already answers.

    Raises:
        ShapeError: see fit_camera.
    """
    camera = fit_camera(template, keypoints, visible)
    for _ in range(ROUNDS if bool((per_focal > 0).any()) else 0):
        depth = centred(camera.rotation[:, 2] @ template.T, visible)
        camera = fit_camera(template, keypoints * depth_factor(depth, per_focal * camera.scale)[..., None], visible)
    return camera


def depth_factor(depth: Float[Tensor, "n k"], nearness: Float[Tensor, "n"]) -> Float[Tensor, "n k"]:
    """Distance of points over that of the visible ones' mean, from depths about that mean; 1 for parallel rays."""
    return (1.0 + nearness[:, None] * depth).clamp_min(NEAREST)


def place(
    points: Float[Tensor, "n k 3"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], lens: Lens | None
) -> Float[Tensor, "n k 2"]:
    """Where points of the turned camera's frame appear, in the units of the observation, under the best image translation.

    u = (X_xy + t) / (1 + nearness Z) + axis, Z the depth about the visible mean, and t the least squares of
    X_xy + t = (1 + nearness Z) (u - axis) on the visible keypoints; without a lens, parallel rays.
    """
    flat = points[..., :2]
    if lens is None:
        return flat - (visible_mean(flat, visible) - visible_mean(keypoints, visible))[:, None]
    factor, axis = depth_factor(centred(points[..., 2], visible), lens.nearness)[..., None], lens.axis[:, None]
    shift = visible_mean(factor * (keypoints - axis) - flat, visible)
    return (flat + shift[:, None]) / factor + axis


def solve_placement(
    points: Float[Tensor, "n k 3"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], lens: Lens | None
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """All three numbers of the translation, linearly and in closed form: t, and the distance d over that of the rigid template.

    The least squares of X_xy + t = (d + nearness Z) (u - axis) on the visible keypoints, Z the depth about the visible mean. Without a
    lens d is one over the image scale that fits the body best.

    Returns:
        t [N, 2] template units, and d [N], kept so that every visible point lies before the pinhole.
    """
    seen = keypoints if lens is None else keypoints - lens.axis[:, None]
    depth = centred(points[..., 2], visible)
    bent = points[..., :2]
    if lens is not None:
        bent = bent - (lens.nearness[:, None] * depth)[..., None] * seen
    shown = visible[..., None]
    around, body = centred(seen, visible) * shown, centred(bent, visible) * shown
    distance = (around * body).sum((1, 2)) / around.square().sum((1, 2)).clamp_min(1e-12)
    near = torch.zeros_like(distance) if lens is None else lens.nearness * torch.where(visible, -depth, -torch.inf).max(1).values
    distance = torch.maximum(distance, near.detach() + NEAREST)
    return distance[:, None] * visible_mean(seen, visible) - visible_mean(bent, visible), distance


def rotation_to(direction: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """The smallest rotations that bring the z axis to unit vectors with z above 0."""
    x, y, z = direction.unbind(1)
    share = 1.0 / (1.0 + z)
    rows = (1.0 - x * x * share, -x * y * share, x, -x * y * share, 1.0 - y * y * share, y, -x, -y, z)
    return torch.stack(rows, dim=1).reshape(-1, 3, 3)


def visible_mean(points: Float[Tensor, "n k c"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, "n c"]:
    """The mean of the visible points; the others must be finite."""
    shares = visible.to(points.dtype) / visible.sum(1, keepdim=True).clamp_min(1)
    return (shares[:, None] @ points)[:, 0]


def centred(values: Float[Tensor, "n k *c"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, "n k *c"]:
    """Values, one or several for each vertex, about their mean over the visible ones."""
    columns = values if values.dim() == 3 else values[..., None]
    return (columns - visible_mean(columns, visible)[:, None]).reshape(values.shape)
