"""As rigid as possible: how far the one-ring of each vertex is from a rotated copy of itself at rest."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_model.geometry.camera import fit_entries
from dp3d_model.geometry.surface import Surface

REFERENCE_LENGTH = 0.1
# Numbers of an array between two steps of the loss: what stays in a processor's cache, and what keeps a GPU busy.
CACHED, BUSY = 1 << 18, 1 << 25


class OneRings(nn.Module):
    """The neighbours of each vertex, padded to the largest ring, with the weight of each edge.

    An edge weighs max(cotangent, 0) * length^2, which is the surface that it stands for, and each ring as much as a
    third of the triangles around it, so that neither resolution nor the shape of the triangles matters (ours;
    |cotangent| without the second made irregular meshes up to 16 % cheaper); padding weighs 0.
    """

    neighbours: torch.Tensor
    degrees: torch.Tensor
    lengths: torch.Tensor
    weights: torch.Tensor

    def __init__(self, surface: Surface) -> None:
        super().__init__()
        tails, heads, cotangents = _directed_edges(surface.vertices, surface.faces.long())
        count = torch.bincount(tails, minlength=len(surface.vertices))
        slots = torch.arange(len(tails)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        neighbours = torch.arange(len(count))[:, None].repeat(1, int(count.max()))
        neighbours[tails, slots] = heads
        length = (surface.vertices[neighbours] - surface.vertices[:, None]).norm(dim=2)
        weights = torch.zeros(neighbours.shape)
        weights[tails, slots] = cotangents.clamp_min(0.0)
        weights = weights * length.square()
        share = surface.vertex_areas / weights.sum(1).clamp_min(1e-20)
        self.register_buffer("neighbours", neighbours, persistent=False)
        self.register_buffer("degrees", count, persistent=False)
        self.register_buffer("lengths", length.clamp_min(1e-8), persistent=False)
        self.register_buffer("weights", weights * share[:, None], persistent=False)


def arap_loss(
    rings: OneRings,
    posed: Float[Tensor, "n k 3"],
    rest: Float[Tensor, "n k 3"] | Float[Tensor, "k 3"],
    epsilon: float,
    rotations: Float[Tensor, "n k 3 3"] | None = None,
    centres: Int[Tensor, "v"] | None = None,
    chosen: Int[Tensor, "k"] | None = None,
) -> Float[Tensor, ""]:
    """L_arap: the mean over edges of h((X_k - X_q) - R_k (x_k - x_q)).

    Normalisation (ours): every edge counts as if it were a tenth of the template's extent long, so the loss measures
    strain, and its mean is weighted by the surface that each edge stands for. Hence neither the mesh's resolution nor
    the scale of the template matters, and a strain of s costs what a reprojection error of s tenths of the extent
    costs.

    Args:
        rest: the shape whose edges are kept rigid, one for each instance or one for all, which is quicker.
        rotations: of each of the K vertices; without them the best rotation of its one-ring. No gradient flows through
            either (at the optimum of the squared norm its derivative is 0).
        centres: whose one-rings to look at, drawn at random in training; all without it.
        chosen: the K template vertices given, ascending, these one-rings among them; all without it.
    """
    middle = torch.arange(posed.shape[1], device=posed.device) if centres is None else centres.to(posed.device)
    return _Strain.apply(posed, rest, rings, rotations, middle, chosen, epsilon)


class _Strain(torch.autograd.Function):
    """The loss and its gradient in one go, ring after ring, so that what is in between stays in the processor's cache.

    Rings with equally many neighbours are handled together; within, vertices come first and instances last.
    """

    @staticmethod
    def forward(ctx, posed, rest, rings, rotations, middle, chosen, epsilon):
        shapes = [_rows(points) for points in (posed, rest)]
        wanted = ctx.needs_input_grad[:2]
        slopes = [torch.zeros_like(rows) if needed else None for rows, needed in zip(shapes, wanted, strict=True)]
        mass = len(posed) * rings.weights[middle].sum()
        total = posed.new_zeros(())
        for centres in _alike(rings, middle, len(posed)):
            total += _strain_of(_chunk_of(rings, centres, chosen), shapes, slopes, rotations, epsilon, mass)
        pairs = zip(slopes, (posed, rest), strict=True)
        gradients = (None if slope is None else slope.permute(2, 0, 1).reshape(own.shape) for slope, own in pairs)
        ctx.save_for_backward(*gradients)
        return total / mass

    @staticmethod
    def backward(ctx, upstream):
        posed, rest = (None if gradient is None else upstream * gradient for gradient in ctx.saved_tensors)
        return posed, rest, None, None, None, None, None


def _rows(points: Float[Tensor, "*n k 3"]) -> Float[Tensor, "k 3 n"]:
    """Vertices first and instances last; N is 1 where one shape serves all."""
    return points.reshape(-1, *points.shape[-2:]).permute(1, 2, 0).contiguous()


def _edges(rows: Float[Tensor, "k 3 n"], chunk: _Chunk) -> Float[Tensor, "v d 3 n"]:
    """From the centre of each ring to its neighbours, divided by the edge's length at rest."""
    tails, heads, _, lengths = chunk
    ends = rows.index_select(0, heads.ravel()).unflatten(0, heads.shape)
    return ends.sub_(rows[tails][:, None]).div_(lengths)


def _add_slope(total: Float[Tensor, "k 3 n"], chunk: _Chunk, slope: Float[Tensor, "v d 3 n"]) -> None:
    """Add the gradient of edges to that of their vertices."""
    tails, heads, _, lengths = chunk
    if total.shape[2] == 1:
        slope = slope.sum(3, keepdim=True)
    slope = slope / lengths
    total.index_add_(0, heads.ravel(), slope.flatten(0, 1))
    total.index_add_(0, tails, slope.sum(1), alpha=-1.0)


_Chunk = tuple[Tensor, Tensor, Tensor, Tensor]


def _chunk_of(rings: OneRings, centres: Tensor, chosen: Tensor | None) -> _Chunk:
    """Rings with D neighbours each: places of centres [V] and neighbours [V, D]; weights and lengths [V, D, 1, 1]."""
    degree = int(rings.degrees[centres[0]])
    weights, lengths = (values[centres, :degree, None, None] for values in (rings.weights, rings.lengths))
    tails, heads = centres, rings.neighbours[centres, :degree]
    if chosen is not None:
        tails, heads = (torch.searchsorted(chosen, places) for places in (tails, heads))
    return tails, heads, weights, lengths


def _alike(rings: OneRings, middle: Tensor, instances: int) -> list[Tensor]:
    """The centres in groups of equally many neighbours, small enough for the cache; on a GPU, few enough."""
    most = CACHED if middle.device.type == "cpu" else BUSY
    chunks: list[Tensor] = []
    for degree in rings.degrees[middle].unique().tolist():
        group = middle[rings.degrees[middle] == degree]
        chunks += group.split(max(1, most // (3 * degree * instances))) if degree else []
    return chunks


def _strain_of(
    chunk: _Chunk,
    shapes: list[Tensor],
    slopes: list[Tensor | None],
    rotations: Tensor | None,
    epsilon: float,
    mass: Tensor,
) -> Tensor:
    """The weighted sum of h over the edges of a chunk; its gradients, over the mass, are added to the slopes.

    Args:
        shapes: posed and at rest, see `_rows`; slopes are of the same, None where no gradient is asked for.
    """
    (tails, _, weights, _), (moved, still) = chunk, (_edges(rows, chunk) for rows in shapes)
    if rotations is None:
        rotation = _best_rotation(weights, moved, still)
    else:
        rotation = rotations[:, tails].permute(2, 3, 1, 0)
    for b in range(3):
        moved.addcmul_(rotation[:, b].transpose(0, 1)[:, None], still[:, :, b : b + 1], value=-1.0)
    root = (moved * moved).sum(2, keepdim=True).mul_((REFERENCE_LENGTH / epsilon) ** 2).add_(1.0).sqrt_()
    value = (weights * (root - 1.0)).sum() * epsilon
    slope = moved.mul_(weights * (REFERENCE_LENGTH**2 / epsilon / mass) / root)
    if slopes[0] is not None:
        _add_slope(slopes[0], chunk, slope)
    if slopes[1] is not None:
        _add_slope(slopes[1], chunk, torch.einsum("abvn,vdan->vdbn", rotation, slope).neg_())
    return value


def _best_rotation(weights: Tensor, moved: Tensor, still: Tensor) -> Float[Tensor, "3 3 v n"]:
    """The best rotation of each ring, entries first."""
    weighted = weights * still
    if still.shape[3] == 1:
        product = weighted[..., 0].transpose(1, 2) @ moved.flatten(2)
        entries = product.unflatten(2, moved.shape[2:]).permute(2, 1, 0, 3)
    else:
        entries = torch.stack([(moved * weighted[:, :, b : b + 1]).sum(1) for b in range(3)]).permute(2, 0, 1, 3)
    return fit_entries(entries).to(moved.dtype)


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
