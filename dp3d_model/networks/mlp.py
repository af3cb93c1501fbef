"""Fully connected networks: what Phi and Psi share (supplement, section A; C3DPO's), and how noisy each keypoint is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def layer(inputs: int, outputs: int, norm: str = "batch") -> nn.Sequential:
    """A linear layer with normalisation and ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), NORMS[norm](outputs), nn.ReLU())


class Block(nn.Module):
    """A residual block width - bottleneck - bottleneck - width."""

    def __init__(self, width: int, bottleneck: int, norm: str = "batch") -> None:
        super().__init__()
        sizes = (width, bottleneck, bottleneck, width)
        self.layers = nn.Sequential(*(layer(sizes[i], sizes[i + 1], norm) for i in range(3)))

    def forward(self, x: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        return x + self.layers(x)


class Trunk(nn.Module):
    """Inputs to `width`, residual blocks, and a linear head that starts near 0.

    The head's weights start at standard deviation 1e-4: the stream of the blocks is not normalised, and larger ones
    start at outputs of order 1 and destroy a good initial camera.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, bottleneck: int, blocks: int, norm: str = "batch"
    ) -> None:
        super().__init__()
        self.stem = layer(inputs, width, norm)
        self.blocks = nn.Sequential(*(Block(width, bottleneck, norm) for _ in range(blocks)))
        self.head = nn.Linear(width, outputs)
        nn.init.normal_(self.head.weight, std=1e-4)
        nn.init.zeros_(self.head.bias)
        self.low: torch.dtype | None = None

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        if self.low is None:
            return self.head(self.blocks(self.stem(x)))
        with torch.autocast(x.device.type, self.low):
            return self.head(self.blocks(self.stem(x))).to(x.dtype)


def use_precision(network: nn.Module, name: str) -> None:
    """Make every trunk inside multiply in "float32", "bfloat16" or "float16"; geometry and losses stay in float32, as
    three digits are too few for rotations."""
    low = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    for module in network.modules():
        if isinstance(module, Trunk):
            module.low = low


def recalibrate(network: nn.Module, forward: Callable[[Any], object], batches: Iterable[Any]) -> None:
    """Set every batch normalisation's statistics to the plain average over the batches, for the weights as they are
    now."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.no_grad():
        for batch in batches:
            forward(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


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
