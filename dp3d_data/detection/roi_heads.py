"""The box branch of detectron2 with a dense branch beside it."""

from __future__ import annotations

import torch
from detectron2.config import configurable
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import Boxes
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.crop_head import CropHead
from dp3d_data.detection.decoder import COMMON_STRIDE, Decoder
from dp3d_data.detection.dense_heads import dense_head
from dp3d_data.detection.dense_predictors import dense_predictor
from dp3d_data.detection.efficientnet import level_channels
from dp3d_data.detection.embedder import Embedder
from dp3d_data.detection.outputs import Outputs
from dp3d_data.detection.spec import ModelSpec

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
