"""Batches in the units of the rigid template's camera, and bodies placed before pinholes in closed form (ours)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dp3d_data.geometry.rigid_camera import Camera, Pinhole, fit_camera
from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.geometry.surface import Surface

# Rounds of the rigid fit on straightened keypoints.
ROUNDS = 4
# Least depth of a point, in distances to the object: nothing comes closer to the pinhole, or behind it.
NEAREST = 0.1


def normalise(surface: Surface, batch: KeypointBatch, camera_mode: str = "closed-form") -> KeypointBatch:
    """Fit the rigid camera; bring keypoints into template units: centred on the visible ones, over the camera's scale.

    Invisible keypoints are 0. Truth does not come along; see `in_units_of`.

    Args:
        batch: in image pixels; where its intrinsics are not finite, the projection is taken as orthographic.

    Raises:
        ShapeError: see fit_camera.
    """
    visible, weights, vertices = batch.visible, batch.weights, surface.vertices.to(batch.keypoints.device)
    keypoints = torch.where(visible[..., None], batch.keypoints, torch.zeros_like(batch.keypoints))
    centre = middle = visible_mean(keypoints, visible)
    pinhole = None
    if batch.intrinsics is None or not bool(batch.intrinsics.isfinite().all(1).any()):
        camera = fit_camera(vertices, keypoints, visible, weights)
    else:
        keypoints, rotation, per_focal = turned_towards(replace(batch, keypoints=keypoints))
        camera = fit_perspective(vertices, keypoints, visible, per_focal)
        middle = visible_mean(keypoints, visible)
        axis = torch.where((per_focal > 0)[:, None], -middle / camera.scale[:, None], torch.zeros_like(middle))
        pinhole = Pinhole(per_focal * camera.scale, axis, rotation)
    units = (keypoints - middle[:, None]) / camera.scale[:, None, None] * visible[..., None]
    if camera_mode == "learned":
        camera = replace(camera, rotation=torch.eye(3).to(keypoints).expand(len(keypoints), 3, 3))
    weights = None if weights is None else weights * visible
    return KeypointBatch(units, visible, weights, batch.intrinsics, camera=camera, centre=centre, pinhole=pinhole)


def in_units_of(inputs: KeypointBatch, targets: KeypointBatch) -> KeypointBatch:
    """Targets (image pixels) of the same instances, in the units and about the origin of normalised inputs."""
    keypoints, origin = targets.keypoints, present(inputs.centre)[:, None]
    if inputs.pinhole is not None and targets.intrinsics is not None:
        keypoints = through(about_the_axis(targets), inputs.pinhole.rotation)
        near = (inputs.pinhole.inverse_depth > 0)[:, None, None]
        origin = torch.where(near, -inputs.pinhole.axis[:, None] * present(inputs.camera).scale[:, None, None], origin)
    units = (keypoints - origin) / present(inputs.camera).scale[:, None, None]
    found = replace(
        inputs,
        keypoints=torch.where(targets.visible[..., None], units, torch.zeros_like(units)),
        visible=targets.visible,
    )
    if targets.true_vertices is None or targets.true_scale is None:
        return found
    factor = targets.true_scale / present(inputs.camera).scale
    return replace(found, true_vertices=factor[:, None, None] * targets.true_vertices, true_scale=factor)


def turned_towards(batch: KeypointBatch) -> tuple[Float[Tensor, "n k 2"], Float[Tensor, "n 3 3"], Float[Tensor, "n"]]:
    """What pinholes would see that are turned to where the visible keypoints' mean lies.

    A body away from the middle of an image is seen from another side than one in the middle; after the turn it is in
    the middle.

    Args:
        batch: with intrinsics, and keypoints that are finite also where not visible; nothing changes where intrinsics
            are not finite.

    Returns:
        Pixels from the turned camera's principal point (image pixels where unknown), camera_from_turned, and one over
        the focal length sqrt(fx fy), 0 where unknown.
    """
    batch = about_the_axis(batch)
    intrinsics = present(batch.intrinsics)
    known, length = intrinsics.isfinite().all(1), intrinsics[:, 0]
    flat = batch.keypoints / torch.where(known, length, torch.ones_like(length))[:, None, None]
    ahead = torch.nn.functional.pad(visible_mean(flat, batch.visible), (0, 1), value=1.0)
    rotation = rotation_to(torch.nn.functional.normalize(ahead, dim=1))
    rotation = torch.where(known[:, None, None], rotation, torch.eye(3).to(rotation))
    return through(batch, rotation), rotation, torch.where(known, 1.0 / length, torch.zeros_like(length))


def about_the_axis(batch: KeypointBatch) -> KeypointBatch:
    """Keypoints in square pixels about the principal point, with intrinsics sqrt(fx fy) twice, 0, 0; or the same.

    Such an image can be turned about its origin and mirrored, and its camera stays.
    """
    if batch.intrinsics is None:
        return batch
    known = batch.intrinsics.isfinite().all(1)[:, None]
    safe = torch.where(known, batch.intrinsics, batch.intrinsics.new_tensor([1.0, 1.0, 0.0, 0.0]))
    length = safe[:, :2].prod(1, keepdim=True).sqrt()
    square = torch.cat([length, length, torch.zeros_like(safe[:, 2:])], dim=1)
    keypoints = (batch.keypoints - safe[:, None, 2:]) * (length / safe[:, :2])[:, None]
    return replace(batch, keypoints=keypoints, intrinsics=torch.where(known, square, torch.nan))


def through(batch: KeypointBatch, rotation: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n k 2"]:
    """Pixels of turned cameras from a batch of about_the_axis; the same where the camera is unknown."""
    intrinsics = present(batch.intrinsics)
    known, length = intrinsics.isfinite().all(1), intrinsics[:, 0]
    length = torch.where(known, length, torch.ones_like(length))[:, None, None]
    rays = torch.nn.functional.pad(batch.keypoints / length, (0, 1), value=1.0) @ rotation
    return torch.where(known[:, None, None], length * rays[..., :2] / rays[..., 2:].clamp_min(1e-3), batch.keypoints)


def fit_perspective(
    template: Float[Tensor, "k 3"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    per_focal: Float[Tensor, "n"],
) -> Camera:
    """The rigid template's camera before turned pinholes; scale: pixels per unit at the visible vertices' mean depth.

    The closed-form fit, then again on keypoints that are straightened by the depths of the last fit (POSIT; DeMenthon
    and Davis 1995).

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


def depth_factor(depth: Float[Tensor, "n k"], inverse_depth: Float[Tensor, "n"]) -> Float[Tensor, "n k"]:
    """Distance of points over that of the visible ones' mean, from depths about that mean; 1 for parallel rays."""
    return (1.0 + inverse_depth[:, None] * depth).clamp_min(NEAREST)


def place(
    points: Float[Tensor, "n k 3"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    pinhole: Pinhole | None,
) -> Float[Tensor, "n k 2"]:
    """Where points of the turned camera's frame appear, in the observation's units, under the best image translation.

    u = (X_xy + t) / (1 + inverse_depth Z) + axis, Z the depth about the visible mean, and t the least squares of
    X_xy + t = (1 + inverse_depth Z) (u - axis) on the visible keypoints; without a pinhole, parallel rays.
    """
    flat = points[..., :2]
    if pinhole is None:
        return flat - (visible_mean(flat, visible) - visible_mean(keypoints, visible))[:, None]
    axis = pinhole.axis[:, None]
    factor = depth_factor(centred(points[..., 2], visible), pinhole.inverse_depth)[..., None]
    shift = visible_mean(factor * (keypoints - axis) - flat, visible)
    return (flat + shift[:, None]) / factor + axis


def solve_placement(
    points: Float[Tensor, "n k 3"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    pinhole: Pinhole | None,
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n"]]:
    """All three numbers of the translation, in closed form: t, and the distance d over that of the rigid template.

    The least squares of X_xy + t = (d + inverse_depth Z) (u - axis) on the visible keypoints, Z the depth about the
    visible mean. Without a pinhole d is one over the image scale that fits the body best.

    Returns:
        t [N, 2] template units, and d [N], kept so that every visible point lies before the pinhole.
    """
    seen = keypoints if pinhole is None else keypoints - pinhole.axis[:, None]
    depth = centred(points[..., 2], visible)
    bent, near = points[..., :2], torch.zeros_like(points[:, 0, 0])
    if pinhole is not None:
        bent = bent - (pinhole.inverse_depth[:, None] * depth)[..., None] * seen
        near = pinhole.inverse_depth * torch.where(visible, -depth, -torch.inf).max(1).values
    shown = visible[..., None]
    around, body = centred(seen, visible) * shown, centred(bent, visible) * shown
    distance = (around * body).sum((1, 2)) / around.square().sum((1, 2)).clamp_min(1e-12)
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


def align_translation(shape: Float[Tensor, "n k 3"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, "n k 3"]:
    """Remove what an image cannot tell: mean depth of all vertices, and x, y of the visible ones, which are solved."""
    flat = shape[..., :2] - visible_mean(shape[..., :2], visible)[:, None]
    return torch.cat([flat, shape[..., 2:] - shape[..., 2:].mean(1, keepdim=True)], dim=2)
