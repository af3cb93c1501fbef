"""Other ways to lift keypoints, each written from its paper's description, compactly; what differs is said there.

All take the same numbers: keypoints [B, S, 2] in units of the rigid template's camera, centred on the visible ones, 0
where hidden, and the visibility. All answer in the camera frame (x right, y down, z away), in the same units.
"""

import torch
from torch import Tensor, nn

from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.geometry.camera import nearest_rotation, random_rotations, rotation_from_6d, rotation_from_log
from dp3d_model.losses.terms import pseudo_huber
from dp3d_model.networks.encoder import Mlp

EPSILON = 0.01


def flat(inputs: KeypointBatch) -> Tensor:
    """Keypoints and visibility as numbers [B, 3 S]."""
    shown = inputs.visible[..., None].float()
    return torch.cat([inputs.keypoints * shown, shown], dim=2).flatten(1)


def centred(points: Tensor, visible: Tensor) -> Tensor:
    """Points about the mean of the visible ones, in x and y; about that of all in depth."""
    weight = visible.float() / visible.sum(1, keepdim=True).clamp_min(1)
    middle = torch.cat([(weight[..., None] * points[..., :2]).sum(1), points[..., 2].mean(1, keepdim=True)], dim=1)
    return points - middle[:, None]


def reprojection(points: Tensor, targets: KeypointBatch) -> Tensor:
    """Distance of the visible points to their keypoints, pseudo-Huber."""
    visible = targets.visible
    gone = pseudo_huber(centred(points, visible)[..., :2] - _about_mean(targets), EPSILON)
    return (gone * visible).sum() / visible.sum().clamp_min(1)


def _about_mean(targets: KeypointBatch) -> Tensor:
    weight = targets.visible.float() / targets.visible.sum(1, keepdim=True).clamp_min(1)
    return targets.keypoints - (weight[..., None] * targets.keypoints).sum(1, keepdim=True)


class Peer(nn.Module):
    """A lifter: `forward` gives points [B, S, 3] in the camera frame, `own_loss` what it learns from keypoints
    alone, at a learning rate of `rate`."""

    rate = 1e-3

    def own_loss(self, inputs: KeypointBatch, targets: KeypointBatch, generator: torch.Generator) -> Tensor:
        raise NotImplementedError


class C3DPO(Peer):
    """C3DPO (ICCV 2019): Phi factorises into coefficients of a learned basis and a rotation; Psi must find the
    coefficients of a shape again from any rotation of it.

    Ours: Adam in place of SGD, since SGD is far from its end in minutes.
    """

    def __init__(self, template: Tensor, shapes: int = 10, width: int = 1024, blocks: int = 6) -> None:
        super().__init__()
        count = len(template)
        self.phi = Mlp(3 * count, shapes + 3, width, width // 4, blocks, "layer")
        self.psi = Mlp(3 * count, shapes, width, width // 4, blocks, "layer")
        self.basis = nn.Parameter(0.1 * torch.randn(shapes, count, 3) / shapes**0.5)

    def shape(self, numbers: Tensor) -> Tensor:
        first = torch.zeros_like(numbers)
        first[:, 0] = 1.0
        return torch.einsum("bd,dsc->bsc", numbers + first, self.basis)

    def factors(self, inputs: KeypointBatch) -> tuple[Tensor, Tensor]:
        numbers = self.phi(flat(inputs))
        return self.shape(numbers[:, :-3]), rotation_from_log(numbers[:, -3:])

    def forward(self, inputs: KeypointBatch) -> Tensor:
        shape, rotation = self.factors(inputs)
        return shape @ rotation.transpose(1, 2)

    def own_loss(self, inputs: KeypointBatch, targets: KeypointBatch, generator: torch.Generator) -> Tensor:
        shape, rotation = self.factors(inputs)
        turned = shape @ random_rotations(len(shape), "uniform", generator).transpose(1, 2)
        again = self.shape(self.psi(turned.flatten(1)))
        canonical = pseudo_huber(again - shape, EPSILON).mean()
        return reprojection(shape @ rotation.transpose(1, 2), targets) + canonical


class LocalSubsets(Peer):
    """ALLRAP (2025): a network without any low rank that fills in what is unknown, depth of all points and x, y of the
    hidden ones; small sets of keypoints must be of low rank over a batch, once each is turned to fit the others.

    A set is a point with its nearest ones, by distance over the batch. The rank is the logarithm of the determinant of
    the set's covariance. Ours: the sizes of sets, of which large ones, soft determinants and small steps did best in a
    handful of trials; the keypoints that training hides are told to the answer as well.
    """

    def __init__(
        self, template: Tensor, width: int = 1024, blocks: int = 6, sets: int = 8, size: int = 32, floor: float = 1e-2
    ) -> None:
        super().__init__()
        self.rate = 2e-4
        self.network = Mlp(3 * len(template), 3 * len(template), width, width // 4, blocks, "layer")
        self.sets, self.size, self.floor = sets, size, floor

    def forward(self, inputs: KeypointBatch) -> Tensor:
        found = self.network(flat(inputs)).view(*inputs.visible.shape, 3)
        known = torch.where(inputs.visible[..., None], inputs.keypoints, found[..., :2])
        return torch.cat([known, found[..., 2:]], dim=2)

    def own_loss(self, inputs: KeypointBatch, targets: KeypointBatch, generator: torch.Generator) -> Tensor:
        found = self.network(flat(inputs)).view(*inputs.visible.shape, 3)
        visible = targets.visible
        told = pseudo_huber(found[..., :2] - targets.keypoints, EPSILON)
        told = (told * visible).sum() / visible.sum().clamp_min(1)
        points = torch.cat([torch.where(visible[..., None], targets.keypoints, found[..., :2]), found[..., 2:]], dim=2)
        return told + 0.3 * self.rank(points, generator)

    def rank(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """The mean over sets of the log determinant of their covariance over the batch, per number."""
        middle = torch.randperm(points.shape[1], generator=generator)[: self.sets]
        with torch.no_grad():
            rows = points.transpose(0, 1).flatten(1)
            near = torch.cdist(rows[middle], rows).topk(self.size, largest=False).indices
        own = points[:, near]  # [B, sets, size, 3]
        own = own - own.mean(2, keepdim=True)
        with torch.no_grad():
            base = own[0]
            for _ in range(2):
                turn = nearest_rotation(torch.einsum("pkc,bpkd->bpcd", base, own))
                base = torch.einsum("bpcd,bpkd->bpkc", turn, own).mean(0)
        aligned = torch.einsum("bpcd,bpkd->bpkc", turn, own).permute(1, 0, 2, 3).flatten(2)  # [sets, B, 3 size]
        spread = aligned.transpose(1, 2) @ aligned / aligned.shape[1]
        floor = self.floor * torch.eye(spread.shape[-1])
        return torch.linalg.slogdet(spread + floor).logabsdet.mean() / spread.shape[-1]


class TokenBlock(nn.Module):
    """Self-attention and a small MLP over tokens, told again which keypoint each is."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joined, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        read = self.joined(self.before(tokens + places)).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = read.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        return tokens + self.mlp(self.between(tokens + places))


class Tokens(Peer):
    """2D-LFM (CVPR 2026): a token for each keypoint, attention between all, and in every layer a code that says which
    keypoint the token is.

    Ours: it moves the template's vertices and turns the template's camera, as our lifter does, so that the two differ
    in the network alone; from keypoints alone, a bottleneck of a few numbers between encoder and decoder, and the local
    subsets of `LocalSubsets`, since reprojection alone is answered by flat shapes.

    Args:
        every_layer: say which keypoint it is in every layer; else in the first alone.
        code: numbers of the bottleneck; 0 for none.
    """

    def __init__(
        self,
        template: Tensor,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        every_layer: bool = True,
        code: int = 0,
    ) -> None:
        super().__init__()
        self.register_buffer("template", template)
        self.every_layer, self.code = every_layer, code
        self.stem = nn.Linear(7, width)
        self.places = nn.Parameter(0.5 * torch.randn(layers if every_layer else 1, len(template), width))
        self.blocks = nn.ModuleList(TokenBlock(width, heads) for _ in range(layers))
        self.pool = nn.Linear(width, 6 + max(code, 1))
        self.spread = nn.Linear(max(code, 1), width)
        self.head = nn.Linear(width, 3)
        self.decoder = nn.Sequential(nn.Linear(2 * width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.subsets = LocalSubsets(template, width=8, blocks=1)
        for last in (self.head, self.pool):
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(self, inputs: KeypointBatch) -> Tensor:
        camera, shown = inputs.camera.rotation, inputs.visible[..., None].float()
        placed = centred(torch.einsum("bca,sa->bsc", camera, self.template), inputs.visible)
        left = 10.0 * (inputs.keypoints - placed[..., :2]) * shown
        lifted = torch.einsum("bsc,bca->bsa", left, camera[:, :2])
        view = camera[:, 2][:, None].expand(-1, len(self.template), -1)
        tokens = self.stem(torch.cat([lifted, shown, view], dim=2))
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, self.places[number] if number < len(self.places) else torch.zeros(()))
        pooled = self.pool(tokens.mean(1))
        if self.code:
            code = self.spread(pooled[:, 6:])[:, None].expand(-1, len(self.template), -1)
            tokens = self.decoder(torch.cat([code, self.places[-1].expand(len(code), -1, -1)], dim=2))
        shape = self.template + self.head(tokens)
        return torch.einsum("bca,bsa->bsc", camera @ rotation_from_6d(pooled[:, :6]), shape)

    def own_loss(self, inputs: KeypointBatch, targets: KeypointBatch, generator: torch.Generator) -> Tensor:
        found = self(inputs)
        return reprojection(found, targets) + 0.3 * self.subsets.rank(found, generator)
