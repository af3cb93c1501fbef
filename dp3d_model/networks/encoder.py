"""The numbers that the network reads of a normalised batch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.geometry.perspective import place
from dp3d_model.geometry.surface import Surface, farthest_points


def residual(
    inputs: KeypointBatch,
    vertices: Float[Tensor, "k 3"],
    rotation: Float[Tensor, "n 3 3"],
    placed: Float[Tensor, "n k 2"] | None,
) -> Float[Tensor, "n k 2"]:
    """What the rigid template, or an answer that places the vertices, leaves of each keypoint, in tenths of the extent;
    0 where hidden."""
    if placed is None:
        placed = place(torch.einsum("nca,ka->nkc", rotation, vertices), inputs.keypoints, inputs.visible, inputs.lens)
    return 10.0 * (inputs.keypoints - placed) * inputs.visible[..., None]


class Encoder(torch.nn.Module):
    """Turns normalised batches into network inputs.

    "residual" (ours): what the rigid fit leaves of each visible vertex, y - R_0 x in tenths of the extent, lifted by
    R_0^T into the template's frame, with the visibility and the viewing direction; in-plane rotation drops out exactly.
    "keypoints" (supplement): the centred keypoints and the visibility, with R_0 where the camera is in closed form.
    Vertices are averaged over `cells` patches around well-spread seeds (ours), so that the input neither grows with the
    template nor depends on which vertices of a patch are seen; 0 cells feeds every vertex.
    """

    def __init__(self, surface: Surface, kind: str, cells: int) -> None:
        super().__init__()
        self.kind = kind
        count = min(cells, len(surface.vertices)) or len(surface.vertices)
        every = count == len(surface.vertices)
        seeds = surface.vertices if every else surface.vertices[farthest_points(surface.vertices, count)]
        self.register_buffer("seeds", seeds, persistent=False)
        self.count = count
        self._gather(surface, torch.arange(count) if every else self._nearest(surface))
        self.size = count * (4 if kind == "residual" else 3) + (3 if kind == "residual" else 6)

    def carry(self, surface: Surface) -> None:
        """Read another meshing of the template from now on: the patches keep their seeds, and some may be empty."""
        self._gather(surface, self._nearest(surface))

    def _nearest(self, surface: Surface) -> Int[Tensor, "k"]:
        return torch.cdist(surface.vertices, self.seeds.cpu()).argmin(1)

    def _gather(self, surface: Surface, owner: Int[Tensor, "k"]) -> None:
        areas = surface.vertex_areas.clamp_min(1e-12)
        total = torch.zeros(self.count).index_add_(0, owner, areas)
        self.register_buffer("vertices", surface.vertices, persistent=False)
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("share", (areas / total[owner])[:, None], persistent=False)

    def forward(
        self,
        inputs: KeypointBatch,
        placed: Float[Tensor, "n k 2"] | None = None,
        rotation: Float[Tensor, "n 3 3"] | None = None,
    ) -> Float[Tensor, "n i"]:
        """The numbers that the network reads.

        Args:
            placed: where an earlier answer puts the vertices, in the units of the inputs; the rigid template without
                it.
            rotation: the camera of that answer.
        """
        shown = inputs.visible[..., None].to(inputs.keypoints.dtype)
        rotation = inputs.camera.rotation if rotation is None else rotation
        rows = rotation[:, :2]
        if self.kind == "residual":
            pooled = self._pool(
                torch.cat([residual(inputs, self.vertices, rotation, placed), shown], dim=2), inputs.weights
            )
            lifted = torch.einsum("npc,nca->npa", pooled[..., :2], rows)
            parts = [lifted.flatten(1), pooled[..., 2], rotation[:, 2]]
        else:
            pooled = self._pool(torch.cat([inputs.keypoints * shown, shown], dim=2), inputs.weights)
            parts = [pooled.flatten(1), rows.flatten(1)]
        return torch.cat(parts, dim=1)

    def _pool(self, values: Float[Tensor, "n k c"], weights: Float[Tensor, "n k"] | None) -> Float[Tensor, "n p c"]:
        """Means over the visible vertices of each patch, as far as each is trusted; the last channel, visibility,
        becomes that share."""
        n, k, c = values.shape
        values = values if weights is None else values * weights[..., None]
        rows = self.share * values.transpose(0, 1).reshape(k, n * c)
        sums = (
            rows.new_zeros(self.count, n * c).index_add_(0, self.owner, rows).reshape(self.count, n, c).transpose(0, 1)
        )
        share = sums[..., -1:]
        return torch.cat([sums[..., :-1] / share.clamp_min(1e-6), share], dim=2)
