"""A network from its specification, assembled by detectron2."""

from __future__ import annotations

import logging
import warnings

import torch
from detectron2.config import CfgNode, configurable, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from jaxtyping import Float, Int, UInt8
from torch import nn

from dp3d_data.detection.backbones import BLOCKS, build_dp3d_efficientnet_fpn, build_dp3d_narrow_resnet_fpn
from dp3d_data.detection.dense_layers import Outputs
from dp3d_data.detection.heads import Dp3dDenseROIHeads
from dp3d_data.detection.spec import ModelSpec

ANCHORS = {"p2": 32, "p3": 64, "p4": 128, "p5": 256, "p6": 512}  # sides, pixels; halved where the finest level is p3
Tensor = torch.Tensor
Features = dict[str, Float[Tensor, "n c h w"]]


@META_ARCH_REGISTRY.register()
class Dp3dDenseRCNN(GeneralizedRCNN):
    """detectron2's GeneralizedRCNN with its steps laid open: normalise, backbone, box losses or boxes, dense maps."""

    @configurable
    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)

    def normalised(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h2 w2"]:
        """BGR images minus the mean, padded with zeros at the right and bottom to what the backbone divides by."""
        step = self.backbone.size_divisibility
        values = (images.float() - self.pixel_mean) / self.pixel_std
        return nn.functional.pad(values, (0, -values.shape[-1] % step, 0, -values.shape[-2] % step))

    def detection_losses(
        self,
        images: Float[Tensor, "n 3 h w"],
        features: Features,
        boxes: list[Float[Tensor, "m 4"]],
        classes: list[Int[Tensor, "m"]],
    ) -> dict[str, Float[Tensor, ""]]:
        """Losses of proposals and boxes.

        Args:
            images: normalised.
            features: of the backbone.
            boxes: of each image [m, 4] xyxy, pixels.
            classes: of each box.
        """
        size = tuple(images.shape[-2:])
        truth = [
            Instances(size, gt_boxes=Boxes(own), gt_classes=kinds) for own, kinds in zip(boxes, classes, strict=True)
        ]
        with EventStorage():
            proposals, losses = self.proposal_generator(ImageList(images, [size] * len(images)), features, truth)
            proposals = self.roi_heads.label_and_sample_proposals(proposals, truth)
            return losses | self.roi_heads._forward_box(features, proposals)

    def detect(
        self, images: Float[Tensor, "n 3 h w"], sizes: list[tuple[int, int]], features: Features
    ) -> list[Instances]:
        """Boxes of each image with score and class (detectron2 fields pred_boxes, scores, pred_classes).

        Args:
            images: normalised and padded.
            sizes: (height, width) of each image without padding, pixels.
            features: of the backbone.
        """
        proposals, _ = self.proposal_generator(ImageList(images, sizes), features, None)
        return self.roi_heads._forward_box(features, proposals)

    def look_again(self, crops: Float[Tensor, "n 3 side side"]) -> Outputs:
        """Dense maps of normalised square crops: the trunk's second look, for networks with a crop_side."""
        levels = self.backbone.bottom_up(crops)
        return self.roi_heads.dense_maps(levels)


def build_network(spec: ModelSpec, device: str = "cpu") -> Dp3dDenseRCNN:
    """A network with random weights and empty mesh functions; `device="meta"` gives shapes without memory."""
    # What torch has to say of detectron2's own calls is no news to the user.
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    with torch.device(device):
        return META_ARCH_REGISTRY.get("Dp3dDenseRCNN")(configuration(spec, device))


def configuration(spec: ModelSpec, device: str) -> CfgNode:
    """The detectron2 settings of a specification."""
    cfg = get_cfg()
    model = cfg.MODEL
    model.DP3D_SPEC, model.DEVICE, model.MASK_ON = (spec,), device, False  # a tuple: settings hold no objects
    model.PIXEL_MEAN, model.PIXEL_STD = list(spec.pixel_mean), list(spec.pixel_std)
    cfg.TEST.DETECTIONS_PER_IMAGE = spec.detections
    _set_backbone(model, spec)
    _set_boxes(model, spec)
    return cfg


def _set_backbone(model: CfgNode, spec: ModelSpec) -> None:
    narrow = build_dp3d_narrow_resnet_fpn.__name__ if spec.depth in BLOCKS else "build_resnet_fpn_backbone"
    model.BACKBONE.NAME = narrow if spec.trunk == "resnet" else build_dp3d_efficientnet_fpn.__name__
    model.BACKBONE.FREEZE_AT = 0 if spec.trainable else 2
    resnets = model.RESNETS
    resnets.DEPTH, resnets.NORM, resnets.STRIDE_IN_1X1 = spec.depth, spec.norm, spec.stride_in_1x1
    resnets.STEM_OUT_CHANNELS, resnets.RES2_OUT_CHANNELS = spec.stem_channels, spec.res2_channels
    resnets.WIDTH_PER_GROUP = spec.group_width
    resnets.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.OUT_CHANNELS = spec.fpn_channels


def _set_boxes(model: CfgNode, spec: ModelSpec) -> None:
    levels = spec.levels
    model.RPN.IN_FEATURES = [*levels, "p6"]
    model.ANCHOR_GENERATOR.SIZES = [
        [ANCHORS[name] * ANCHORS["p2"] // ANCHORS[levels[0]]] for name in model.RPN.IN_FEATURES
    ]
    model.RPN.PRE_NMS_TOPK_TEST, model.RPN.POST_NMS_TOPK_TEST = spec.proposals
    model.RPN.PRE_NMS_TOPK_TRAIN, model.RPN.POST_NMS_TOPK_TRAIN = spec.training_proposals
    heads, box = model.ROI_HEADS, model.ROI_BOX_HEAD
    heads.NAME, heads.IN_FEATURES, heads.NUM_CLASSES = Dp3dDenseROIHeads.__name__, levels, spec.num_classes
    heads.BATCH_SIZE_PER_IMAGE = spec.training_rois
    heads.SCORE_THRESH_TEST, heads.NMS_THRESH_TEST = spec.score_threshold, spec.nms_threshold
    box.NAME, box.NUM_FC, box.FC_DIM = "FastRCNNConvFCHead", 2, spec.box_fc
    box.POOLER_RESOLUTION, box.POOLER_SAMPLING_RATIO, box.POOLER_TYPE = 7, 2, spec.pooling
