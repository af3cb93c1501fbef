"""Predictors: transposed convolutions from head features to maps four times as wide as the pooled ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.outputs import ChartOutputs, EmbeddingOutputs, Maps
from dp3d_data.detection.spec import ModelSpec

CONFIDENCE_FLOOR = 0.01


def low_resolution(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Kernel 4, stride 2: twice as wide.

    It starts near zero (ours): with weights of unit gain the first embedding losses are so steep that the head dies.
    """
    layer = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)
    nn.init.normal_(layer.weight, std=0.001)
    layer.bias = nn.Parameter(torch.zeros(out_channels))
    return layer


def widened(maps: Maps) -> Maps:
    """Twice as wide, bilinear, in single precision."""
    return nn.functional.interpolate(maps.float(), scale_factor=2, mode="bilinear", align_corners=False)


class EmbeddingPredictor(nn.Module):
    """Coarse segmentation and embedding."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.last = widened if spec.head != "crop" else torch.Tensor.float
        self.coarse_segm_lowres = low_resolution(spec.head_channels, spec.coarse_channels)
        self.embed_lowres = low_resolution(spec.head_channels, spec.embed_size)

    def forward(self, features: Float[torch.Tensor, "boxes d s s"]) -> EmbeddingOutputs:
        """Maps of side 4 s; of a "crop" head, 2 s."""
        return EmbeddingOutputs(self.last(self.coarse_segm_lowres(features)), self.last(self.embed_lowres(features)))


class ChartPredictor(nn.Module):
    """Coarse and fine segmentation, u, v, and the confidences of the WC1, WC2 and M variants."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        charts = spec.patches + 1
        sizes = {"ann_index": spec.coarse_channels, "index_uv": charts, "u": charts, "v": charts}
        if spec.uv_confidence:
            sizes["sigma_2"] = charts
        if spec.uv_confidence == "indep_aniso":
            sizes |= {"kappa_u": charts, "kappa_v": charts}
        if spec.segm_confidence:
            sizes |= {"fine_segm_confidence": 1, "coarse_segm_confidence": 1}
        self.names = list(sizes)
        for name, channels in sizes.items():
            self.add_module(f"{name}_lowres", low_resolution(spec.head_channels, channels))

    def forward(self, features: Float[torch.Tensor, "boxes d s s"]) -> ChartOutputs:
        """Maps of side 4 s."""
        maps = {name: widened(getattr(self, f"{name}_lowres")(features)) for name in self.names}
        maps["coarse_segm"], maps["fine_segm"] = maps.pop("ann_index"), maps.pop("index_uv")
        for name in ("fine_segm", "coarse_segm"):
            if f"{name}_confidence" in maps:
                confidence = nn.functional.softplus(maps[f"{name}_confidence"]) + CONFIDENCE_FLOOR
                maps[f"{name}_confidence"] = confidence
                maps[name] = maps[name] * confidence
        return ChartOutputs(**maps)


def dense_predictor(spec: ModelSpec) -> nn.Module:
    """The predictor that a specification asks for."""
    return EmbeddingPredictor(spec) if spec.kind == "cse" else ChartPredictor(spec)
