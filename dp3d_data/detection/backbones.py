"""Backbones: ResNet-18 and -34 of any width under an FPN, and EfficientNet-Lite, each with levels res2..res5.

Modules carry the names of the published PyTorch weights, so that these load as they are.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet
from jaxtyping import Float
from torch import nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # by depth
LEVELS = ("res2", "res3", "res4", "res5")


@BACKBONE_REGISTRY.register()
def build_dp3d_narrow_resnet_fpn(cfg, input_shape) -> Backbone:
    """p2..p6 over res2..res5, from `cfg.MODEL.DP3D_SPEC`."""
    (spec,) = cfg.MODEL.DP3D_SPEC
    stem = BasicStem(in_channels=input_shape.channels, out_channels=spec.stem_channels, norm=spec.norm)
    stages, before, width = [], spec.stem_channels, spec.res2_channels
    for index, count in enumerate(BLOCKS[spec.depth]):
        shape = {"in_channels": before, "out_channels": width, "norm": spec.norm}
        strides = [1 if index == 0 else 2] + [1] * (count - 1)
        stages.append(ResNet.make_stage(BasicBlock, count, stride_per_block=strides, **shape))
        before, width = width, width * 2
    return FPN(ResNet(stem, stages, out_features=LEVELS), LEVELS, spec.fpn_channels, top_block=LastLevelMaxPool())


EPSILON = 1e-3  # of the published batch norms
STEM = 32
# repeats, kernel, stride, expansion, channels of each stage of Lite0
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LEVEL_ENDS = {"res2": 1, "res3": 2, "res4": 4, "res5": 6}  # the stage whose output is a level
WIDTH_DEPTH = {"lite0": (1.0, 1.0), "lite2": (1.1, 1.2)}
DETECTION_LEVELS = ("res3", "res4", "res5")
Maps = Float[torch.Tensor, "n c h w"]


def block_shapes(trunk: str) -> tuple[list[tuple[int, int, int, int, int]], dict[str, int]]:
    """The blocks of a variant as InvertedResidual takes them, and which of them ends each level."""
    width, depth = WIDTH_DEPTH[trunk]
    shapes: list[tuple[int, int, int, int, int]] = []
    ends: dict[str, int] = {}
    before = STEM
    for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
        after = max(8, int(width * channels + 4) // 8 * 8)
        after += 8 if after < 0.9 * width * channels else 0
        # The stem and the ends keep their depth in all variants.
        count = repeats if number in (0, len(STAGES) - 1) else math.ceil(depth * repeats)
        for repeat in range(count):
            shapes.append((before, after, kernel, stride if repeat == 0 else 1, expansion))
            before = after
        ends |= {name: len(shapes) - 1 for name, stage in LEVEL_ENDS.items() if stage == number}
    return shapes, ends


def level_channels(trunk: str) -> dict[str, int]:
    """Channels of each level."""
    shapes, ends = block_shapes(trunk)
    return {name: shapes[end][1] for name, end in ends.items()}


def normed(convolution: nn.Conv2d, norm: FrozenBatchNorm2d, maps: Maps) -> Maps:
    """A convolution and its frozen norm as one convolution, padded as TensorFlow's "same"."""
    scale = norm.weight * (norm.running_var + EPSILON).rsqrt()
    weight, bias = convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    if kernel == 1:  # as a matrix product: for single images and one thread torch's own way is slow
        return nn.functional.linear(maps.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
    padding = kernel // 2
    if stride > 1:
        rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in maps.shape[-2:])
        maps = nn.functional.pad(maps, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        padding = 0
    return nn.functional.conv2d(maps, weight, bias, stride, padding, 1, convolution.groups)


class InvertedResidual(nn.Module):
    """Widen by `expansion`, filter each channel, narrow; added to the input where the shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.residual = stride == 1 and before == after
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(before, inner, 1, bias=False), FrozenBatchNorm2d(inner)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = FrozenBatchNorm2d(inner)
        self._project_conv, self._bn2 = nn.Conv2d(inner, after, 1, bias=False), FrozenBatchNorm2d(after)

    def forward(self, maps: Maps) -> Maps:
        """Same number of rows and columns, or half."""
        inner = maps
        if hasattr(self, "_expand_conv"):
            inner = nn.functional.relu6(normed(self._expand_conv, self._bn0, inner), inplace=True)
        inner = nn.functional.relu6(normed(self._depthwise_conv, self._bn1, inner), inplace=True)
        inner = normed(self._project_conv, self._bn2, inner)
        return maps + inner if self.residual else inner


class EfficientNetLite(Backbone):
    """Levels res2..res5 of strides 4, 8, 16, 32; norms are frozen."""

    def __init__(self, trunk: str) -> None:
        super().__init__()
        shapes, self.ends = block_shapes(trunk)
        self._conv_stem, self._bn0 = nn.Conv2d(3, STEM, 3, 2, bias=False), FrozenBatchNorm2d(STEM)
        self._blocks = nn.ModuleList(InvertedResidual(*shape) for shape in shapes)
        self.channels = level_channels(trunk)
        self._out_features = list(self.ends)

    def forward(self, images: Maps) -> dict[str, Maps]:
        """The levels of normalised images, with the channels of a pixel together in memory.

        Blocks that learn run in single precision on a CPU: there the gradients of their depthwise filters are slow in
        bfloat16.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        maps, levels = nn.functional.relu6(normed(self._conv_stem, self._bn0, images), inplace=True), {}
        names = {end: name for name, end in self.ends.items()}
        for number, block in enumerate(self._blocks):
            last: Any = block._project_conv
            learns = torch.is_grad_enabled() and last.weight.requires_grad and maps.device.type == "cpu"
            with torch.autocast(maps.device.type, enabled=torch.is_autocast_enabled(maps.device.type) and not learns):
                maps = block(maps.float() if learns else maps)
            if number in names:
                levels[names[number]] = maps
        return levels

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each level, as detectron2 asks for them."""
        strides = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
        return {name: ShapeSpec(channels=count, stride=strides[name]) for name, count in self.channels.items()}


@BACKBONE_REGISTRY.register()
def build_dp3d_efficientnet_fpn(cfg, input_shape) -> Backbone:
    """p3..p6 over res3..res5 of an EfficientNet-Lite, from `cfg.MODEL.DP3D_SPEC`; boxes need no finer level."""
    (spec,) = cfg.MODEL.DP3D_SPEC
    return FPN(EfficientNetLite(spec.trunk), DETECTION_LEVELS, spec.fpn_channels, top_block=LastLevelMaxPool())
