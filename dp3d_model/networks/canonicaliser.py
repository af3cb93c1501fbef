"""Psi: finds the shape again under a random rotation, so that one shape has one canonical orientation (C3DPO)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_model.bodies import Body
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.camera import random_rotations
from dp3d_model.geometry.surface import Surface, farthest_points
from dp3d_model.networks.mlp import Trunk


class Canonicaliser(nn.Module):
    """From a rotated posed shape to the numbers of the body that give it back unrotated.

    It reads the vertices at `input_cells` well-spread seeds (ours; 0 reads all, as the supplement does).
    """

    def __init__(self, surface: Surface, config: TrainConfig, size: int) -> None:
        super().__init__()
        count = min(config.model.input_cells, len(surface.vertices)) or len(surface.vertices)
        self.register_buffer("seeds", farthest_points(surface.vertices, count), persistent=False)
        self.trunk = Trunk(
            3 * count, size, config.model.width, config.model.bottleneck, config.model.blocks, config.model.norm
        )

    def forward(
        self, body: Body, rotated: Float[Tensor, "n k 3"], chosen: Int[Tensor, "k"] | None = None
    ) -> Float[Tensor, "n k 3"]:
        """The shape as it was before its rotation; `chosen` are the K template vertices given, ascending, all seeds
        among them."""
        places = self.seeds if chosen is None else torch.searchsorted(chosen, self.seeds)
        return body(self.trunk(rotated[:, places].flatten(1)), chosen).posed


def rotated_copies(
    posed: Float[Tensor, "n k 3"],
    copies: int,
    law: str,
    generator: torch.Generator,
    first: int = 0,
    whole: int | None = None,
) -> tuple[Float[Tensor, "m k 3"], Float[Tensor, "m k 3"]]:
    """Each shape `copies` times, centred: once as it is and once under a random rotation.

    Args:
        first, whole: where these shapes begin in a batch, and how many that has: each is turned as in one piece.
    """
    count = whole or len(posed)
    rotations = random_rotations(copies * count, law, generator).to(posed).reshape(copies, count, 3, 3)
    centred = (posed - posed.mean(1, keepdim=True)).repeat(copies, 1, 1)
    return centred, centred @ rotations[:, first : first + len(posed)].flatten(0, 1).transpose(1, 2)
