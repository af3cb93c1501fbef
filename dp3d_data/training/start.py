"""The network that a training starts from: random, a checkpoint of the same template, or a published one with a new mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dp3d_data.bodies import Template
from dp3d_data.errors import UsageError
from dp3d_data.inference import ModelSpec, build_network, find_spec, read_checkpoint, shipped_weights, zoo_specs
from dp3d_data.inference.checkpoint import Checkpoint
from dp3d_data.inference.classes import class_and_mesh
from dp3d_data.inference.identify import as_trained, guess_spec, traits_of_spec, traits_of_state
from dp3d_data.inference.weights import fill, fill_grown
from dp3d_data.training.embedding_field import fit_field, use_spectrum
from dp3d_data.training.losses import SoftTargets
from dp3d_data.training.recipe import TrainCseConfig

# What a network keeps of its own, by what it takes of others.
OWN = {"trunk": ("roi_heads.densepose_", "roi_heads.embedder."), "network": ("roi_heads.embedder.",)}


@dataclass(frozen=True)
class Start:
    """A network, what it is built from, the class that it learns and the mesh of that class."""

    network: torch.nn.Module
    spec: ModelSpec
    class_id: int
    mesh: str


def start_of(template: Template, config: TrainCseConfig, targets: SoftTargets) -> Start:
    """Build the network and fill it; from now on it is for images of the training's size.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: the weights cannot be read.
        UsageError, WeightsMismatch: they are no CSE network's, or belong to another one.
    """
    torch.manual_seed(config.seed)
    start = _filled(template, config, targets)
    return replace(start, spec=start.spec.looking_at(config.image_size))


def _filled(template: Template, config: TrainCseConfig, targets: SoftTargets) -> Start:
    if not config.weights:
        return with_fitted_field(_own_network(template, config), template, config, targets)
    path = weights_named(config.weights)
    checkpoint = read_checkpoint(path)
    if config.take in OWN:
        start = with_fitted_field(_own_network(template, config), template, config, targets)
        _fill_around(start, checkpoint, path, OWN[config.take])
        return start
    if config.take == "grown":
        start = _own_network(template, config)
        fill_grown(start.network, start.spec, checkpoint, path)
        return with_fitted_field(start, template, config, targets) if config.fresh_embeddings else start
    held = _held(config, checkpoint)
    if held.mesh_sizes.get(template.name) == template.num_vertices:
        class_id = next((number for number, name in held.class_to_mesh.items() if name == template.name), 0)
        start = Start(build_network(held, device=config.device), held, class_id, template.name)
        fill(start.network, held, checkpoint, path)
        return with_fitted_field(start, template, config, targets) if config.fresh_embeddings else start
    start = with_fitted_field(_with_new_mesh(held, template, config), template, config, targets)
    _fill_around(start, checkpoint, path, (f"roi_heads.embedder.embedder_{template.name}.",))
    return start


def _own_network(template: Template, config: TrainCseConfig) -> Start:
    """The network asked for, of one class that is matched to the template."""
    mesh = template.name
    spec = replace(find_spec(config.model), class_to_mesh={0: mesh}, mesh_sizes={mesh: template.num_vertices})
    return Start(build_network(spec, device=config.device), spec, 0, mesh)


def _with_new_mesh(held: ModelSpec, template: Template, config: TrainCseConfig) -> Start:
    """A network with the template beside its meshes, and the category's class matched to it."""
    mesh = template.name
    class_id = class_and_mesh(held, config.category)[0] if held.num_classes > 1 else 0
    sizes = {**held.mesh_sizes, mesh: template.num_vertices}
    spec = replace(held, class_to_mesh={**held.class_to_mesh, class_id: mesh}, mesh_sizes=sizes)
    return Start(build_network(spec, device=config.device), spec, class_id, mesh)


def _fill_around(start: Start, checkpoint: Checkpoint, path: Path, own: tuple[str, ...]) -> None:
    """Take the weights of the checkpoint, strictly, but for those whose names begin as given: these stay."""
    kept = {name: value.cpu() for name, value in start.network.state_dict().items() if name.startswith(own)}
    taken = {name: value for name, value in checkpoint.state.items() if not name.startswith(own)}
    fill(start.network, start.spec, replace(checkpoint, state={**taken, **kept}), path)


def with_fitted_field(start: Start, template: Template, config: TrainCseConfig, targets: SoftTargets) -> Start:
    """The template's functions and embeddings that agree with its geodesics, in place."""
    use_spectrum(start.network, template, start.mesh)
    fit_field(start.network, start.mesh, targets, config.embedding_sigma, config.seed)
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
        raise UsageError("these weights are of a chart network", got=spec.name, expected="a CSE network", hint="dp3d-data zoo list")
    return spec
