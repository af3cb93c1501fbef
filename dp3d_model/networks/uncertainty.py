"""How noisy each keypoint is: a small network of the vertex and its motion (supplement, section C)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class NoiseHead(nn.Module):
    """A two-layer perceptron with softplus from phi_k and the predicted motion of vertex k to its noise b_k > 0."""

    def __init__(self, functions: int, hidden: int = 16) -> None:
        super().__init__()
        self.of_vertex = nn.Linear(functions, hidden)
        self.of_motion = nn.Linear(12, hidden, bias=False)
        self.out = nn.Linear(hidden, 1)

    def forward(self, functions: Float[Tensor, "k j"], motions: Float[Tensor, "n k 3 4"]) -> Float[Tensor, "n k"]:
        hidden = torch.relu(self.of_vertex(functions) + self.of_motion(motions.flatten(2)))
        return nn.functional.softplus(self.out(hidden))[..., 0]
