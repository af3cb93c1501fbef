"""The network that a training starts from: random, a checkpoint of the same template, or a published one with a new mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dp3d_data.bodies import Template
from dp3d_data.errors import UsageError
from dp3d_data.inference import ModelSpec, build_network, find_spec, read_checkpoint, shipped_weights, zoo_specs
from dp3d_data.inference.classes import class_and_mesh
from dp3d_data.inference.identify import guess_spec, traits_of_spec, traits_of_state, with_meshes
from dp3d_data.inference.weights import fill
from dp3d_data.training.embedding_field import fit_field, use_spectrum
from dp3d_data.training.losses import SoftTargets
from dp3d_data.training.recipe import TrainCseConfig

DENSE = ("roi_heads.densepose_", "roi_heads.embedder.")  # what lies above the trunk


@dataclass(frozen=True)
class Start:
    """A network, what it is built from, the class that it learns and the mesh of that class."""

    network: torch.nn.Module
    spec: ModelSpec
    class_id: int
    mesh: str


def start_of(template: Template, config: TrainCseConfig, targets: SoftTargets) -> Start:
    """Build the network and fill it.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: the weights cannot be read.
        UsageError, WeightsMismatch: they are no CSE network's, or belong to another one.
    """
    torch.manual_seed(config.seed)
    mesh = template.name
    path = weights_named(config.weights)
    checkpoint = read_checkpoint(path) if config.weights else None
    if checkpoint is None or config.take == "trunk":
        spec = replace(find_spec(config.model), class_to_mesh={0: mesh}, mesh_sizes={mesh: template.num_vertices})
        start = with_fitted_field(Start(build_network(spec, device=config.device), spec, 0, mesh), template, config, targets)
        if checkpoint is not None:
            own = {name: value.cpu() for name, value in start.network.state_dict().items() if name.startswith(DENSE)}
            trunk = {name: value for name, value in checkpoint.state.items() if not name.startswith(DENSE)}
            fill(start.network, spec, replace(checkpoint, state={**trunk, **own}), path)
        return start
    held = _held(config, checkpoint)
    if held.mesh_sizes.get(mesh) == template.num_vertices:
        class_id = next((number for number, name in held.class_to_mesh.items() if name == mesh), 0)
        start = Start(build_network(held, device=config.device), held, class_id, mesh)
        fill(start.network, held, checkpoint, path)
        return with_fitted_field(start, template, config, targets) if config.fresh_embeddings else start
    class_id = class_and_mesh(held, config.category)[0] if held.num_classes > 1 else 0
    sizes = {**held.mesh_sizes, mesh: template.num_vertices}
    spec = replace(held, class_to_mesh={**held.class_to_mesh, class_id: mesh}, mesh_sizes=sizes)
    start = Start(build_network(spec, device=config.device), spec, class_id, mesh)
    with_fitted_field(start, template, config, targets)
    own = {name: value.cpu() for name, value in start.network.state_dict().items() if f"embedder_{mesh}." in name}
    fill(start.network, spec, replace(checkpoint, state={**checkpoint.state, **own}), path)
    return start


def with_fitted_field(start: Start, template: Template, config: TrainCseConfig, targets: SoftTargets) -> Start:
    """The template's functions and embeddings that agree with its geodesics, in place."""
    use_spectrum(start.network, template, start.mesh)
    fit_field(start.network, start.mesh, targets, config.embedding_sigma, config.seed)
    return start


def weights_named(name: str) -> Path:
    """A file of weights, or the embedded ones of a network of this project."""
    path = Path(name)
    return shipped_weights(find_spec(name)) if name in zoo_specs() and not path.exists() else path


def _held(config: TrainCseConfig, checkpoint) -> ModelSpec:
    """What the checkpoint is a network of.

    Raises:
        UsageError: of none that this training can go on from.
    """
    shapes = {name: tuple(value.shape) for name, value in checkpoint.state.items()}
    spec = with_meshes(find_spec(config.model), checkpoint.notes)
    if traits_of_spec(spec) != traits_of_state(shapes):  # not the network asked for: the one that the weights say
        spec = guess_spec(shapes, checkpoint.notes) or spec
    if spec.kind != "cse":
        raise UsageError("these weights are of a chart network", got=spec.name, expected="a CSE network", hint="dp3d-data zoo list")
    return spec
