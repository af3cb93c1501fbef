"""The start of a template's vertex embeddings: a smooth field that already agrees with the distances on the surface."""

from __future__ import annotations

import torch
from torch import nn

from dp3d_data.bodies import Template
from dp3d_data.bodies.laplacian import laplace_beltrami
from dp3d_data.training.losses import SoftTargets, soft_embedding_loss

FIT_STEPS = 400
FIT_VERTICES = 512
FIT_RATE = 0.02


def use_spectrum(network: nn.Module, template: Template, mesh: str) -> None:
    """Give the embedder the template's Laplace-Beltrami functions, each of unit mean square (ours)."""
    features = network.roi_heads.embedder.features(mesh)
    _, functions = laplace_beltrami(template, features.shape[1])
    scaled = torch.from_numpy(functions).to(features)
    features.copy_(scaled / scaled.square().mean(dim=0, keepdim=True).sqrt())


def fit_field(network: nn.Module, mesh: str, targets: SoftTargets, sigma: float, seed: int) -> float:
    """Fit the embedder to the soft targets of its own vertices, before any image is seen (ours); returns the last loss.

    Random embeddings of equal weight in every Laplace-Beltrami function are rough, stay rough, and make neighbouring
    points of the surface as different as far ones; a network then learns noise. The start here falls with the number
    of the function, and a few hundred Adam steps bring near what is near on the surface.

    Args:
        targets: [K, K] of the mesh's vertices.
        sigma: temperature of squared embedding distances.
    """
    embedder = getattr(network.roi_heads.embedder, f"embedder_{mesh}")
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        start = torch.randn(embedder.embeddings.shape, generator=rng) / torch.arange(1, len(embedder.embeddings) + 1)[:, None]
        embedder.embeddings.copy_(start)
    optimiser = torch.optim.Adam([embedder.embeddings], lr=FIT_RATE)
    value = float("nan")
    for step in range(FIT_STEPS):
        optimiser.param_groups[0]["lr"] = FIT_RATE * (1 - step / FIT_STEPS)
        chosen = torch.randperm(len(embedder.features), generator=rng)[:FIT_VERTICES].to(embedder.features.device)
        vertices = embedder()
        loss = soft_embedding_loss(vertices[chosen], vertices, chosen, targets, sigma)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value = float(loss.detach())
    return value
