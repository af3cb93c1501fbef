"""From names to a predictor: which network, which weights, which class and mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dp3d_data.categories import category as category_named
from dp3d_data.detection.checkpoint import Checkpoint, read_checkpoint, template_hash
from dp3d_data.detection.classes import class_and_mesh
from dp3d_data.detection.identify import as_trained, guess_spec, nearest_spec
from dp3d_data.detection.network import build_network
from dp3d_data.detection.predictor import DensePredictor
from dp3d_data.detection.shipped import shipped_weights
from dp3d_data.detection.spec import ModelSpec
from dp3d_data.detection.weights import fill, mismatch
from dp3d_data.detection.zoo import find_spec
from dp3d_data.device import require_device
from dp3d_data.errors import UsageError, WeightsMismatch


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
        CheckpointError, UnsafePickle, WeightsMismatch: the weights cannot be used.
    """
    require_device(device)
    path, model = _path(model, weights, category)
    checkpoint = read_checkpoint(path)
    spec = _spec(model, checkpoint, path)
    if side:
        spec = spec.looking_at(side)
    own_class, mesh = class_and_mesh(spec, category)
    network = build_network(spec)
    fill(network, spec, checkpoint, path)
    mesh_of = {**spec.class_to_mesh, own_class: mesh} if mesh else {}
    return DensePredictor(
        network, spec, device=device, precision=precision, channels_last=channels_last, compiled=compiled,
        mesh_of=mesh_of, template_hash=checkpoint.template_hash(mesh), notes=checkpoint.notes,
    )  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What a network has for a category.

    Attributes:
        class_id: its class.
        mesh: the mesh it is matched to; empty for charts.
        vertices: of the mesh, 0 for charts.
        template_hash: content hash of the template that the weights name; empty where they name none.
    """

    class_id: int
    mesh: str
    vertices: int
    template_hash: str


def trained_for(model: str, weights: str | Path, category: str) -> Target:
    """What `load_predictor` would match to, told without building the network."""
    path, name = _path(model, weights, category)
    spec, notes = _known(name, path, path.stat().st_mtime_ns if path.is_file() else 0)
    class_id, mesh = class_and_mesh(spec, category)
    return Target(class_id, mesh, spec.mesh_sizes.get(mesh, 0), template_hash(notes, mesh))


@lru_cache(maxsize=4)
def _known(model: str, path: Path, changed: int) -> tuple[ModelSpec, Mapping[str, Any]]:
    """Which network a file is for and what it says of itself: read once for all categories, for as long as it is not
    changed."""
    checkpoint = read_checkpoint(path)
    return _spec(model, checkpoint, path), checkpoint.notes


def _path(model: str, weights: str | Path, category: str) -> tuple[Path, str]:
    """The file of weights, and the name of the network where it is known."""
    if not model and not weights:
        model = category_named(category).model or ""
        if not model:
            hint = "fetch published weights (dp3d-data zoo list) and give them: --weights FILE"
            raise UsageError(f"no network is shipped for {category!r}", hint=hint)
    return Path(weights) if weights else shipped_weights(find_spec(model)), model


def _spec(model: str, checkpoint: Checkpoint, path: Path) -> ModelSpec:
    """The network asked for, or the one that the file fits.

    Raises:
        WeightsMismatch: none fits.
    """
    if model:
        return as_trained(find_spec(model), checkpoint.notes)
    shapes = {name: tuple(value.shape) for name, value in checkpoint.state.items()}
    spec = guess_spec(shapes, checkpoint.notes)
    if spec is None:
        error: WeightsMismatch = mismatch(shapes, nearest_spec(shapes)[0], path)
        raise error
    return spec
