"""The decoder: FPN levels brought to stride 4, added, and mixed by a 1x1 convolution (semantic FPN)."""

from __future__ import annotations

import math

import torch
from detectron2.layers import Conv2d
from fvcore.nn.weight_init import c2_msra_fill
from jaxtyping import Float
from torch import nn

COMMON_STRIDE = 4


class Decoder(nn.Module):
    """p2..p5 to one map of stride 4.

    Args:
        strides: stride of each level by name, in order.
        in_channels: of every level.
        channels: inside.
        out_channels: of the result.
    """

    def __init__(self, strides: dict[str, int], in_channels: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.levels = list(strides)
        for name, stride in strides.items():
            self.add_module(name, _to_common_stride(stride, in_channels, channels))
        self.predictor = Conv2d(channels, out_channels, kernel_size=1)
        c2_msra_fill(self.predictor)

    def forward(self, features: dict[str, Float[torch.Tensor, "n c h w"]]) -> Float[torch.Tensor, "n out h4 w4"]:
        """Sum of the levels at stride 4, mixed."""
        total = sum(getattr(self, name)(features[name]) for name in self.levels)
        return self.predictor(total)


def _to_common_stride(stride: int, in_channels: int, channels: int) -> nn.Sequential:
    """One convolution for each doubling, at least one; each doubles the resolution where it must grow."""
    doublings = int(math.log2(stride // COMMON_STRIDE))
    steps: list[nn.Module] = []
    for index in range(max(1, doublings)):
        convolution = Conv2d(
            in_channels if index == 0 else channels, channels, kernel_size=3, padding=1, activation=nn.functional.relu
        )
        c2_msra_fill(convolution)
        steps.append(convolution)
        if doublings:
            steps.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*steps)
