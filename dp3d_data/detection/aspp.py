"""Atrous spatial pyramid pooling, as DeepLab v3 has it, with GroupNorm."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

RATES = (6, 12, 56)
GROUPS = 32


class Pooled(nn.Sequential):
    """The mean of the map, mixed and spread over the map again."""

    def forward(self, features: Float[torch.Tensor, "n c h w"]) -> Float[torch.Tensor, "n d h w"]:
        """Every pixel gets the same vector."""
        mixed = super().forward(features)
        return nn.functional.interpolate(mixed, size=features.shape[-2:], mode="bilinear", align_corners=False)


class Aspp(nn.Module):
    """A 1x1 convolution, three dilated ones and the mean, side by side, then mixed."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        branches: list[nn.Module] = [nn.Sequential(*_branch(in_channels, channels))]
        branches += [nn.Sequential(*_branch(in_channels, channels, rate)) for rate in RATES]
        branches.append(Pooled(nn.AdaptiveAvgPool2d(1), *_branch(in_channels, channels)))
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(nn.Conv2d(len(branches) * channels, channels, 1, bias=False), nn.ReLU())

    def forward(self, features: Float[torch.Tensor, "n c h w"]) -> Float[torch.Tensor, "n d h w"]:
        """Same height and width."""
        return self.project(torch.cat([branch(features) for branch in self.convs], dim=1))


def _branch(in_channels: int, channels: int, rate: int | None = None) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution (dilated where a rate is given), GroupNorm, ReLU."""
    kernel, padding, dilation = (1, 0, 1) if rate is None else (3, rate, rate)
    conv = nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False)
    return conv, nn.GroupNorm(GROUPS, channels), nn.ReLU()
