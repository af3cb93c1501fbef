"""The start of a template's vertex embeddings: a smooth field that already agrees with the distances on the surface."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.losses import SoftTargets, soft_embedding_loss
from dp3d_data.geometry import Template
from dp3d_data.geometry.laplacian import laplace_beltrami
from dp3d_data.matching.functional_maps import smooth_field

FIT_STEPS = 400
FIT_VERTICES = 512
FIT_RATE = 0.02


def use_spectrum(network: Dp3dDenseRCNN, template: Template, mesh: str) -> None:
    """Give the embedder the template's Laplace-Beltrami functions, each of unit mean square (ours)."""
    features = network.roi_heads.embedder.features(mesh)
    _, functions = laplace_beltrami(template, features.shape[1])
    scaled = torch.from_numpy(functions).to(features)
    features.copy_(scaled / scaled.square().mean(dim=0, keepdim=True).sqrt())


def fit_field(network: Dp3dDenseRCNN, mesh: str, targets: SoftTargets, sigma: float, seed: int) -> float:
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
        start = (
            torch.randn(embedder.embeddings.shape, generator=rng)
            / torch.arange(1, len(embedder.embeddings) + 1)[:, None]
        )
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


def align_field(network: Dp3dDenseRCNN, template: Template, other: Template) -> None:
    """Give a template the embeddings that another one has in the same places, in place (ours).

    Places are shares of the rest pose's box, in which a nose is foremost and feet are lowest in every four-legged
    animal. So both meshes speak of a head alike from the start, and what is learned of one helps the other.
    """
    embedder = network.roi_heads.embedder
    places = [(one.vertices - one.vertices.min(axis=0)) / np.ptp(one.vertices, axis=0) for one in (template, other)]
    nearest = cKDTree(places[1]).query(places[0])[1]
    with torch.no_grad():
        values = embedder(other.name)[torch.from_numpy(nearest)].double().cpu().numpy()
        functions = embedder.features(template.name).double().cpu().numpy()
        eigenvalues, _ = laplace_beltrami(template, functions.shape[1])
        own = getattr(embedder, f"embedder_{template.name}")
        shares = template.vertex_areas / template.vertex_areas.sum()
        own.embeddings.copy_(torch.from_numpy(smooth_field(values, shares, functions, eigenvalues)))
