"""From names to a predictor: which network, which weights, which class and mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from dp3d_data.categories import category as category_named
from dp3d_data.detection.network import build_network
from dp3d_data.detection.predictor import DensePredictor
from dp3d_data.detection.spec import ModelSpec, class_and_mesh
from dp3d_data.detection.weights import State, fill, mismatch, read_checkpoint, save_weights, shapes_of, template_hash
from dp3d_data.detection.zoo import as_trained, find_spec, guess_spec, matching_specs, nearest_spec, shipped_weights
from dp3d_data.device import require_device
from dp3d_data.errors import UsageError


def load_predictor(
    model: str = "",
    weights: str | Path = "",
    *,
    category: str = "dog",
    device: str = "cpu",
    side: int = 0,
    precision: str = "float32",
    channels_last: bool = False,
    compiled: bool = False,
) -> DensePredictor:
    """A predictor, ready to work.

    Args:
        model: name of the network; empty to take the one that `weights` fit, or the category's own.
        weights: file of weights; empty for those that are shipped.
        category: what is looked for; it decides the mesh where a network does not tell kinds apart.
        device: such as "cpu" or "cuda:0".
        side: shortest side that images are scaled to, pixels, the longest one's limit in proportion; 0 for the
            network's own.
        precision, channels_last, compiled: see `DensePredictor`.

    Raises:
        UsageError: no network for this category, it does not know the category, or there is no such device.
        InputMissing: the weights are not there.
        CheckpointError, UnsafePickle: the weights cannot be used.
    """
    require_device(device)
    path, model = _path(model, weights, category)
    state, notes = read_checkpoint(path)
    spec = _spec(model, state, notes, path)
    if side:
        spec = spec.looking_at(side)
    own_class, mesh = class_and_mesh(spec, category)
    network = build_network(spec)
    fill(network, state, path)
    mesh_of = {**spec.class_to_mesh, own_class: mesh} if mesh else {}
    return DensePredictor(
        network, device=device, precision=precision, channels_last=channels_last, compiled=compiled,
        mesh_of=mesh_of, template_hash=template_hash(notes, mesh), notes=notes,
    )  # fmt: skip


def trained_for(model: str, weights: str | Path, category: str) -> tuple[int, str, int, str]:
    """What `load_predictor` would match to, told without building the network.

    Returns:
        The class; its mesh (empty for charts) and number of vertices (0); the content hash of the template that the
        weights name (empty where they name none).
    """
    path, name = _path(model, weights, category)
    spec, notes = _known(name, path, path.stat().st_mtime_ns if path.is_file() else 0)
    class_id, mesh = class_and_mesh(spec, category)
    return class_id, mesh, spec.mesh_sizes.get(mesh, 0), template_hash(notes, mesh)


@lru_cache(maxsize=4)
def _known(model: str, path: Path, changed: int) -> tuple[ModelSpec, Mapping[str, Any]]:
    """Which network a file is for and what it says of itself: read once for all categories, until it is changed."""
    state, notes = read_checkpoint(path)
    return _spec(model, state, notes, path), notes


def _path(model: str, weights: str | Path, category: str) -> tuple[Path, str]:
    """The file of weights, and the name of the network where it is known."""
    if not model and not weights:
        model = category_named(category).model or ""
        if not model:
            hint = "fetch published weights (dp3d-data zoo list) and give them: --weights FILE"
            raise UsageError(f"no network is shipped for {category!r}", hint=hint)
    return Path(weights) if weights else shipped_weights(find_spec(model)), model


def _spec(model: str, state: State, notes: Mapping[str, Any], path: Path) -> ModelSpec:
    """The network asked for, or the one that the file fits.

    Raises:
        CheckpointError: none fits.
    """
    if model:
        return as_trained(find_spec(model), notes)
    shapes = shapes_of(state)
    spec = guess_spec(shapes, notes)
    if spec is None:
        raise mismatch(shapes, nearest_spec(shapes), path)
    return spec


def check_file(path: str | Path, model: str = "") -> tuple[ModelSpec, State, dict[str, Any], list[str]]:
    """Read a file of weights, load it strictly and look at its embeddings.

    Returns:
        The network that it was loaded into, the weights and their notes, and the names of other networks of the same
        shape.

    Raises:
        InputMissing, UnsafePickle, CheckpointError: it cannot be read.
        CheckpointError: it does not belong to `model`, or to any network of the table.
    """
    state, notes = read_checkpoint(path)
    spec = _spec(model, state, notes, Path(path))
    fill(build_network(spec, "meta"), state, path)
    fitting = matching_specs(shapes_of(state))
    return spec, state, notes, [one.name for one in fitting if one.name != spec.name]


def save_adopted(
    predictor: DensePredictor,
    class_id: int,
    mesh: str,
    features: Float[np.ndarray, "K F"],
    embeddings: Float[np.ndarray, "F D"],
    path: str | Path,
    **notes: Any,
) -> None:
    """Write the predictor's weights with another mesh for a class: its own mesh goes, all else stays.

    Args:
        mesh: name of the new mesh.
        features: functions over its vertices; missing columns up to the network's number are zeros.
        embeddings: what they are multiplied with.
        notes: written beside the weights, such as template_hashes.
    """
    spec, old = predictor.spec, predictor.mesh_of[class_id]
    others = {name: size for name, size in spec.mesh_sizes.items() if name not in (old, mesh)}
    classes = {number: mesh if name == old else name for number, name in spec.class_to_mesh.items()} | {class_id: mesh}
    new = replace(spec, class_to_mesh=classes, mesh_sizes={**others, mesh: len(features)})
    network = build_network(new)
    kept = {name: value for name, value in predictor.network.state_dict().items() if f"embedder_{old}." not in name}
    network.load_state_dict(kept, strict=False)
    own = network.embedder(mesh)
    with torch.no_grad():
        own.features.zero_()
        own.embeddings.zero_()
        own.features[:, : features.shape[1]] = torch.from_numpy(np.asarray(features, dtype=np.float32))
        own.embeddings[: len(embeddings)] = torch.from_numpy(np.asarray(embeddings, dtype=np.float32))
    save_weights(network, path, **notes)
