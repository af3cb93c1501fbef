"""A ResNet-18 or -34 of any width under an FPN: detectron2's own insists on the published width."""

from __future__ import annotations

from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # by depth
LEVELS = ("res2", "res3", "res4", "res5")


@BACKBONE_REGISTRY.register()
def build_dp3d_narrow_resnet_fpn(cfg, input_shape) -> Backbone:
    """p2..p6 over res2..res5, from `cfg.MODEL.DP3D_SPEC`."""
    (spec,) = cfg.MODEL.DP3D_SPEC
    stem = BasicStem(in_channels=input_shape.channels, out_channels=spec.stem_channels, norm=spec.norm)
    stages, before, width = [], spec.stem_channels, spec.res2_channels
    for index, count in enumerate(BLOCKS[spec.depth]):
        strides = [1 if index == 0 else 2] + [1] * (count - 1)
        stages.append(
            ResNet.make_stage(
                BasicBlock, count, in_channels=before, out_channels=width, stride_per_block=strides, norm=spec.norm
            )
        )
        before, width = width, width * 2
    return FPN(ResNet(stem, stages, out_features=LEVELS), LEVELS, spec.fpn_channels, top_block=LastLevelMaxPool())
