"""Weights read without running anything, into networks and out of them: strict names and shapes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.modeling.backbone.resnet import BasicBlock
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.dense_layers import NonLocal
from dp3d_data.detection.network import Dp3dDenseRCNN, build_network
from dp3d_data.detection.spec import ModelSpec
from dp3d_data.detection.zoo import EMBEDDER, SHAPE, Shapes, differing_traits, matching_specs, nearest_spec
from dp3d_data.errors import CheckpointError, UnsafePickle
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import DAMAGE, described
from dp3d_data.torch_files import check_archive, packed_weights, refused_global, unpacked_weights, write_torch
from dp3d_data.unpickling import read_pickle

EXPECTED = "a .pkl or .pth file with a state dict, bare or under the key 'model'"


State = dict[str, torch.Tensor]


def shapes_of(state: Mapping[str, torch.Tensor]) -> Shapes:
    """The shape of every array, by name."""
    return {name: tuple(value.shape) for name, value in state.items()}


def template_hash(notes: Mapping[str, Any], mesh: str) -> str:
    """Content hash that notes give for the template of a mesh, or for all; empty where there is none."""
    hashes = notes.get("template_hashes")
    return str((hashes.get(mesh) if isinstance(hashes, Mapping) else "") or notes.get("template_hash", ""))


def read_checkpoint(path: str | Path) -> tuple[State, dict[str, Any]]:
    """Read a file of weights; its content decides how, not its name.

    Returns:
        Weights by name, in single precision, and what this project notes beside them (empty for others' files).

    Raises:
        InputMissing: no such file.
        InputCorrupt: a pointer in its place.
        UnsafePickle: it asks for more than arrays; nothing of it was run.
        CheckpointError: empty, cut short, or without a state dict.
    """
    path = Path(path)
    require_no_pointer(path, "file of weights")
    with open(path, "rb") as stream:
        start = stream.read(32)
    if start[:4] != b"PK\x03\x04" and start[:1] != b"\x80":
        raise CheckpointError("not a checkpoint", got=described(path), expected=EXPECTED, path=path)
    # A zip, or an old torch file: a pickle whose first object is torch's magic number.
    is_torch = start[:1] == b"P" or b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" in start
    content = _read_torch(path) if is_torch else read_pickle(path)
    state = content.get("model", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError("no state dict in this file", got=type(content).__name__, expected=EXPECTED, path=path)
    notes = content.get("dp3d", {}) if isinstance(content, Mapping) else {}
    tensors = {str(name): _tensor(str(name), value, path) for name, value in unpacked_weights(state).items()}
    return tensors, dict(notes)


def _read_torch(path: Path) -> Any:
    check_archive(path, "file of weights")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        said = str(error)
        if isinstance(error, pickle.UnpicklingError) and ("Unsupported" in said or "weights_only" in said.lower()):
            what, got = "this file asks for more than tensors", refused_global(error) or said.splitlines()[0]
            raise UnsafePickle(what, got=got, expected="tensors and plain containers", path=path) from None
        what = "not a whole file of weights"
        raise CheckpointError(what, got=described(path), expected=EXPECTED, path=path) from error


def _tensor(name: str, value: Any, path: Path) -> torch.Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.dtype.itemsize <= 8:
        value = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C"))
    elif isinstance(value, (int, float, np.number)):
        value = torch.tensor(value)
    if not isinstance(value, torch.Tensor):
        got = f"{name}: {type(value).__name__}"
        raise CheckpointError("a state dict holds arrays only", got=got, expected=EXPECTED, path=path)
    return value.float() if value.is_floating_point() else value


# Constants that older versions of detectron2 wrote beside the weights.
CONSTANTS = ("pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors.")
SHOWN = 3


def fill(network: Dp3dDenseRCNN, state: State, path: str | Path) -> None:
    """Put weights into a network, with no name missing, none too many and every shape right.

    Args:
        path: of the file that they were read from, for errors.

    Raises:
        CheckpointError: they belong to another network (says which), a weight is not finite, or embeddings are zero,
            not finite or all equal.
    """
    state = {name: value for name, value in state.items() if not name.startswith(CONSTANTS)}
    own, given = shapes_of(network.state_dict()), shapes_of(state)
    if own != given:
        raise mismatch(given, network.spec, path, own)
    broken = [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError("weights that are not finite", got=_few(broken), expected="finite numbers", path=path)
    network.load_state_dict(state, strict=True, assign=next(network.parameters()).is_meta)
    check_embeddings(network, path)


def fill_grown(network: Dp3dDenseRCNN, state: State, path: str | Path) -> None:
    """Put the weights of a smaller network into a larger one that begins as the same function (after Net2Net, Chen et
    al., 2016).

    Residual blocks that the weights lack begin by adding nothing; everything else must be there, as in `fill`.

    Raises:
        CheckpointError: the weights lack, or have, more than such blocks, shapes differ, a weight is not finite, or
            embeddings say nothing.
    """
    fresh: State = {}
    for name, block in network.named_modules():
        if not isinstance(block, BasicBlock | NonLocal) or any(key.startswith(f"{name}.") for key in state):
            continue
        if isinstance(block, BasicBlock):  # a NonLocal is born as the identity
            nn.init.zeros_(block.conv2.norm.weight)
        fresh |= {f"{name}.{key}": value for key, value in block.state_dict().items()}
    fill(network, fresh | state, path)


def mismatch(given: Shapes, spec: ModelSpec, path: str | Path, own: Shapes | None = None) -> CheckpointError:
    """The error that says how a state dict differs from a network and where it belongs."""
    own = own or shapes_of(build_network(spec, "meta").state_dict())
    missing, unexpected = sorted(set(own) - set(given)), sorted(set(given) - set(own))
    both = sorted(set(own) & set(given))
    other_shape = [f"{name} {list(given[name])} for {list(own[name])}" for name in both if own[name] != given[name]]
    parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", other_shape)]
    got = "; ".join(f"{len(names)} {what}: {_few(names)}" for what, names in parts if names)
    what, expected = f"these weights do not belong to {spec.name}", f"the {len(own)} arrays of {spec.name}"
    return CheckpointError(what, got=got, expected=expected, hint=_belongs(given), path=path)


def _belongs(given: Shapes) -> str:
    """Where the weights would fit."""
    fitting = matching_specs(given)
    if fitting:
        return "they fit " + " or ".join(f"--model {spec.name}" for spec in fitting)
    spec = nearest_spec(given)
    differing = ", ".join(differing_traits(spec, given)).replace("mesh_sizes", "meshes")
    return f"the nearest model is {spec.name}, which differs in {differing or 'widths'}; see dp3d-data zoo list"


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


@torch.no_grad()
def check_embeddings(network: Dp3dDenseRCNN, path: str | Path) -> None:
    """Vertex embeddings of every class are finite, of unit norm and not all equal: else every pixel becomes one vertex.

    Raises:
        CheckpointError: they are not.
    """
    for mesh in sorted(set(network.spec.class_to_mesh.values())) if network.spec.kind == "cse" else ():
        vertices = network.embedder(mesh)()
        norms = vertices.norm(dim=1)
        if not torch.isfinite(vertices).all():
            found = "NaN or infinity"
        elif (norms - 1).abs().max() > 1e-3:
            found = f"{int((norms < 1e-3).sum())} of {len(norms)} vertices with zero embedding"
        elif (vertices - vertices[:1]).abs().max() < 1e-6:
            found = "the same embedding for every vertex"
        else:
            continue
        what, expected = f"the vertex embeddings of {mesh} say nothing", "unit vectors that differ"
        raise CheckpointError(what, got=found, expected=expected, path=path)


def save_weights(network: Dp3dDenseRCNN, path: str | Path, small: bool = False, **notes: Any) -> None:
    """Write half-precision weights with the names of network and meshes, the size of images, and the notes.

    Args:
        small: keep large matrices and filters in 8 bits, for half the space.
    """
    spec, state = network.spec, {name: value.detach().cpu() for name, value in network.state_dict().items()}
    if small:
        state = packed_weights(state)
    else:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    classes = {str(key): mesh for key, mesh in spec.class_to_mesh.items()}
    sides = {"min_side": spec.min_side, "max_side": spec.max_side}
    class_names = {str(key): name for key, name in spec.class_names.items()}
    names = {"class_to_mesh": classes, "class_names": class_names, "other_classes": spec.other_classes}
    shape = {name: getattr(spec, name) for name in SHAPE}
    about = {"name": spec.name, "shape": shape, **names, "mesh_sizes": dict(spec.mesh_sizes), **sides, **notes}
    write_torch(path, {"model": state, "dp3d": about})


def read_features(path: str | Path, mesh: str) -> Float[np.ndarray, "vertices functions"]:
    """The smooth functions of a mesh.

    Raises:
        InputMissing, CheckpointError, UnsafePickle: of the file.
        CheckpointError: it does not know the mesh; names those that it knows.
    """
    return _entry(read_checkpoint(path)[0], path, mesh, "features")


def read_vertex_embeddings(path: str | Path, meshes: tuple[str, ...]) -> Float[np.ndarray, "vertices dim"]:
    """Unit embeddings of the vertices of the first of these meshes that the file knows.

    Raises:
        InputMissing, CheckpointError, UnsafePickle: of the file.
        CheckpointError: it knows none of the meshes.
    """
    state, _ = read_checkpoint(path)
    mesh = next((name for name in meshes if f"{EMBEDDER}{name}.features" in state), meshes[0])
    rows = _entry(state, path, mesh, "features") @ _entry(state, path, mesh, "embeddings")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _entry(state: State, path: str | Path, mesh: str, name: str) -> np.ndarray:
    key = f"{EMBEDDER}{mesh}.{name}"
    if key not in state:
        ends = (key.removeprefix(EMBEDDER).rpartition(".") for key in state if key.startswith(EMBEDDER))
        known = sorted({mesh for mesh, _, end in ends if end == "features"})
        got, hint = ", ".join(known) or "no mesh: not a CSE network", "see which fit: dp3d-data zoo list"
        raise CheckpointError(f"these weights know no mesh {mesh!r}", got=got, hint=hint, path=path)
    return state[key].numpy()
