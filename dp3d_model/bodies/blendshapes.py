"""Blendshapes: smooth displacement fields of the template, linear in the Laplace-Beltrami basis (supplement, section
A)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Blendshapes(nn.Module):
    """The template plus sum_b beta_b phi D_b, D_b [J, 3] learned, applied before posing.

    Args:
        functions: J of the basis.
        count: number of shapes (supplement: 5 for dogs, none for people).
        spread: standard deviation of the first D; not 0, or neither beta nor D would ever learn.
    """

    def __init__(self, functions: int, count: int, spread: float = 0.02) -> None:
        super().__init__()
        self.directions = nn.Parameter(spread * torch.randn(count, functions, 3))

    def forward(
        self, vertices: Float[Tensor, "k 3"], functions: Float[Tensor, "k j"], coefficients: Float[Tensor, "n b"]
    ) -> Float[Tensor, "n k 3"]:
        """The shaped template of each instance, template units. In memory the vertices come first."""
        b, j, _ = self.directions.shape
        fields = torch.einsum("nb,bjc->jnc", coefficients, self.directions).reshape(j, -1)
        shaped = (functions @ fields).reshape(len(vertices), len(coefficients), 3) + vertices[:, None]
        return shaped.transpose(0, 1)
