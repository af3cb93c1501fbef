"""As rigid as possible: how far the one-ring of each vertex is from a rotated copy of itself at rest."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_model.losses import pseudo_huber
from dp3d_model.rotation_fit import nearest_rotation
from dp3d_model.surface import Surface

REFERENCE_LENGTH = 0.1


class OneRings(nn.Module):
    """The neighbours of each vertex, padded to the largest ring, with the weight of each edge.

    An edge weighs |cotangent| * length^2, which is the surface that it stands for, whatever the mesh's resolution
    (the weights of a flat mesh sum to four times its area); padding weighs 0.
    """

    def __init__(self, surface: Surface) -> None:
        super().__init__()
        tails, heads, cotangents = _directed_edges(surface.vertices, surface.faces.long())
        count = torch.bincount(tails, minlength=len(surface.vertices))
        slots = torch.arange(len(tails)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        neighbours = torch.arange(len(count))[:, None].repeat(1, int(count.max()))
        neighbours[tails, slots] = heads
        length = (surface.vertices[neighbours] - surface.vertices[:, None]).norm(dim=2)
        weights = torch.zeros(neighbours.shape)
        weights[tails, slots] = cotangents.abs()
        self.register_buffer("neighbours", neighbours, persistent=False)
        self.register_buffer("lengths", length.clamp_min(1e-8), persistent=False)
        self.register_buffer("weights", weights * length.square(), persistent=False)


def arap_loss(
    rings: OneRings,
    posed: Float[Tensor, "n k 3"],
    rest: Float[Tensor, "n k 3"],
    epsilon: float,
    rotations: Float[Tensor, "n k 3 3"] | None = None,
    centres: Int[Tensor, "v"] | None = None,
    chosen: Int[Tensor, "k"] | None = None,
) -> Float[Tensor, ""]:
    """L_arap: the mean over edges of h((X_k - X_q) - R_k (x_k - x_q)).

    Normalisation (ours): every edge counts as if it were a tenth of the template's extent long, so the loss measures
    strain, and its mean is weighted by the surface that each edge stands for. Hence neither the mesh's resolution nor the scale of the
    template matters, and a strain of s costs what a reprojection error of s tenths of the extent costs.

    Args:
        rest: the shape whose edges are kept rigid, one for each instance.
        rotations: of each vertex; without them the best rotation of its one-ring, through which no gradient flows (at the
            optimum of the squared norm its derivative is 0).
        centres: whose one-rings to look at, drawn at random in training; all without it.
        chosen: the K template vertices given, ascending, these one-rings among them; all without it.
    """
    middle = torch.arange(posed.shape[1], device=posed.device) if centres is None else centres
    ring, weight, length = rings.neighbours[middle], rings.weights[middle], rings.lengths[middle][:, :, None, None]
    if chosen is not None:
        middle, ring = torch.searchsorted(chosen, middle), torch.searchsorted(chosen, ring)
    moved = _edges(posed, middle, ring) / length
    still = _edges(rest, middle, ring) / length
    if rotations is None:
        turn = nearest_rotation(torch.einsum("vd,vdna,vdnb->vnab", weight, moved.detach(), still.detach()))
    else:
        turn = rotations.transpose(0, 1)[middle]
    strain = moved - torch.einsum("vnab,vdnb->vdna", turn, still)
    value = pseudo_huber(REFERENCE_LENGTH * strain, epsilon).mean(2)
    return (weight * value).sum() / weight.sum()


def _edges(points: Float[Tensor, "n k 3"], middle: Int[Tensor, "v"], ring: Int[Tensor, "v d"]) -> Float[Tensor, "v d n 3"]:
    """Vectors from each ring's centre to its neighbours, vertices first."""
    rows = points.transpose(0, 1)
    return rows[ring] - rows[middle][:, None]


def _directed_edges(vertices: Float[Tensor, "k 3"], faces: Int[Tensor, "f 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Tails, heads and half the sum of the opposite angles' cotangents of every edge, both ways, sorted by tail."""
    tails, heads, values = [], [], []
    for i in range(3):
        a, b, c = faces[:, i], faces[:, (i + 1) % 3], faces[:, (i + 2) % 3]
        u, v = vertices[a] - vertices[c], vertices[b] - vertices[c]
        cotangent = (u * v).sum(1) / torch.linalg.cross(u, v).norm(dim=1).clamp_min(1e-12)
        tails += [a, b]
        heads += [b, a]
        values += [cotangent / 2.0] * 2
    keys = torch.cat(tails) * len(vertices) + torch.cat(heads)
    unique, inverse = keys.unique(return_inverse=True)
    total = torch.zeros(len(unique)).index_add_(0, inverse, torch.cat(values))
    return unique // len(vertices), unique % len(vertices), total
