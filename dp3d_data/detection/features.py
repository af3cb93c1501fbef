"""What a file of weights knows of a mesh's vertices, read without building its network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from dp3d_data.detection.identify import EMBEDDER
from dp3d_data.detection.weights import Checkpoint, read_checkpoint
from dp3d_data.errors import CheckpointError


def read_features(path: str | Path, mesh: str) -> Float[np.ndarray, "vertices functions"]:
    """The smooth functions of a mesh.

    Raises:
        InputMissing, CheckpointError, UnsafePickle: of the file.
        CheckpointError: it does not know the mesh; names those that it knows.
    """
    return _entry(read_checkpoint(path), path, mesh, "features")


def read_vertex_embeddings(path: str | Path, meshes: tuple[str, ...]) -> Float[np.ndarray, "vertices dim"]:
    """Unit embeddings of the vertices of the first of these meshes that the file knows.

    Raises:
        InputMissing, CheckpointError, UnsafePickle: of the file.
        CheckpointError: it knows none of the meshes.
    """
    checkpoint = read_checkpoint(path)
    mesh = next((name for name in meshes if f"{EMBEDDER}{name}.features" in checkpoint.state), meshes[0])
    rows = _entry(checkpoint, path, mesh, "features") @ _entry(checkpoint, path, mesh, "embeddings")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _entry(checkpoint: Checkpoint, path: str | Path, mesh: str, name: str) -> np.ndarray:
    key = f"{EMBEDDER}{mesh}.{name}"
    if key not in checkpoint.state:
        ends = (key.removeprefix(EMBEDDER).rpartition(".") for key in checkpoint.state if key.startswith(EMBEDDER))
        known = sorted({mesh for mesh, _, end in ends if end == "features"})
        got = ", ".join(known) or "no mesh: not a CSE network"
        raise CheckpointError(
            f"these weights know no mesh {mesh!r}", got=got, hint="see which fit: dp3d-data zoo list", path=path
        )
    return checkpoint.state[key].numpy()
