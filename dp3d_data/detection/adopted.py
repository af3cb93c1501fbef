"""A checkpoint with the embeddings of one class carried to another mesh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from dp3d_data.detection.network import build_network
from dp3d_data.detection.predictor import DensePredictor
from dp3d_data.detection.weights import save_weights


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
    classes = {
        number: mesh if number == class_id or name == old else name for number, name in spec.class_to_mesh.items()
    }
    new = replace(spec, class_to_mesh=classes, mesh_sizes={**others, mesh: len(features)})
    network = build_network(new)
    kept = {name: value for name, value in predictor.network.state_dict().items() if f"embedder_{old}." not in name}
    network.load_state_dict(kept, strict=False)
    own = getattr(network.roi_heads.embedder, f"embedder_{mesh}")
    with torch.no_grad():
        own.features.zero_()
        own.embeddings.zero_()
        own.features[:, : features.shape[1]] = torch.from_numpy(np.asarray(features, dtype=np.float32))
        own.embeddings[: len(embeddings)] = torch.from_numpy(np.asarray(embeddings, dtype=np.float32))
    save_weights(network, new, path, **notes)
