"""Batches normalised by the rigid template's camera, and the numbers that the network reads of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dp3d_data.geometry.rigid_camera import Lens, fit_camera
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.geometry.perspective import about_the_axis, fit_perspective, place, through, turned_towards, visible_mean
from dp3d_model.geometry.surface import Surface, farthest_points


def normalise(surface: Surface, batch: KeypointBatch, camera_mode: str = "closed-form") -> KeypointBatch:
    """Fit the rigid camera, and bring the keypoints into template units: centred on the visible ones, divided by the camera's scale.

    Invisible keypoints are 0. Truth does not come along; see `in_units_of`.

    Args:
        batch: in image pixels; where its intrinsics are not finite, the projection is taken as orthographic.

    Raises:
        ShapeError: see fit_camera.
    """
    visible, weights = batch.visible, batch.weights
    keypoints = torch.where(visible[..., None], batch.keypoints, torch.zeros_like(batch.keypoints))
    centre = middle = visible_mean(keypoints, visible)
    lens = None
    if batch.intrinsics is None or not bool(batch.intrinsics.isfinite().all(1).any()):
        camera = fit_camera(surface.vertices, keypoints, visible, weights)
    else:
        keypoints, turn, per_focal = turned_towards(keypoints, visible, batch.intrinsics)
        camera = fit_perspective(surface.vertices, keypoints, visible, per_focal)
        middle = visible_mean(keypoints, visible)
        axis = torch.where((per_focal > 0)[:, None], -middle / camera.scale[:, None], torch.zeros_like(middle))
        lens = Lens(per_focal * camera.scale, axis, turn)
    units = (keypoints - middle[:, None]) / camera.scale[:, None, None] * visible[..., None]
    if camera_mode == "learned":
        camera = replace(camera, rotation=torch.eye(3).to(keypoints).expand(len(keypoints), 3, 3))
    weights = None if weights is None else weights * visible
    return KeypointBatch(units, visible, weights, batch.intrinsics, camera=camera, centre=centre, lens=lens)


def in_units_of(inputs: KeypointBatch, targets: KeypointBatch) -> KeypointBatch:
    """Targets (image pixels) of the same instances and cameras, in the units and about the origin of normalised inputs."""
    keypoints, origin = targets.keypoints, inputs.centre[:, None]
    if inputs.lens is not None and targets.intrinsics is not None:
        ideal, square = about_the_axis(keypoints, targets.intrinsics)
        keypoints = through(ideal, square, inputs.lens.turn)
        pinhole = (inputs.lens.nearness > 0)[:, None, None]
        origin = torch.where(pinhole, -inputs.lens.axis[:, None] * inputs.camera.scale[:, None, None], origin)
    units = (keypoints - origin) / inputs.camera.scale[:, None, None]
    found = replace(inputs, keypoints=torch.where(targets.visible[..., None], units, torch.zeros_like(units)), visible=targets.visible)
    if targets.true_vertices is None or targets.true_scale is None:
        return found
    factor = targets.true_scale / inputs.camera.scale
    return replace(found, true_vertices=factor[:, None, None] * targets.true_vertices, true_scale=factor)


def residual(
    inputs: KeypointBatch, vertices: Float[Tensor, "k 3"], rotation: Float[Tensor, "n 3 3"], placed: Float[Tensor, "n k 2"] | None
) -> Float[Tensor, "n k 2"]:
    """What the rigid template, or an answer that places the vertices, leaves of each keypoint, in tenths of the extent; 0 where hidden."""
    if placed is None:
        placed = place(torch.einsum("nca,ka->nkc", rotation, vertices), inputs.keypoints, inputs.visible, inputs.lens)
    return 10.0 * (inputs.keypoints - placed) * inputs.visible[..., None]


class Encoder(torch.nn.Module):
    """Turns normalised batches into network inputs.

    "residual" (ours): what the rigid fit leaves of each visible vertex, y - R_0 x in tenths of the extent, lifted by R_0^T
    into the template's frame, with the visibility and the viewing direction; in-plane rotation drops out exactly.
    "keypoints" (supplement): the centred keypoints and the visibility, with R_0 where the camera is in closed form.
    Vertices are averaged over `cells` patches around well-spread seeds (ours), so that the input neither grows with the
    template nor depends on which vertices of a patch are seen; 0 cells feeds every vertex.
    """

    def __init__(self, surface: Surface, kind: str, cells: int) -> None:
        super().__init__()
        self.kind = kind
        count = min(cells, len(surface.vertices)) or len(surface.vertices)
        every = count == len(surface.vertices)
        self.seeds = surface.vertices if every else surface.vertices[farthest_points(surface.vertices, count)]
        self.count = count
        self._gather(surface, torch.arange(count) if every else self._nearest(surface))
        self.size = count * (4 if kind == "residual" else 3) + (3 if kind == "residual" else 6)

    def carry(self, surface: Surface) -> None:
        """Read another meshing of the template from now on: the patches keep their seeds, and some may be empty."""
        self._gather(surface, self._nearest(surface))

    def _nearest(self, surface: Surface) -> Int[Tensor, "k"]:
        return torch.cdist(surface.vertices, self.seeds).argmin(1)

    def _gather(self, surface: Surface, owner: Int[Tensor, "k"]) -> None:
        areas = surface.vertex_areas.clamp_min(1e-12)
        total = torch.zeros(self.count).index_add_(0, owner, areas)
        self.register_buffer("vertices", surface.vertices, persistent=False)
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("share", (areas / total[owner])[:, None], persistent=False)

    def forward(
        self, inputs: KeypointBatch, placed: Float[Tensor, "n k 2"] | None = None, rotation: Float[Tensor, "n 3 3"] | None = None
    ) -> Float[Tensor, "n i"]:
        """The numbers that the network reads.

        Args:
            placed: where an earlier answer puts the vertices, in the units of the inputs; the rigid template without it.
            rotation: the camera of that answer.
        """
        shown = inputs.visible[..., None].to(inputs.keypoints.dtype)
        rotation = inputs.camera.rotation if rotation is None else rotation
        rows = rotation[:, :2]
        if self.kind == "residual":
            pooled = self._pool(torch.cat([residual(inputs, self.vertices, rotation, placed), shown], dim=2), inputs.weights)
            lifted = torch.einsum("npc,nca->npa", pooled[..., :2], rows)
            parts = [lifted.flatten(1), pooled[..., 2], rotation[:, 2]]
        else:
            pooled = self._pool(torch.cat([inputs.keypoints * shown, shown], dim=2), inputs.weights)
            parts = [pooled.flatten(1), rows.flatten(1)]
        return torch.cat(parts, dim=1)

    def _pool(self, values: Float[Tensor, "n k c"], weights: Float[Tensor, "n k"] | None) -> Float[Tensor, "n p c"]:
        """Means over the visible vertices of each patch, as far as each is trusted; the last channel, visibility, becomes that share."""
        n, k, c = values.shape
        values = values if weights is None else values * weights[..., None]
        rows = self.share * values.transpose(0, 1).reshape(k, n * c)
        sums = rows.new_zeros(self.count, n * c).index_add_(0, self.owner, rows).reshape(self.count, n, c).transpose(0, 1)
        share = sums[..., -1:]
        return torch.cat([sums[..., :-1] / share.clamp_min(1e-6), share], dim=2)
