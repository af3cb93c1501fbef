"""Soft parts of the template: a softmax of a linear function of the Laplace-Beltrami basis (supplement, section A)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dp3d_model.geometry.surface import Surface, spread_seeds


class Parts(nn.Module):
    """The assignment S = softmax(phi C) of vertices to M parts, C [J, M] learned.

    Initialisation: M seeds by farthest point sampling, logits -sharpness * distance^2 to each, C by area-weighted least
    squares. The supplement gives sharpness 32; what it multiplies is ours.
    """

    def __init__(self, surface: Surface, count: int, sharpness: float) -> None:
        super().__init__()
        logits = -sharpness * spread_seeds(surface, count)[1].square()
        self.coefficients = nn.Parameter(fit_linear(surface.functions, logits, surface.vertex_areas))

    def forward(self, functions: Float[Tensor, "k j"]) -> Float[Tensor, "k m"]:
        return torch.softmax(functions @ self.coefficients, dim=1)


def fit_linear(
    functions: Float[Tensor, "k j"], target: Float[Tensor, "k m"], areas: Float[Tensor, "k"]
) -> Float[Tensor, "j m"]:
    """Coefficients whose combination of the functions is nearest to the target, vertices weighted by area."""
    root = areas.clamp_min(1e-12).sqrt()[:, None].double()
    return torch.linalg.lstsq(root * functions.double(), root * target.double(), driver="gelsd").solution.to(
        functions.dtype
    )


def part_centres(
    vertices: Float[Tensor, "k 3"], weights: Float[Tensor, "k m"], areas: Float[Tensor, "k"]
) -> Float[Tensor, "m 3"]:
    """The centre of area of each soft part."""
    mass = weights * areas[:, None]
    return (mass.T @ vertices) / mass.sum(0)[:, None].clamp_min(1e-12)
