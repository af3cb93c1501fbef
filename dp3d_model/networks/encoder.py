"""MLPs, and what Phi reads of a normalised batch: fully connected, or by attention to the visible surface."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.perspective import place
from dp3d_model.geometry.surface import Surface, farthest_points

NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def layer(inputs: int, outputs: int, norm: str = "batch") -> nn.Sequential:
    """A linear layer with normalisation and ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), NORMS[norm](outputs), nn.ReLU())


class Block(nn.Module):
    """A residual block width - bottleneck - bottleneck - width."""

    def __init__(self, width: int, bottleneck: int, norm: str = "batch") -> None:
        super().__init__()
        sizes = (width, bottleneck, bottleneck, width)
        self.layers = nn.Sequential(*(layer(sizes[i], sizes[i + 1], norm) for i in range(3)))

    def forward(self, x: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        return x + self.layers(x)


class Mlp(nn.Module):
    """Inputs to `width`, residual blocks, and a linear head that starts near 0.

    The head's weights start at standard deviation 1e-4: the stream of the blocks is not normalised, and larger ones
    start at outputs of order 1 and destroy a good initial camera.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, bottleneck: int, blocks: int, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.stem = layer(inputs, width, norm)
        self.blocks = nn.Sequential(*(Block(width, bottleneck, norm) for _ in range(blocks)))
        self.head = nn.Linear(width, outputs)
        nn.init.normal_(self.head.weight, std=1e-4)
        nn.init.zeros_(self.head.bias)
        self.low: torch.dtype | None = None

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        if self.low is None:
            return self.head(self.blocks(self.stem(x)))
        with torch.autocast(x.device.type, self.low):
            return self.head(self.blocks(self.stem(x))).to(x.dtype)


def use_precision(network: nn.Module, name: str) -> None:
    """Make every MLP inside multiply in "float32", "bfloat16" or "float16"; geometry needs the digits of float32."""
    low = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    for module in network.modules():
        if isinstance(module, Mlp):
            module.low = low


def residual(
    inputs: KeypointBatch,
    vertices: Float[Tensor, "k 3"],
    rotation: Float[Tensor, "n 3 3"],
    placed: Float[Tensor, "n k 2"] | None,
) -> Float[Tensor, "n k 2"]:
    """What the rigid template, or an answer that is placed, leaves of each keypoint, tenths of the extent; or 0."""
    if placed is None:
        points = torch.einsum("nca,ka->nkc", rotation, vertices)
        placed = place(points, inputs.keypoints, inputs.visible, inputs.pinhole)
    return 10.0 * (inputs.keypoints - placed) * inputs.visible[..., None]


class Encoder(torch.nn.Module):
    """Turns normalised batches into network inputs.

    "residual" (ours): what the rigid fit leaves of each visible vertex, y - R_0 x in tenths of the extent, lifted by
    R_0^T into the template's frame, with the visibility and the viewing direction; in-plane rotation drops out exactly.
    "keypoints" (supplement): the centred keypoints and the visibility, with R_0 where the camera is in closed form.
    Vertices are averaged over `cells` patches around well-spread seeds (ours), so that the input neither grows with the
    template nor depends on which vertices of a patch are seen; 0 cells feeds every vertex.
    """

    seeds: torch.Tensor
    vertices: torch.Tensor
    owner: torch.Tensor
    share: torch.Tensor

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
            placed: where an earlier answer puts the vertices, in the units of the inputs; else the rigid template.
            rotation: the camera of that answer.
        """
        shown = inputs.visible[..., None].to(inputs.keypoints.dtype)
        rotation = present(inputs.camera).rotation if rotation is None else rotation
        rows = rotation[:, :2]
        if self.kind == "residual":
            left = residual(inputs, self.vertices, rotation, placed)
            pooled = self._pool(torch.cat([left, shown], dim=2), inputs.weights)
            lifted = torch.einsum("npc,nca->npa", pooled[..., :2], rows)
            parts = [lifted.flatten(1), pooled[..., 2], rotation[:, 2]]
        else:
            pooled = self._pool(torch.cat([inputs.keypoints * shown, shown], dim=2), inputs.weights)
            parts = [pooled.flatten(1), rows.flatten(1)]
        return torch.cat(parts, dim=1)

    def _pool(self, values: Float[Tensor, "n k c"], weights: Float[Tensor, "n k"] | None) -> Float[Tensor, "n p c"]:
        """Means over the visible vertices of each patch, as trusted; the last channel, visibility, is their share."""
        n, k, c = values.shape
        values = values if weights is None else values * weights[..., None]
        rows = self.share * values.transpose(0, 1).reshape(k, n * c)
        sums = rows.new_zeros(self.count, n * c).index_add_(0, self.owner, rows)
        sums = sums.reshape(self.count, n, c).transpose(0, 1)
        share = sums[..., -1:]
        return torch.cat([sums[..., :-1] / share.clamp_min(1e-6), share], dim=2)


LATENT_WIDTH, HEADS = 64, 4
# Regions through which each latent looks.
REGIONS = 8


class SurfaceAttention(nn.Module):
    """What a fit leaves of each visible vertex, read by learned latents with attention over the surface.

    A token is a visible vertex: its residual, lifted by R^T into the template's frame, at a place on the surface that
    its position and its Laplace-Beltrami functions describe. Every latent looks at the surface through several regions.
    The logits of a region are linear in the description, as those of the soft parts are, and the vertex's area is added
    as a logarithm: attention is an integral over the surface. So the order of the vertices does not matter, hidden ones
    do not enter, and another meshing of the template gives the same answer in the limit. A region gives the mean
    residual of what is visible of it, and the visible share. Queries and keys know places only, so the weights are one
    matrix for all instances. Blocks of self-attention join what the latents have read.

    Args:
        surface: the template; regions start around well-spread vertices of it.
    """

    vertices: torch.Tensor
    description: torch.Tensor
    log_areas: torch.Tensor

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.latents = config.model.latents
        seeds = spread_regions(surface, self.latents, REGIONS)
        self.queries = nn.Parameter(region_queries(surface, seeds))
        self.place = nn.Parameter(0.5 * torch.randn(self.latents, LATENT_WIDTH))
        read = 4 * seeds.shape[1]
        self.read = nn.Parameter(torch.randn(self.latents, read, LATENT_WIDTH) / read**0.5)
        self.view = nn.Linear(3, LATENT_WIDTH)
        self.blocks = nn.Sequential(*(LatentBlock(LATENT_WIDTH, HEADS) for _ in range(config.model.latent_blocks)))
        self.size = self.latents * LATENT_WIDTH + 3
        self.carry(surface)

    def carry(self, surface: Surface) -> None:
        """Read another meshing of the template from now on."""
        self.register_buffer("vertices", surface.vertices, persistent=False)
        self.register_buffer("description", description(surface), persistent=False)
        self.register_buffer("log_areas", surface.vertex_areas.clamp_min(1e-12).log(), persistent=False)

    def forward(
        self,
        inputs: KeypointBatch,
        placed: Float[Tensor, "n k 2"] | None = None,
        rotation: Float[Tensor, "n 3 3"] | None = None,
    ) -> Float[Tensor, "n i"]:
        """The features that the MLP reads; the arguments are those of Encoder."""
        rotation = present(inputs.camera).rotation if rotation is None else rotation
        left = residual(inputs, self.vertices, rotation, placed)
        pooled = self.pooled(left, inputs.visible.to(left.dtype))
        lifted = torch.einsum("npc,nca->npa", pooled[..., :2], rotation[:, :2])
        regions = torch.cat([lifted, pooled[..., 2:]], dim=2).reshape(len(pooled), self.latents, -1)
        read = torch.einsum("nli,liw->nlw", regions, self.read) + self.place + self.view(rotation[:, 2])[:, None]
        return torch.cat([self.blocks(read).flatten(1), rotation[:, 2]], dim=1)

    def pooled(self, values: Float[Tensor, "n k 2"], shown: Float[Tensor, "n k"]) -> Float[Tensor, "n p 3"]:
        """The mean of the values over what is visible of each region, and its visible share."""
        weights = self.weights()
        share = shown @ weights.T
        sums = (weights @ values.transpose(0, 1).flatten(1)).reshape(len(weights), len(values), 2).transpose(0, 1)
        return torch.cat([sums / share.clamp_min(1e-6)[..., None], share[..., None]], dim=2)

    def weights(self) -> Float[Tensor, "p k"]:
        """How much each region attends to each vertex, seen or not; its sum is 1."""
        return torch.softmax(self.queries @ self.description.T + self.log_areas, dim=1)


class LatentBlock(nn.Module):
    """Self-attention among latents and a perceptron for each, both residual, normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "n l w"]) -> Float[Tensor, "n l w"]:
        n, latents, width = x.shape
        q, k, v = self.qkv(self.before(x)).reshape(n, latents, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, latents, width))
        return x + self.perceptron(self.between(x))


def description(surface: Surface) -> Float[Tensor, "k d"]:
    """Where each vertex lies: position, its square, the Laplace-Beltrami functions over the first (constant)."""
    x = surface.vertices
    return torch.cat([x, x.square().sum(1, keepdim=True), surface.functions / surface.functions[:, :1]], dim=1)


def spread_regions(surface: Surface, latents: int, each: int) -> Int[Tensor, "latents each"]:
    """Vertices at which regions start: well-spread ones for the latents, and those nearest to each, well spread."""
    x = surface.vertices
    seeds = farthest_points(x, latents)
    owner = torch.cdist(x, x[seeds]).argmin(1)
    rows = []
    for latent in range(latents):
        mine = (owner == latent % len(seeds)).nonzero()[:, 0]
        own = mine[farthest_points(x[mine], each)]
        rows.append(own[torch.arange(each) % len(own)])
    return torch.stack(rows)


def region_queries(surface: Surface, seeds: Int[Tensor, "latents each"]) -> Float[Tensor, "p d"]:
    """Queries whose logits are -|x - c|^2 / (2 r^2) up to a constant, c the seed, r the usual distance between."""
    centres, sharp = surface.vertices[seeds.ravel()], torch.tensor(1.0)
    if len(centres) > 1:
        apart = torch.cdist(centres, centres)
        nearest = torch.where(apart > 0, apart, torch.inf).min(1).values
        sharp = 0.5 / nearest[nearest.isfinite()].median().clamp_min(1e-3).square()
    queries = torch.zeros(len(centres), 4 + surface.functions.shape[1])
    queries[:, :3], queries[:, 3] = 2.0 * sharp * centres, -sharp
    return queries
