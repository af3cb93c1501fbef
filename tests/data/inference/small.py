"""A network that is built in no time, with weights that mean nothing but are good."""

import pickle
import tempfile
from functools import cache
from pathlib import Path

import torch

from dp3d_data.detection import build_network, find_spec, save_weights
from dp3d_data.detection.spec import ModelSpec

SMALL = ModelSpec(
    name="small",
    class_to_mesh={0: "dog"},
    mesh_sizes={"dog": 40},
    depth=18,
    stem_channels=8,
    res2_channels=8,
    stride_in_1x1=False,
    norm="BN",
    fpn_channels=16,
    box_fc=16,
    proposals=(50, 20),
    training_proposals=(200, 100),
    training_rois=32,
    detections=10,
    pooling="ROIAlignV2",
    decoder_channels=16,
    decoder_out=16,
    head_convs=1,
    head_channels=32,
    head_norm=True,
    embed_features=8,
    min_side=96,
    max_side=160,
    pixel_std=(57.375, 57.12, 58.395),
)


def small_network(spec=SMALL):
    torch.manual_seed(3)
    network = build_network(spec)
    for mesh in spec.mesh_sizes:
        network.embedder(mesh).features.normal_()
    return network


def write_published(path, spec):
    """A whole published network in a small file: constants, and mesh functions that are one column repeated."""
    rng = torch.Generator().manual_seed(0)
    state = {}
    for name, value in build_network(spec, "meta").state_dict().items():
        column = torch.randn(len(value), 1, generator=rng) if name.endswith(".features") else torch.ones(())
        state[name] = column.expand(value.shape)
    torch.save({"model": state, "__author__": "someone"}, path)
    return path


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


@cache
def made_weights(name):
    """A file of weights that mean nothing of a network of the zoo that none is shipped for."""
    spec = find_spec(name)
    path = Path(tempfile.mkdtemp()) / f"{name}.pth"
    save_weights(small_network(spec), path)
    return path
