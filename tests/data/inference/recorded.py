"""Recorded outputs of the reference implementation and the shrunken networks that made them."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from dp3d_data.detection import build_network, find_spec
from dp3d_data.detection.dense_layers import Aspp
from tests.shared import shared

NAMES = ("cse", "cse_deeplab", "chart", "chart_deeplab_wc2m")
EMBEDDER = "roi_heads.embedder.embedder_"


def recorded(name):
    return np.load(shared(f"parity/{name}.npz"), allow_pickle=False)


def state_of(record):
    return {
        key.removeprefix("state/"): torch.from_numpy(record[key]) for key in record.files if key.startswith("state/")
    }


def spec_of(record):
    """The specification of a recorded network: the published one it is based on, with its changes."""
    meta = json.loads(str(record["meta_json"]))
    features = {
        key.removeprefix(EMBEDDER).removesuffix(".features"): value.shape
        for key, value in state_of(record).items()
        if key.startswith(EMBEDDER) and key.endswith(".features")
    }
    resnet, decoder = meta["RESNETS"], meta["DECODER"]
    widths = next(iter(features.values()), (0, 256))[1]
    return replace(
        find_spec(meta["based_on"].removesuffix(".yaml")),
        class_to_mesh=dict(enumerate(features)),
        mesh_sizes={mesh: shape[0] for mesh, shape in features.items()},
        embed_features=widths,
        stem_channels=resnet["STEM_OUT_CHANNELS"],
        res2_channels=resnet["RES2_OUT_CHANNELS"],
        group_width=resnet["WIDTH_PER_GROUP"],
        fpn_channels=meta["FPN_OUT_CHANNELS"],
        box_fc=meta["ROI_BOX_HEAD_FC_DIM"],
        head_channels=meta["CONV_HEAD_DIM"],
        head_convs=meta["NUM_STACKED_CONVS"],
        decoder_channels=decoder["DECODER_CONV_DIMS"],
        decoder_out=decoder["DECODER_NUM_CLASSES"],
        score_threshold=meta["SCORE_THRESH_TEST"],
        detections=meta["DETECTIONS_PER_IMAGE"],
    )


def network_of(record):
    network = build_network(spec_of(record)).eval()
    network.load_state_dict(state_of(record), strict=True)
    return network


@contextmanager
def as_recorded():
    """With as many threads as the recording had, and no gradients."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


def features_of(network, record):
    """The backbone's features of the recorded image."""
    with as_recorded():
        return network.backbone(network.normalised(torch.from_numpy(record["image_bgr_chw"])[None]))


def outputs_of(network, record, features=None):
    """Raw outputs for the recorded boxes on the recorded image, of which the features may be given."""
    features = features_of(network, record) if features is None else features
    with as_recorded():
        return network.dense_maps(network.pooled(features, [torch.from_numpy(record["given_boxes_xyxy"])]))


def difference(ours, theirs):
    """The largest difference, as a share of the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def rounding(network, record):
    """How far rounding alone moves a recorded network's outputs, relative; 0 where it cannot.

    The shrunken DeepLab heads normalise groups of one single value (32 channels of 1 x 1 in 32 groups): exactly, that
    is zero whatever the value; in single precision it is the value's last digits times 316. Scaling the value changes
    nothing but these digits. The published networks have eight channels in a group and no such trouble.
    """
    aspp = getattr(network.roi_heads.densepose_head, "ASPP", None)
    if not isinstance(aspp, Aspp):
        return 0.0
    features = features_of(network, record)
    plain, spread = outputs_of(network, record, features), 0.0
    for factor in (0.7, 0.83, 0.97, 1.03, 1.3, 1.9):
        hook = aspp.convs[4][1].register_forward_hook(lambda module, inputs, value, factor=factor: value * factor)
        moved = outputs_of(network, record, features)
        hook.remove()
        spread = max([spread, *(difference(moved[k].numpy(), plain[k].numpy()) for k in plain)])
    return spread
