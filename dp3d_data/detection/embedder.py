"""Vertex embeddings: smooth functions on each mesh times a small learned matrix."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from dp3d_data.detection.spec import ModelSpec


class MeshEmbedder(nn.Module):
    """One mesh: features [K, F] (Laplace-Beltrami eigenfunctions, not trained) and embeddings [F, D]."""

    features: torch.Tensor

    def __init__(self, num_vertices: int, num_features: int, size: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(num_vertices, num_features))
        self.embeddings = nn.Parameter(torch.randn(num_features, size) / num_features**0.5)

    def forward(self) -> Float[torch.Tensor, "vertices dim"]:
        """Row-normalised features @ embeddings."""
        return nn.functional.normalize(self.features @ self.embeddings, dim=1, eps=1e-6)


class Embedder(nn.Module):
    """The meshes of a network, by name."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.meshes = tuple(spec.mesh_sizes)
        for name, count in spec.mesh_sizes.items():
            self.add_module(f"embedder_{name}", MeshEmbedder(count, spec.embed_features, spec.embed_size))

    def forward(self, mesh: str) -> Float[torch.Tensor, "vertices dim"]:
        """Unit embeddings [K, D] of a mesh's vertices."""
        return getattr(self, f"embedder_{mesh}")()

    def features(self, mesh: str) -> Float[torch.Tensor, "vertices functions"]:
        """The mesh functions [K, F] themselves, to be filled in place."""
        return getattr(self, f"embedder_{mesh}").features
