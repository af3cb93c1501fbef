"""From names to a predictor: which network, which weights, which class and mesh."""

from __future__ import annotations

from pathlib import Path

from dp3d_data.categories import category as category_named
from dp3d_data.detection.checkpoint import Checkpoint, read_checkpoint
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
        side: shortest side that images are scaled to, pixels, the longest one's limit in proportion; 0 for the network's own.
        precision, channels_last, compiled: see `DensePredictor`.

    Raises:
        UsageError: no network for this category, it does not know the category, or there is no such device.
        InputMissing: the weights are not there.
        CheckpointError, UnsafePickle, WeightsMismatch: the weights cannot be used.
    """
    require_device(device)
    path, checkpoint, spec = _read(model, weights, category)
    if side:
        spec = spec.looking_at(side)
    own_class, mesh = class_and_mesh(spec, category)
    network = build_network(spec)
    fill(network, spec, checkpoint, path)
    mesh_of = {**spec.class_to_mesh, own_class: mesh} if mesh else {}
    speed = {"precision": precision, "channels_last": channels_last, "compiled": compiled}
    template_hash = checkpoint.template_hash(mesh)
    return DensePredictor(network, spec, device=device, mesh_of=mesh_of, template_hash=template_hash, **speed)


def trained_for(model: str, weights: str | Path, category: str) -> tuple[int, str]:
    """What `load_predictor` would match to, told without building the network.

    Returns:
        Vertices of the category's mesh, 0 for charts, and the template's content hash, empty where the weights name none.
    """
    _, checkpoint, spec = _read(model, weights, category)
    mesh = class_and_mesh(spec, category)[1]
    return spec.mesh_sizes.get(mesh, 0), checkpoint.template_hash(mesh)


def _read(model: str, weights: str | Path, category: str) -> tuple[Path, Checkpoint, ModelSpec]:
    """The file of weights, its content, and the network that it fills."""
    if not model and not weights:
        model = category_named(category).model or ""
        if not model:
            hint = "fetch published weights (dp3d-data zoo list) and give them: --weights FILE"
            raise UsageError(f"no network is shipped for {category!r}", hint=hint)
    path = Path(weights) if weights else shipped_weights(find_spec(model))
    checkpoint = read_checkpoint(path)
    return path, checkpoint, _spec(model, checkpoint, path)


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
