"""What visibility says about a posed surface: visible vertices face the viewer, hidden ones lie behind visible ones
(ours)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dp3d_model.geometry.surface import Surface, farthest_points
from dp3d_model.losses.terms import pseudo_huber

MARGIN = 0.1  # the cosine to the viewer below which a visible vertex costs
SCALE = 0.1  # template units that a wrong cosine of 1 counts as


class Normals(nn.Module):
    """The faces around each vertex of the template, so that normals of drawn vertices can be found."""

    def __init__(self, surface: Surface) -> None:
        super().__init__()
        faces = surface.faces.long()
        owners, order = faces.ravel().sort(stable=True)
        count = torch.bincount(owners, minlength=len(surface.vertices))
        slots = torch.arange(len(owners)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        corners = torch.zeros(len(surface.vertices), int(count.max()), 3, dtype=torch.long)
        corners[owners, slots] = faces[order // 3]
        self.register_buffer("corners", corners, persistent=False)

    def forward(
        self, points: Float[Tensor, "n k 3"], centres: Int[Tensor, "v"], chosen: Int[Tensor, "k"] | None
    ) -> Float[Tensor, "n v 3"]:
        """Unit normals at some vertices, area-weighted means of the triangles around them, outward for faces wound
        outward."""
        corners = self.corners[centres]
        if chosen is not None:
            corners = torch.searchsorted(chosen, corners)
        rows = points.transpose(0, 1)
        a, b, c = (rows[corners[..., i]] for i in range(3))
        total = torch.linalg.cross(b - a, c - a).sum(1)
        return nn.functional.normalize(total, dim=-1, eps=1e-8).transpose(0, 1)


def back_face_loss(
    depth_of_normal: Float[Tensor, "n v"], visible: Bool[Tensor, "n v"], epsilon: float
) -> Float[Tensor, ""]:
    """L_back_face: the mean over visible vertices of h(max(0, n_z + margin)), n_z the normal's part away from the
    viewer.

    A vertex that is seen faces the viewer (z points away from them): the only sign of depth in the keypoints of an
    orthographic camera. Zero for any shape whose visible vertices do so.
    """
    wrong = SCALE * (depth_of_normal + MARGIN).clamp_min(0.0)
    return (pseudo_huber(wrong[..., None], epsilon) * visible).sum() / visible.sum().clamp_min(1)


def silhouette_loss(
    projected: Float[Tensor, "n v 2"],
    hidden: Bool[Tensor, "n v"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    slack: float,
    epsilon: float,
) -> Float[Tensor, ""]:
    """L_silhouette: the mean over hidden vertices of h(max(0, d - slack)), d the distance in the image to the nearest
    visible keypoint.

    What nothing in front hides would be seen, so hidden surface lies inside the outline of the visible one. It does not
    hold where the image's border or another object hides surface; the robust norm and the weight have to answer for
    these.

    Args:
        slack: distance between neighbouring vertices that means nothing, template units.
    """
    away = torch.where(visible, 0.0, 1e3)[:, None]
    nearest = (torch.cdist(projected.detach(), keypoints) + away).argmin(2)
    there = keypoints.gather(1, nearest[..., None].expand(-1, -1, 2))
    beyond = ((projected - there).norm(dim=2) - slack).clamp_min(0.0)
    return (pseudo_huber(beyond[..., None], epsilon) * hidden).sum() / hidden.sum().clamp_min(1)


def outline_points(surface: Surface, count: int) -> tuple[Int[Tensor, "v"], float]:
    """Well-spread vertices to compare with, and the distance from any vertex to the nearest of them that is usual."""
    points = farthest_points(surface.vertices, count)
    reach = torch.cdist(surface.vertices, surface.vertices[points]).min(1).values
    return points, float(reach.quantile(0.95))
