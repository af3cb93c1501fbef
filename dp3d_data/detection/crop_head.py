"""The dense head of a second look: from the trunk's levels of a square crop to features of stride 4, with the whole
crop as context."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.spec import ModelSpec

HEADS = 4
GROUPS = 16
Tensor = torch.Tensor
Levels = dict[str, Float[Tensor, "n c h w"]]


def place_codes(rows: int, columns: int, channels: int, like: Tensor) -> Float[Tensor, "rows columns channels"]:
    """Sines and cosines of each cell's place in the crop, 0..1, whatever the number of cells (after Vaswani et al.,
    2017)."""
    count = channels // 4
    waves = torch.pi * 2.0 ** torch.linspace(-1, 4, count, device=like.device)
    codes = []
    for axis, cells in enumerate((rows, columns)):
        angles = ((torch.arange(cells, device=like.device) + 0.5) / cells)[:, None] * waves
        one = torch.cat([angles.sin(), angles.cos()], dim=1)
        codes.append(one[:, None].expand(-1, columns, -1) if axis == 0 else one[None].expand(rows, -1, -1))
    return torch.cat(codes, dim=2).to(like.dtype)


class TokenBlock(nn.Module):
    """Attention over all cells, then a small network on each: the animal's other end decides what a leg is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Float[Tensor, "n cells width"]) -> Float[Tensor, "n cells width"]:
        """Same shape."""
        own = self.norm1(tokens)
        tokens = tokens + self.attention(own, own, own, need_weights=False)[0]
        return tokens + self.network(self.norm2(tokens))


def mixed(before: int, after: int) -> nn.Sequential:
    """A 3 x 3 convolution with its norm."""
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, after), nn.ReLU())


def doubled(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Twice as many rows and columns, bilinear."""
    return nn.functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


class CropHead(nn.Module):
    """Levels res2..res5 of crops to features of stride 4: tokens of stride 16 that see each other, then two finer
    steps.

    Args:
        spec: `head_convs` token blocks; `head_channels` at the end, twice as many inside.
        channels: of each level.
    """

    def __init__(self, spec: ModelSpec, channels: dict[str, int]) -> None:
        super().__init__()
        width, out = 2 * spec.head_channels, spec.head_channels
        self.context = spec.head_context
        self.deep, self.middle = nn.Conv2d(channels["res5"], width, 1), nn.Conv2d(channels["res4"], width, 1)
        self.tokens = (
            nn.Sequential(*(TokenBlock(width) for _ in range(spec.head_convs))) if spec.head_context else nn.Identity()
        )
        self.start = mixed(width, width)
        self.fine8, self.mix8 = nn.Conv2d(channels["res3"], width, 1), mixed(width, width)
        self.narrow, self.fine4 = nn.Conv2d(width, out, 1), nn.Conv2d(channels["res2"], out, 1)
        self.mix4 = mixed(out, out)

    def forward(self, levels: Levels) -> Float[Tensor, "n c h4 w4"]:
        """Features of stride 4."""
        maps = self.start(self.middle(levels["res4"]) + doubled(self.deep(levels["res5"])))
        if self.context:
            count, width, rows, columns = maps.shape
            codes = place_codes(rows, columns, width, maps).flatten(0, 1)
            maps = (
                self.tokens(maps.flatten(2).transpose(1, 2) + codes)
                .transpose(1, 2)
                .reshape(count, width, rows, columns)
            )
        maps = self.mix8(doubled(maps) + self.fine8(levels["res3"]))
        return self.mix4(doubled(self.narrow(maps)) + self.fine4(levels["res2"]))
