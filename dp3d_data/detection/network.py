"""A network from its specification, assembled by detectron2: heads, and a dense branch beside the box branch."""

from __future__ import annotations

import logging
import warnings

import torch
from detectron2.config import CfgNode, configurable, get_cfg
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from fvcore.nn.weight_init import c2_msra_fill
from jaxtyping import Float, Int, UInt8
from torch import nn

from dp3d_data.detection import backbones
from dp3d_data.detection.dense_layers import GROUPS, Aspp, MapPredictor, MeshEmbedder, NonLocal, Outputs, doubled
from dp3d_data.detection.spec import ModelSpec

Tensor = torch.Tensor
Features = dict[str, Float[Tensor, "n c h w"]]


class ConvHead(nn.Module):
    """Convolutions `body_conv_fcn1..n`, each with ReLU and, where asked for, GroupNorm; in a "deeplab" head after an
    atrous pyramid and, where asked for, a non-local block."""

    def __init__(self, spec: ModelSpec, in_channels: int) -> None:
        super().__init__()
        self.count, deeplab = spec.head_convs, spec.head == "deeplab"
        normed = deeplab or spec.head_norm
        for index in range(self.count):
            convolution = Conv2d(
                in_channels if index == 0 else spec.head_channels,
                spec.head_channels,
                kernel_size=3,
                padding=1,
                bias=not normed,
                norm=nn.GroupNorm(GROUPS, spec.head_channels) if normed else None,
                activation=nn.functional.relu,
            )
            c2_msra_fill(convolution)
            self.add_module(f"body_conv_fcn{index + 1}", convolution)
        self.ASPP = Aspp(in_channels, in_channels) if deeplab else nn.Identity()
        self.NLBlock = NonLocal(in_channels) if deeplab and spec.non_local else nn.Identity()

    def forward(self, features: Float[Tensor, "boxes c s s"]) -> Float[Tensor, "boxes d s s"]:
        """Same side, `head_channels` channels."""
        features = self.NLBlock(self.ASPP(features))
        for index in range(self.count):
            features = getattr(self, f"body_conv_fcn{index + 1}")(features)
        return features


HEADS = 4
CROP_GROUPS = 16


def place_codes(rows: int, columns: int, channels: int, like: Tensor) -> Float[Tensor, "rows columns channels"]:
    """Sines and cosines of each cell's place in the crop, 0..1 (after Vaswani et al., 2017)."""
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


def mixed(channels: int) -> nn.Sequential:
    """A 3 x 3 convolution with its norm."""
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(CROP_GROUPS, channels), nn.ReLU())


class CropHead(nn.Module):
    """Features res2..res5 of crops to stride 4: tokens of stride 16 that see each other, then two finer steps.

    Args:
        spec: `head_convs` token blocks; `head_channels` at the end, twice as many inside.
        channels: of each level.
    """

    def __init__(self, spec: ModelSpec, channels: dict[str, int]) -> None:
        super().__init__()
        width, out = 2 * spec.head_channels, spec.head_channels
        self.context = spec.head_context
        self.deep, self.middle = nn.Conv2d(channels["res5"], width, 1), nn.Conv2d(channels["res4"], width, 1)
        self.tokens = nn.Sequential(*(TokenBlock(width) for _ in range(spec.head_convs * spec.head_context)))
        self.start = mixed(width)
        self.fine8, self.mix8 = nn.Conv2d(channels["res3"], width, 1), mixed(width)
        self.narrow, self.fine4 = nn.Conv2d(width, out, 1), nn.Conv2d(channels["res2"], out, 1)
        self.mix4 = mixed(out)

    def forward(self, levels: Features) -> Float[Tensor, "n c h4 w4"]:
        """Features of stride 4."""
        maps = self.start(self.middle(levels["res4"]) + doubled(self.deep(levels["res5"])))
        if self.context:
            count, width, rows, columns = maps.shape
            codes = place_codes(rows, columns, width, maps).flatten(0, 1)
            tokens = self.tokens(maps.flatten(2).transpose(1, 2) + codes)
            maps = tokens.transpose(1, 2).reshape(count, width, rows, columns)
        maps = self.mix8(doubled(maps) + self.fine8(levels["res3"]))
        return self.mix4(doubled(self.narrow(maps)) + self.fine4(levels["res2"]))


DECODER_STRIDE = 4


def dense_branch(spec: ModelSpec, levels: dict[str, ShapeSpec]) -> dict[str, nn.Module]:
    """The modules of the dense branch under the names that published weights use.

    Args:
        levels: channels and strides of the backbone's levels that boxes are pooled from.
    """
    branch: dict[str, nn.Module] = {}
    if spec.crop_side:
        branch["densepose_head"] = CropHead(spec, backbones.level_channels(spec.trunk))
    else:
        scales, channels = [1 / level.stride for level in levels.values()], spec.fpn_channels
        if spec.decoder:
            branch["decoder"] = SemSegFPNHead(
                levels, num_classes=spec.decoder_out, conv_dims=spec.decoder_channels, common_stride=DECODER_STRIDE
            )
            scales, channels = [1 / DECODER_STRIDE], spec.decoder_out
        branch["densepose_pooler"] = ROIPooler(spec.pool_size, scales, sampling_ratio=2, pooler_type=spec.pooling)
        branch["densepose_head"] = ConvHead(spec, channels)
    branch["densepose_predictor"] = MapPredictor(spec)
    if spec.kind == "cse":
        meshes = spec.mesh_sizes.items()
        sizes = spec.embed_features, spec.embed_size
        branch["embedder"] = nn.ModuleDict({f"embedder_{name}": MeshEmbedder(count, *sizes) for name, count in meshes})
    return branch


ANCHORS = {"p2": 32, "p3": 64, "p4": 128, "p5": 256, "p6": 512}  # sides, pixels; halved where the finest level is p3


class Dp3dDenseRCNN(GeneralizedRCNN):
    """detectron2's GeneralizedRCNN with a dense branch beside the box branch, and its steps laid open: normalise,
    backbone, box losses or boxes, dense maps.

    Attributes:
        spec: what it was built from.
    """

    @configurable
    def __init__(self, *, spec: ModelSpec, **arguments) -> None:
        super().__init__(**arguments)
        self.spec = spec
        shapes = self.backbone.output_shape()
        for name, module in dense_branch(spec, {level: shapes[level] for level in spec.levels}).items():
            self.roi_heads.add_module(name, module)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """detectron2's own arguments and `cfg.MODEL.DP3D_SPEC`."""
        return super().from_config(cfg) | {"spec": cfg.MODEL.DP3D_SPEC[0]}

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
        size, pairs = tuple(images.shape[-2:]), zip(boxes, classes, strict=True)
        truth = [Instances(size, gt_boxes=Boxes(own), gt_classes=kinds) for own, kinds in pairs]
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

    def pooled(self, features: Features, boxes: list[Float[Tensor, "n 4"]]) -> Float[Tensor, "boxes c side side"]:
        """What the dense head sees of given boxes, image after image: a piece of the features, computed once for all.

        Args:
            features: of the backbone, by level.
            boxes: for each image its boxes xyxy, in pixels of the network's input.
        """
        levels = [features[name] for name in self.spec.levels]
        if self.spec.decoder:
            levels = [self.roi_heads.decoder.layers(features)]
        return self.roi_heads.densepose_pooler([level.float() for level in levels], [Boxes(each) for each in boxes])

    def crop_levels(self, crops: Float[Tensor, "n 3 side side"]) -> Features:
        """The trunk's levels of normalised square crops, for networks with a crop_side."""
        return self.backbone.bottom_up(crops)

    def dense_maps(self, seen: Float[Tensor, "boxes c side side"] | Features) -> Outputs:
        """Dense maps of pooled boxes, or of the trunk's levels of crops, each on its own."""
        return self.roi_heads.densepose_predictor(self.roi_heads.densepose_head(seen))

    def embedder(self, mesh: str) -> MeshEmbedder:
        """Functions and embeddings of a mesh; called, it gives the embeddings of the vertices."""
        return self.roi_heads.embedder[f"embedder_{mesh}"]


def build_network(spec: ModelSpec, device: str = "cpu") -> Dp3dDenseRCNN:
    """A network with random weights and empty mesh functions; `device="meta"` gives shapes without memory."""
    # What torch has to say of detectron2's own calls is no news to the user.
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    with torch.device(device):
        return Dp3dDenseRCNN(configuration(spec, device))


def configuration(spec: ModelSpec, device: str) -> CfgNode:
    """The detectron2 settings of a specification."""
    cfg = get_cfg()
    model, levels = cfg.MODEL, spec.levels
    model.DP3D_SPEC, model.DEVICE, model.MASK_ON = (spec,), device, False  # a tuple: settings hold no objects
    model.PIXEL_MEAN, model.PIXEL_STD = list(spec.pixel_mean), list(spec.pixel_std)
    cfg.TEST.DETECTIONS_PER_IMAGE = spec.detections
    narrow = "build_dp3d_narrow_resnet_fpn" if spec.depth in backbones.BLOCKS else "build_resnet_fpn_backbone"
    model.BACKBONE.NAME = narrow if spec.trunk == "resnet" else "build_dp3d_efficientnet_fpn"
    model.BACKBONE.FREEZE_AT = 2 if spec.norm == "FrozenBN" else 0
    resnets = model.RESNETS
    resnets.DEPTH, resnets.NORM, resnets.STRIDE_IN_1X1 = spec.depth, spec.norm, spec.stride_in_1x1
    resnets.STEM_OUT_CHANNELS, resnets.RES2_OUT_CHANNELS = spec.stem_channels, spec.res2_channels
    resnets.WIDTH_PER_GROUP = spec.group_width
    resnets.OUT_FEATURES = model.FPN.IN_FEATURES = list(backbones.LEVELS)
    model.FPN.OUT_CHANNELS = spec.fpn_channels
    model.RPN.IN_FEATURES = [*levels, "p6"]
    finest = ANCHORS[levels[0]] // ANCHORS["p2"]
    model.ANCHOR_GENERATOR.SIZES = [[ANCHORS[name] // finest] for name in model.RPN.IN_FEATURES]
    model.RPN.PRE_NMS_TOPK_TEST, model.RPN.POST_NMS_TOPK_TEST = spec.proposals
    model.RPN.PRE_NMS_TOPK_TRAIN, model.RPN.POST_NMS_TOPK_TRAIN = spec.training_proposals
    heads, box = model.ROI_HEADS, model.ROI_BOX_HEAD
    heads.NAME, heads.IN_FEATURES, heads.NUM_CLASSES = "StandardROIHeads", levels, spec.num_classes
    heads.BATCH_SIZE_PER_IMAGE = spec.training_rois
    heads.SCORE_THRESH_TEST, heads.NMS_THRESH_TEST = spec.score_threshold, spec.nms_threshold
    box.NAME, box.NUM_FC, box.FC_DIM = "FastRCNNConvFCHead", 2, spec.box_fc
    box.POOLER_RESOLUTION, box.POOLER_SAMPLING_RATIO, box.POOLER_TYPE = 7, 2, spec.pooling
    return cfg
