"""What is seen of an instance, normalised by the rigid template's camera, and the numbers that the network reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_model.camera import Camera, fit_camera
from dp3d_model.surface import Surface, farthest_points


@dataclass(frozen=True)
class Observation:
    """Instances in template units.

    Attributes:
        keypoints: [N, K, 2] centred on the visible ones, divided by the camera's scale; 0 where not visible.
        visible: [N, K].
        camera: the rigid template's, or with the learned camera its scale and an identity rotation.
        centre: [N, 2] image pixels of the keypoints' origin.
    """

    keypoints: Float[Tensor, "n k 2"]
    visible: Bool[Tensor, "n k"]
    camera: Camera
    centre: Float[Tensor, "n 2"]

    def at(self, chosen: Int[Tensor, "v"] | None) -> Observation:
        """The same, of some template vertices only."""
        if chosen is None:
            return self
        return replace(self, keypoints=self.keypoints[:, chosen], visible=self.visible[:, chosen])

    def with_keypoints(self, keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"]) -> Observation:
        """Other keypoints (image pixels) of the same instances, in the units and about the origin of this observation."""
        units = (keypoints - self.centre[:, None]) / self.camera.scale[:, None, None]
        return replace(self, keypoints=torch.where(visible[..., None], units, torch.zeros_like(units)), visible=visible)


def observe(
    surface: Surface, keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], camera_mode: str = "closed-form"
) -> Observation:
    """Fit the rigid camera and bring the keypoints (image pixels) into template units.

    Raises:
        ShapeError: see fit_camera.
    """
    shown = visible[..., None].expand_as(keypoints)
    keypoints = torch.where(shown, keypoints, torch.zeros_like(keypoints))
    camera = fit_camera(surface.vertices, keypoints, visible)
    centre = visible_mean(keypoints, visible)
    units = (keypoints - centre[:, None]) / camera.scale[:, None, None] * visible[..., None]
    if camera_mode == "learned":
        camera = replace(camera, rotation=torch.eye(3).to(keypoints).expand(len(keypoints), 3, 3))
    return Observation(units, visible, camera, centre)


def visible_mean(points: Float[Tensor, "n k c"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, "n c"]:
    """The mean of the visible points; the others must be finite."""
    shares = visible.to(points.dtype) / visible.sum(1, keepdim=True).clamp_min(1)
    return (shares[:, None] @ points)[:, 0]


class Encoder(torch.nn.Module):
    """Turns observations into network inputs.

    "residual" (ours): what the rigid fit leaves of each visible vertex, y - R_0 x in tenths of the extent, lifted by R_0^T
    into the template's frame, with the visibility and the viewing direction; in-plane rotation drops out exactly.
    "keypoints" (supplement): the centred keypoints and the visibility, with R_0 where the camera is in closed form.
    Vertices are averaged over `cells` patches around well-spread seeds (ours), so that the input neither grows with the
    template nor depends on which vertices of a patch are seen; 0 cells feeds every vertex.
    """

    def __init__(self, surface: Surface, kind: str, cells: int) -> None:
        super().__init__()
        self.kind = kind
        vertices, areas = surface.vertices, surface.vertex_areas.clamp_min(1e-12)
        count = min(cells, len(vertices)) or len(vertices)
        owner = torch.arange(len(vertices))
        if count < len(vertices):
            owner = torch.cdist(vertices, vertices[farthest_points(vertices, count)]).argmin(1)
        total = torch.zeros(count).index_add_(0, owner, areas)
        self.count = count
        self.register_buffer("vertices", vertices, persistent=False)
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("share", (areas / total[owner])[:, None], persistent=False)
        self.size = count * (4 if kind == "residual" else 3) + (3 if kind == "residual" else 6)

    def forward(
        self, seen: Observation, placed: Float[Tensor, "n k 2"] | None = None, rotation: Float[Tensor, "n 3 3"] | None = None
    ) -> Float[Tensor, "n i"]:
        """The numbers that the network reads.

        Args:
            placed: where an earlier answer puts the vertices, in the units of the observation; the rigid template without it.
            rotation: the camera of that answer.
        """
        shown = seen.visible[..., None].to(seen.keypoints.dtype)
        rotation = seen.camera.rotation if rotation is None else rotation
        rows = rotation[:, :2]
        if self.kind == "residual":
            if placed is None:
                rigid = torch.einsum("nca,ka->nkc", rows, self.vertices)
                placed = rigid - visible_mean(rigid, seen.visible)[:, None]
            pooled = self._pool(torch.cat([10.0 * (seen.keypoints - placed) * shown, shown], dim=2))
            lifted = torch.einsum("npc,nca->npa", pooled[..., :2], rows)
            parts = [lifted.flatten(1), pooled[..., 2], rotation[:, 2]]
        else:
            pooled = self._pool(torch.cat([seen.keypoints * shown, shown], dim=2))
            parts = [pooled.flatten(1), rows.flatten(1)]
        return torch.cat(parts, dim=1)

    def _pool(self, values: Float[Tensor, "n k c"]) -> Float[Tensor, "n p c"]:
        """Means over the visible vertices of each patch; the last channel, visibility, becomes the visible share."""
        n, k, c = values.shape
        rows = self.share * values.transpose(0, 1).reshape(k, n * c)
        sums = rows.new_zeros(self.count, n * c).index_add_(0, self.owner, rows).reshape(self.count, n, c).transpose(0, 1)
        share = sums[..., -1:]
        return torch.cat([sums[..., :-1] / share.clamp_min(1e-6), share], dim=2)
