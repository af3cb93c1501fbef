"""Dense heads: from pooled features to the features that the predictors read."""

from __future__ import annotations

import torch
from detectron2.layers import Conv2d
from fvcore.nn.weight_init import c2_msra_fill
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.aspp import Aspp
from dp3d_data.detection.non_local import NonLocal
from dp3d_data.detection.spec import ModelSpec

GROUPS = 32


class ConvHead(nn.Module):
    """A row of equal convolutions, `body_conv_fcn1..n`, each with ReLU; `normed` puts GroupNorm between."""

    def __init__(self, spec: ModelSpec, in_channels: int, *, normed: bool = False) -> None:
        super().__init__()
        self.count = spec.head_convs
        for index in range(self.count):
            convolution = Conv2d(
                in_channels if index == 0 else spec.head_channels,
                spec.head_channels,
                kernel_size=spec.head_kernel,
                padding=spec.head_kernel // 2,
                bias=not normed,
                norm=nn.GroupNorm(GROUPS, spec.head_channels) if normed else None,
                activation=nn.functional.relu,
            )
            c2_msra_fill(convolution)
            self.add_module(f"body_conv_fcn{index + 1}", convolution)

    def forward(self, features: Float[torch.Tensor, "boxes c s s"]) -> Float[torch.Tensor, "boxes d s s"]:
        """Same side, `head_channels` channels."""
        for index in range(self.count):
            features = getattr(self, f"body_conv_fcn{index + 1}")(features)
        return features


class DeepLabHead(ConvHead):
    """Atrous pyramid, where asked for a non-local block, then the row of convolutions with GroupNorm."""

    def __init__(self, spec: ModelSpec, in_channels: int) -> None:
        super().__init__(spec, in_channels, normed=True)
        self.ASPP = Aspp(in_channels, in_channels)
        self.NLBlock = NonLocal(in_channels) if spec.non_local else None

    def forward(self, features: Float[torch.Tensor, "boxes c s s"]) -> Float[torch.Tensor, "boxes d s s"]:
        """Same side, `head_channels` channels."""
        features = self.ASPP(features)
        if self.NLBlock is not None:
            features = self.NLBlock(features)
        return super().forward(features)


def dense_head(spec: ModelSpec, in_channels: int) -> nn.Module:
    """The head that a specification asks for."""
    if spec.head == "deeplab":
        return DeepLabHead(spec, in_channels)
    return ConvHead(spec, in_channels, normed=spec.head_norm)
