"""The losses of DensePose 3D, each a pure function (supplement, section B), and the lift-project-lift cycle.

Reprojection and rigidity leave depth free within what an image allows; a population of shapes seen from all sides does
not. So the network is also taught on its own answers: each shape is seen as another instance of the batch was seen,
with that one's camera and visibility, and must be lifted back to itself (the sleep phase of wake-sleep is its kin).
What side views tell of a body then serves the views from the front, and cameras are learned where they are known
exactly (ours).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.geometry.camera import random_rotations
from dp3d_model.geometry.perspective import align_translation
from dp3d_model.geometry.surface import Surface, farthest_points
from dp3d_model.networks.lifter import Lifted, Lifter

NOISE_FLOOR = 0.1
TENTHS = 10.0


def pseudo_huber(residual: Float[Tensor, "*batch c"], epsilon: float) -> Float[Tensor, "*batch"]:
    """eps (sqrt(1 + (|r| / eps)^2) - 1): quadratic near 0, |r| far away (supplement; eps 0.01 is C3DPO's)."""
    return epsilon * ((1.0 + residual.square().sum(-1) / epsilon**2).sqrt() - 1.0)


def reprojection_loss(
    projected: Float[Tensor, "n k 2"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], epsilon: float
) -> Float[Tensor, ""]:
    """L_rep: the mean over every visible keypoint of the batch, template units."""
    return visible_loss(pseudo_huber(projected - keypoints, epsilon), visible)


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
    return visible_loss(value, visible) / TENTHS**2


def shape_loss(
    found: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"], visible: Bool[Tensor, "n k"], epsilon: float
) -> Float[Tensor, "n"]:
    """The mean over vertices of h(found - true), one unit, camera frame, aligned by `align_translation` (ours)."""
    return pseudo_huber(align_translation(found, visible) - align_translation(true, visible), epsilon).mean(1)


def rotated_copies(
    posed: Float[Tensor, "n k 3"],
    copies: int,
    law: str,
    generator: torch.Generator,
    first: int = 0,
    whole: int | None = None,
) -> tuple[Float[Tensor, "m k 3"], Float[Tensor, "m k 3"]]:
    """Each shape `copies` times, centred: once as it is and once under a random rotation.

    Args:
        first, whole: where these shapes begin in a batch, and how many that has: each is turned as in one piece.
    """
    count = whole or len(posed)
    rotations = random_rotations(copies * count, law, generator).to(posed).reshape(copies, count, 3, 3)
    centred = (posed - posed.mean(1, keepdim=True)).repeat(copies, 1, 1)
    return centred, centred @ rotations[:, first : first + len(posed)].flatten(0, 1).transpose(1, 2)


def canonical_loss(found: Float[Tensor, "n k 3"], shape: Float[Tensor, "n k 3"], epsilon: float) -> Float[Tensor, ""]:
    """L_canon: the mean over vertices of h(Psi(R X) - X), both centred (ours)."""
    return pseudo_huber(found - found.mean(1, keepdim=True) - shape, epsilon).mean()


def entropy_loss(weights: Float[Tensor, "k m"]) -> Float[Tensor, ""]:
    """L_entropy: the mean over vertices of the entropy of the part assignment, nats: 0 if crisp, log M if uniform."""
    return -torch.special.xlogy(weights, weights.clamp_min(1e-30)).sum(1).mean()


def visible_loss(values: Float[Tensor, "n k"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, ""]:
    return (values * visible).sum() / visible.sum().clamp_min(1)


def other_views(lifter: Lifter, lifted: Lifted, inputs: KeypointBatch, generator: torch.Generator) -> KeypointBatch:
    """Every shape of a batch as seen by the camera, and with the visibility, of another instance; no gradient flows.

    Returns:
        Keypoints under parallel rays, template units, with the shapes as their truth.
    """
    with torch.no_grad():
        whole = lifter.decode(lifted.numbers.detach(), inputs)
        shapes = whole.log_scale.exp()[:, None, None] * whole.posed
        shift = int(torch.randint(1, max(len(shapes), 2), (), generator=generator))
        other = torch.roll(torch.arange(len(shapes)), shift)
        true = shapes @ whole.rotation[other].transpose(1, 2)
        return KeypointBatch(true[..., :2], inputs.visible[other], true_vertices=true)


def cycle_loss(
    lifter: Lifter, targets: KeypointBatch, chosen: Int[Tensor, "k"] | None, epsilon: float
) -> Float[Tensor, ""]:
    """L_cycle: the distance of what is lifted to what was projected, template units; see `shape_loss`."""
    inputs = lifter.normalise(targets)
    found = lifter(inputs, chosen)
    shape = (present(inputs.camera).scale * found.log_scale.exp())[:, None, None] * found.in_camera()
    targets = targets.at_vertices(chosen)
    return shape_loss(shape, present(targets.true_vertices), targets.visible, epsilon).mean()


MARGIN = 0.1  # the cosine to the viewer below which a visible vertex costs
SCALE = 0.1  # template units that a wrong cosine of 1 counts as


def faces_around(surface: Surface) -> Int[Tensor, "k d 3"]:
    """The corners of the faces around each vertex of the template, padded with faces of no area."""
    faces = surface.faces.long()
    owners, order = faces.ravel().sort(stable=True)
    count = torch.bincount(owners, minlength=len(surface.vertices))
    slots = torch.arange(len(owners)) - torch.repeat_interleave(count.cumsum(0) - count, count)
    corners = torch.zeros(len(surface.vertices), int(count.max()), 3, dtype=torch.long)
    corners[owners, slots] = faces[order // 3]
    return corners


def normals_at(
    corners: Int[Tensor, "all d 3"],
    points: Float[Tensor, "n k 3"],
    centres: Int[Tensor, "v"],
    chosen: Int[Tensor, "k"] | None,
) -> Float[Tensor, "n v 3"]:
    """Unit normals at some vertices, area-weighted means of the triangles around them, outward for faces wound outward.

    Args:
        corners: of `faces_around`.
        chosen: the K template vertices given, ascending, these triangles' corners among them; all without it.
    """
    corners = corners[centres]
    if chosen is not None:
        corners = torch.searchsorted(chosen, corners)
    rows = points.transpose(0, 1)
    a, b, c = (rows[corners[..., i]] for i in range(3))
    total = torch.linalg.cross(b - a, c - a).sum(1)
    return nn.functional.normalize(total, dim=-1, eps=1e-8).transpose(0, 1)


def back_face_loss(
    depth_of_normal: Float[Tensor, "n v"], visible: Bool[Tensor, "n v"], epsilon: float
) -> Float[Tensor, ""]:
    """L_back_face: the mean over visible vertices of h(max(0, n_z + margin)), n_z the normal away from the viewer.

    A vertex that is seen faces the viewer (z points away from them): the only sign of depth in the keypoints of an
    orthographic camera. Zero for any shape whose visible vertices do so.
    """
    wrong = SCALE * (depth_of_normal + MARGIN).clamp_min(0.0)
    return visible_loss(pseudo_huber(wrong[..., None], epsilon), visible)


def silhouette_loss(
    projected: Float[Tensor, "n v 2"],
    hidden: Bool[Tensor, "n v"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    slack: float,
    epsilon: float,
) -> Float[Tensor, ""]:
    """L_silhouette: the mean over hidden vertices of h(max(0, d - slack)), d the distance to the nearest visible one.

    What nothing in front hides would be seen, so hidden surface lies inside the outline of the visible one. It does not
    hold where the image's border or another object hides surface; the robust norm and the weight answer for these.

    Args:
        slack: distance between neighbouring vertices that means nothing, template units.
    """
    away = torch.where(visible, 0.0, 1e3)[:, None]
    nearest = (torch.cdist(projected.detach(), keypoints) + away).argmin(2)
    there = keypoints.gather(1, nearest[..., None].expand(-1, -1, 2))
    beyond = ((projected - there).norm(dim=2) - slack).clamp_min(0.0)
    return visible_loss(pseudo_huber(beyond[..., None], epsilon), hidden)


def outline_points(surface: Surface, count: int) -> tuple[Int[Tensor, "v"], float]:
    """Well-spread vertices to compare with, and the distance from any vertex to the nearest of them that is usual."""
    points = farthest_points(surface.vertices, count)
    reach = torch.cdist(surface.vertices, surface.vertices[points]).min(1).values
    return points, float(reach.quantile(0.95))
