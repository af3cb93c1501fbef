"""The network that a training starts from: random, a checkpoint of the same template, or a published one with a new
mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from dp3d_data.detection import ModelSpec, build_network, find_spec, read_checkpoint, shipped_weights, zoo_specs
from dp3d_data.detection.checkpoint import Checkpoint
from dp3d_data.detection.classes import class_and_mesh
from dp3d_data.detection.identify import as_trained, guess_spec, traits_of_spec, traits_of_state
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.embedding_field import align_field, fit_field, use_spectrum
from dp3d_data.detection.training.kinds import Kind, class_names
from dp3d_data.detection.training.losses import SoftTargets
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.trunks import fill_trunk, shaped
from dp3d_data.detection.weights import fill, fill_grown
from dp3d_data.errors import UsageError

# What a network keeps of its own, by what it takes of others.
OWN = {"trunk": ("roi_heads.densepose_", "roi_heads.embedder."), "network": ("roi_heads.embedder.",)}


@dataclass(frozen=True)
class Start:
    """A network, what it is built from, and the mesh of each class that is matched; `mesh` is the first one's."""

    network: Dp3dDenseRCNN
    spec: ModelSpec
    learned: dict[int, str] = field(default_factory=dict)

    @property
    def mesh(self) -> str:
        return next(iter(self.learned.values()))


def start_of(kinds: tuple[Kind, ...], config: TrainCseConfig, targets: Mapping[str, SoftTargets]) -> Start:
    """Build the network and fill it; from now on one without a second look is for images of the training's size.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: the weights cannot be read.
        UsageError, WeightsMismatch: they are no CSE network's, or belong to another one.
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
    path = weights_named(config.weights)
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
    """The templates' functions and embeddings that agree with their geodesics, in place; those after the first begin
    like it."""
    first, *others = [kind.template for kind in kinds if kind.matched]
    use_spectrum(start.network, first, first.name)
    fit_field(start.network, first.name, targets[first.name], config.embedding_sigma, config.seed)
    for template in others:
        use_spectrum(start.network, template, template.name)
        align_field(start.network, template, first)
    return start


def weights_named(name: str) -> Path:
    """A file of weights, or the embedded ones of a network of this project."""
    path = Path(name)
    return shipped_weights(find_spec(name)) if name in zoo_specs() and not path.exists() else path


def _held(config: TrainCseConfig, checkpoint: Checkpoint) -> ModelSpec:
    """What the checkpoint is a network of.

    Raises:
        UsageError: of none that this training can go on from.
    """
    shapes = {name: tuple(value.shape) for name, value in checkpoint.state.items()}
    spec = as_trained(find_spec(config.model), checkpoint.notes)
    if traits_of_spec(spec) != traits_of_state(shapes):  # not the network asked for: the one that the weights say
        spec = guess_spec(shapes, checkpoint.notes) or spec
    if spec.kind != "cse":
        raise UsageError(
            "these weights are of a chart network", got=spec.name, expected="a CSE network", hint="dp3d-data zoo list"
        )
    return spec
