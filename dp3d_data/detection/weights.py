"""Weights into networks and out of them: strict names and shapes, embeddings that mean something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling.backbone.resnet import BasicBlock
from torch import nn

from dp3d_data.detection.checkpoint import Checkpoint, read_checkpoint
from dp3d_data.detection.identify import SHAPE, Shapes, matching_specs, nearest_spec
from dp3d_data.detection.network import Dp3dDenseRCNN, build_network
from dp3d_data.detection.non_local import NonLocal
from dp3d_data.detection.spec import ModelSpec
from dp3d_data.errors import CheckpointError, WeightsMismatch
from dp3d_data.torch_files import write_torch

# Constants that older versions of detectron2 wrote beside the weights.
CONSTANTS = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.")
SHOWN = 3


def load_weights(network: Dp3dDenseRCNN, spec: ModelSpec, path: str | Path) -> Checkpoint:
    """Fill a network from a file, with no name missing, none too many and every shape right.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: the file cannot be read, or its embeddings say nothing.
        WeightsMismatch: it belongs to another network; says which.
    """
    checkpoint = read_checkpoint(path)
    fill(network, spec, checkpoint, path)
    return checkpoint


def fill(network: Dp3dDenseRCNN, spec: ModelSpec, checkpoint: Checkpoint, path: str | Path) -> None:
    """Put weights that were read into a network.

    Raises:
        WeightsMismatch: names or shapes differ.
        CheckpointError: a weight is not finite, or embeddings are zero, not finite or all equal.
    """
    state = {name: value for name, value in checkpoint.state.items() if not name.startswith(CONSTANTS)}
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in state.items()}
    if own != given:
        raise mismatch(given, spec, path, own)
    broken = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError("weights that are not finite", got=_few(broken), expected="finite numbers", path=path)
    shapes_only = next(network.parameters()).is_meta
    network.load_state_dict(state, strict=True, assign=shapes_only)
    check_embeddings(network, spec, path)


def fill_grown(network: Dp3dDenseRCNN, spec: ModelSpec, checkpoint: Checkpoint, path: str | Path) -> None:
    """Put the weights of a smaller network into a larger one that begins as the same function (after Net2Net, Chen et
    al., 2016).

    Residual blocks that the weights lack begin by adding nothing; everything else must be there, as in `fill`.

    Raises:
        WeightsMismatch: the weights lack, or have, more than such blocks, or shapes differ.
        CheckpointError: a weight is not finite, or embeddings say nothing.
    """
    fresh: dict[str, torch.Tensor] = {}
    for name, block in network.named_modules():
        if not isinstance(block, BasicBlock | NonLocal) or any(key.startswith(f"{name}.") for key in checkpoint.state):
            continue
        if isinstance(block, BasicBlock):  # a NonLocal is born as the identity
            nn.init.zeros_(block.conv2.norm.weight)
        fresh |= {f"{name}.{key}": value for key, value in block.state_dict().items()}
    fill(network, spec, replace(checkpoint, state={**fresh, **checkpoint.state}), path)


def mismatch(given: Shapes, spec: ModelSpec, path: str | Path, own: Shapes | None = None) -> WeightsMismatch:
    """The error that says how a state dict differs from a network and where it belongs."""
    if own is None:
        own = {name: tuple(value.shape) for name, value in build_network(spec, "meta").state_dict().items()}
    missing, unexpected = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    both = sorted(set(own) & set(given))
    other_shape = [f"{name} {list(given[name])} for {list(own[name])}" for name in both if own[name] != given[name]]
    parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", other_shape)]
    got = "; ".join(f"{len(names)} {what}: {_few(names)}" for what, names in parts if names)
    what, expected = f"these weights do not belong to {spec.name}", f"the {len(own)} arrays of {spec.name}"
    return WeightsMismatch(what, got=got, expected=expected, hint=_belongs(given), path=path)


def _belongs(given: Shapes) -> str:
    """Where the weights would fit."""
    fitting = matching_specs(given)
    if fitting:
        return "they fit " + " or ".join(f"--model {spec.name}" for spec in fitting)
    spec, differing = nearest_spec(given)
    return (
        f"the nearest model is {spec.name}, which differs in {', '.join(differing) or 'widths'}; see dp3d-data zoo list"
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


@torch.no_grad()
def check_embeddings(network: Dp3dDenseRCNN, spec: ModelSpec, path: str | Path) -> None:
    """Vertex embeddings of every class are finite, of unit norm and not all equal: else every pixel becomes one vertex.

    Raises:
        CheckpointError: they are not.
    """
    for mesh in sorted(set(spec.class_to_mesh.values())) if spec.kind == "cse" else ():
        vertices = network.roi_heads.embedder(mesh)
        norms = vertices.norm(dim=1)
        if not torch.isfinite(vertices).all():
            found = "NaN or infinity"
        elif (norms - 1).abs().max() > 1e-3:
            found = f"{int((norms < 1e-3).sum())} of {len(norms)} vertices with zero embedding"
        elif (vertices - vertices[:1]).abs().max() < 1e-6:
            found = "the same embedding for every vertex"
        else:
            continue
        raise CheckpointError(
            f"the vertex embeddings of {mesh} say nothing", got=found, expected="unit vectors that differ", path=path
        )


def save_weights(network: Dp3dDenseRCNN, spec: ModelSpec, path: str | Path, **notes: Any) -> None:
    """Write half-precision weights with the names of network and meshes, the size of images, and the notes, as the
    templates' hashes."""
    half = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    half = {name: value.half() if value.is_floating_point() else value for name, value in half.items()}
    classes = {str(key): mesh for key, mesh in spec.class_to_mesh.items()}
    sides = {"min_side": spec.min_side, "max_side": spec.max_side}
    class_names = {str(key): name for key, name in spec.class_names.items()}
    names = {"class_to_mesh": classes, "class_names": class_names, "other_classes": spec.other_classes}
    shape = {name: getattr(spec, name) for name in SHAPE}
    about = {"name": spec.name, "shape": shape, **names, "mesh_sizes": dict(spec.mesh_sizes), **sides, **notes}
    write_torch(path, {"model": half, "dp3d": about})
