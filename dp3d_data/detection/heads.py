"""The box branch of detectron2 with a dense branch beside it, and the dense head of the second look.

crop as context.
"""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.layers import Conv2d
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import Boxes
from fvcore.nn.weight_init import c2_msra_fill
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.backbones import level_channels
from dp3d_data.detection.dense_layers import COMMON_STRIDE, Aspp, Decoder, Embedder, NonLocal, Outputs, dense_predictor
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


HEADS = 4
CROP_GROUPS = 16
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
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(CROP_GROUPS, after), nn.ReLU()
    )


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


Features = dict[str, Float[torch.Tensor, "n c h w"]]


@ROI_HEADS_REGISTRY.register()
class Dp3dDenseROIHeads(StandardROIHeads):
    """Boxes as Faster R-CNN finds them; dense maps for any boxes, in training and at inference alike."""

    @configurable
    def __init__(self, *, dense: dict[str, nn.Module | None], dense_levels: list[str], **box_branch) -> None:
        super().__init__(**box_branch)
        self.dense_levels = dense_levels
        for name, module in dense.items():
            if module is not None:
                setattr(self, name, module)

    @classmethod
    def from_config(cls, cfg, input_shape) -> dict:
        """detectron2's own arguments and the dense branch of `cfg.MODEL.DP3D_SPEC`."""
        arguments = super().from_config(cfg, input_shape)
        levels = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
        strides = {name: input_shape[name].stride for name in levels}
        (spec,) = cfg.MODEL.DP3D_SPEC
        arguments["dense"] = dense_branch(spec, strides)
        arguments["dense_levels"] = levels
        return arguments

    def densepose_outputs(self, features: Features, boxes: list[Float[torch.Tensor, "n 4"]]) -> Outputs:
        """Dense maps of the given boxes, image after image.

        Args:
            features: of the backbone, by level.
            boxes: for each image its boxes xyxy, in pixels of the network's input.
        """
        return self.dense_maps(self.pooled(features, boxes))

    def pooled(
        self, features: Features, boxes: list[Float[torch.Tensor, "n 4"]]
    ) -> Float[torch.Tensor, "boxes c side side"]:
        """What the dense head sees of each box: features of stride 4, computed once for all boxes, and a piece for each
        box."""
        levels = [features[name] for name in self.dense_levels]
        if hasattr(self, "decoder"):
            levels = [self.decoder(features)]
        return self.densepose_pooler([level.float() for level in levels], [Boxes(each) for each in boxes])

    def dense_maps(self, pooled: Float[torch.Tensor, "boxes c side side"] | Features) -> Outputs:
        """The dense head on pooled boxes, or on the trunk's levels of crops, each on its own."""
        return self.densepose_predictor(self.densepose_head(pooled))


def dense_branch(spec: ModelSpec, strides: dict[str, int]) -> dict[str, nn.Module | None]:
    """The modules of the dense branch under the names that published weights use."""
    if spec.crop_side:
        return {
            "densepose_head": CropHead(spec, level_channels(spec.trunk)),
            "densepose_predictor": dense_predictor(spec),
            "embedder": Embedder(spec),
        }
    scales = [1 / COMMON_STRIDE] if spec.decoder else [1 / stride for stride in strides.values()]
    in_channels = spec.decoder_out if spec.decoder else spec.fpn_channels
    return {
        "decoder": Decoder(strides, spec.fpn_channels, spec.decoder_channels, spec.decoder_out)
        if spec.decoder
        else None,
        "densepose_pooler": ROIPooler(spec.pool_size, scales, sampling_ratio=2, pooler_type=spec.pooling),
        "densepose_head": dense_head(spec, in_channels),
        "densepose_predictor": dense_predictor(spec),
        "embedder": Embedder(spec) if spec.kind == "cse" else None,
    }
