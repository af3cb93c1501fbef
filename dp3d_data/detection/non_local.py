"""A non-local block: every pixel of the map attends to a half-resolution copy of it (embedded Gaussian)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

GROUPS = 32


class NonLocal(nn.Module):
    """Attention over the map, added to its input; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.g = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), norm := nn.GroupNorm(GROUPS, channels))
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)

    def forward(self, features: Float[torch.Tensor, "n c h w"]) -> Float[torch.Tensor, "n c h w"]:
        """Same shape."""
        query = self.theta(features).flatten(2).transpose(1, 2)
        key, value = self.phi(features).flatten(2), self.g(features).flatten(2).transpose(1, 2)
        gathered = torch.softmax(query @ key, dim=-1) @ value
        shape = (len(features), -1, *features.shape[-2:])
        return features + self.W(gathered.transpose(1, 2).reshape(shape))
