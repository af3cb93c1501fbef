"""Layers of the dense branch: context, predicted maps, embeddings of the vertices."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.spec import ModelSpec

Maps = Float[torch.Tensor, "boxes _ side side"]


# What a network says of boxes, by name: coarse_segm, scores of background and object; of CSE networks, embedding, of
# each pixel (not of unit norm); of charts, fine_segm, u and v of every chart, and the confidences that the model has:
# sigma_2, kappa_u and kappa_v before the softplus that makes variances of them, fine_segm_confidence and
# coarse_segm_confidence positive, by which the segmentations are multiplied already.
Outputs = dict[str, Maps]


RATES = (6, 12, 56)
GROUPS = 32


class Aspp(nn.Module):
    """A 1x1 convolution, three dilated ones and the mean, side by side, then mixed."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        branches: list[nn.Module] = [nn.Sequential(*_branch(in_channels, channels))]
        branches += [nn.Sequential(*_branch(in_channels, channels, rate)) for rate in RATES]
        branches.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), *_branch(in_channels, channels)))
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(nn.Conv2d(len(branches) * channels, channels, 1, bias=False), nn.ReLU())

    def forward(self, features: Float[torch.Tensor, "n c h w"]) -> Float[torch.Tensor, "n d h w"]:
        """Same height and width."""
        maps = [branch(features) for branch in self.convs]
        maps[-1] = nn.functional.interpolate(maps[-1], size=features.shape[-2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat(maps, dim=1))


def _branch(in_channels: int, channels: int, rate: int | None = None) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Convolution (dilated where a rate is given), GroupNorm, ReLU."""
    kernel, padding, dilation = (1, 0, 1) if rate is None else (3, rate, rate)
    conv = nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False)
    return conv, nn.GroupNorm(GROUPS, channels), nn.ReLU()


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


CONFIDENCE_FLOOR = 0.01


def low_resolution(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Kernel 4, stride 2: twice as wide.

    It starts near zero (ours): with weights of unit gain the first embedding losses are so steep that the head dies.
    """
    layer = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)
    nn.init.normal_(layer.weight, std=0.001)
    layer.bias = nn.Parameter(torch.zeros(out_channels))
    return layer


def doubled(maps: Float[torch.Tensor, "n c h w"]) -> Float[torch.Tensor, "n c h2 w2"]:
    """Twice as many rows and columns, bilinear."""
    return nn.functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


# Published name of a layer -> name of its map, where the two differ.
MAP_NAMES = {"embed": "embedding", "ann_index": "coarse_segm", "index_uv": "fine_segm"}


def layer_channels(spec: ModelSpec) -> dict[str, int]:
    """Channels of each map that a network predicts, by the published name of its layer."""
    if spec.kind == "cse":
        return {"coarse_segm": spec.coarse_channels, "embed": spec.embed_size}
    charts = spec.patches + 1
    channels = {"ann_index": spec.coarse_channels, "index_uv": charts, "u": charts, "v": charts}
    if spec.uv_confidence:
        channels["sigma_2"] = charts
    if spec.uv_confidence == "indep_aniso":
        channels |= {"kappa_u": charts, "kappa_v": charts}
    if spec.segm_confidence:
        channels |= {"fine_segm_confidence": 1, "coarse_segm_confidence": 1}
    return channels


class MapPredictor(nn.Module):
    """The maps of `Outputs`, each by a layer of its own."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.whole, self.names = spec.head == "crop", list(layer_channels(spec))
        for name, channels in layer_channels(spec).items():
            self.add_module(f"{name}_lowres", low_resolution(spec.head_channels, channels))

    def forward(self, features: Float[torch.Tensor, "boxes d s s"]) -> Outputs:
        """Maps of side 4 s; of a "crop" head, 2 s."""
        maps: Outputs = {}
        for name in self.names:
            own = getattr(self, f"{name}_lowres")(features).float()
            maps[MAP_NAMES.get(name, name)] = own if self.whole else doubled(own)
        for name in ("fine_segm", "coarse_segm"):
            if f"{name}_confidence" in maps:
                confidence = nn.functional.softplus(maps[f"{name}_confidence"]) + CONFIDENCE_FLOOR
                maps[f"{name}_confidence"] = confidence
                maps[name] = maps[name] * confidence
        return maps


class MeshEmbedder(nn.Module):
    """One mesh: features [K, F] (Laplace-Beltrami eigenfunctions, not trained) and embeddings [F, D]."""

    features: torch.Tensor

    def __init__(self, num_vertices: int, num_features: int, size: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(num_vertices, num_features))
        self.embeddings = nn.Parameter(torch.randn(num_features, size) / num_features**0.5)

    def forward(self) -> Float[torch.Tensor, "vertices dim"]:
        """Row-normalised features @ embeddings."""
        return nn.functional.normalize(self.features @ self.embeddings, dim=1, eps=1e-6)
