"""Bodies and the shapes they take: deformed templates, whatever deformed them.

A).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_model.geometry.surface import Surface


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


@dataclass(frozen=True)
class PartMotions:
    """What moved the template where soft parts did.

    Attributes:
        rotations, translations: [N, M, 3, 3], [N, M, 3] template units, about the parts' pivots.
        coefficients: [N, B] of the blendshapes.
        weights: [all vertices, M] soft parts.
    """

    rotations: Float[Tensor, "n m 3 3"]
    translations: Float[Tensor, "n m 3"]
    coefficients: Float[Tensor, "n b"]
    weights: Float[Tensor, "all m"]


@dataclass(frozen=True)
class Shape:
    """N deformed templates in the template frame, template units.

    Attributes:
        posed: [N, K, 3].
        rest: [N, K, 3] the shape whose proportions it has, before posing.
        motions: [N, K, 3, 4] the affine motion of each vertex from rest to posed.
        parts: what the body's soft parts did; None where it has none.
    """

    posed: Float[Tensor, "n k 3"]
    rest: Float[Tensor, "n k 3"]
    motions: Float[Tensor, "n k 3 4"]
    parts: PartMotions | None = None

    def at(self, chosen: Int[Tensor, "v"]) -> Shape:
        """The same, of some vertices only."""
        return Shape(self.posed[:, chosen], self.rest[:, chosen], self.motions[:, chosen], self.parts)


def displaced(rest: Float[Tensor, "k 3"], posed: Float[Tensor, "n k 3"]) -> Shape:
    """The shape of a body that moves every vertex by a displacement of its own."""
    still = rest.expand_as(posed)
    turn = torch.eye(3).to(posed).expand(*posed.shape, 3)
    return Shape(posed, still, torch.cat([turn, (posed - still)[..., None]], dim=-1))


class Body(nn.Module, ABC):
    """What turns numbers into shapes: the one interface of every model.

    Attributes:
        size: how many numbers it needs for an instance. Zeros give the state that training starts from.
    """

    size: int

    @abstractmethod
    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        """The shapes of N instances; with `chosen`, K of the answer counts these template vertices only."""

    def carry(self, surface: Surface) -> None:
        """Deform another meshing of the template from now on.

        Raises:
            TemplateMismatch: the body knows single vertices of its template.
        """
        for name, value in (
            ("vertices", surface.vertices),
            ("functions", surface.functions),
            ("areas", surface.vertex_areas),
        ):
            if name in self._buffers:
                self.register_buffer(name, value, persistent=False)
