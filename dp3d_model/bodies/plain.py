"""Bodies without parts: the rigid template, the linear model and C3DPO's basis of shapes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_data.errors import TemplateMismatch
from dp3d_model.bodies.shape import Body, Shape, displaced
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.surface import Surface


class RigidBody(Body):
    """The template as it is; needs no number. The baseline that every model must beat (ours)."""

    vertices: torch.Tensor

    size = 0

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.register_buffer("vertices", surface.vertices, persistent=False)

    def forward(self, numbers: Float[Tensor, "n 0"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        rest = self.vertices if chosen is None else self.vertices[chosen]
        return displaced(rest, rest.expand(len(numbers), -1, -1))


class LinearBody(Body):
    """No parts: the template plus a linear function of its Laplace-Beltrami functions, x_k + phi_k N, N [J, 3] an
    instance.

    One of the compared models of the supplement (section E). N is scaled so that numbers of order 1 move the body by a
    tenth of its extent (ours).
    """

    vertices: torch.Tensor
    functions: torch.Tensor

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.count = surface.functions.shape[1]
        self.size = 3 * self.count
        self.register_buffer("vertices", surface.vertices, persistent=False)
        self.register_buffer("functions", surface.functions, persistent=False)

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        pick = slice(None) if chosen is None else chosen
        fields = 0.1 * numbers.reshape(len(numbers), self.count, 3)
        rest = self.vertices[pick]
        return displaced(rest, rest + torch.einsum("kj,njc->nkc", self.functions[pick], fields))


class BasisBody(Body):
    """C3DPO's shape: a linear combination of D learned shapes, S = sum_d alpha_d B_d, B_d [K, 3], without a template.

    Written from the paper (Novotny, Ravi, Graham, Neverova, Vedaldi: C3DPO, ICCV 2019). Of the preset `c3dpo` these are
    the paper's: the basis of 10, the camera as the exponential of three predicted numbers, centred keypoints and
    visibility as input, the trunk of residual blocks, the pseudo-Huber norm of 0.01, reprojection and canonicalisation
    of weight 1 under random rotations, SGD with momentum 0.9, learning rate 0.001, batch 256. Ours are: the learning
    rate falls to a tenth after 80 % of the steps (there: whenever the loss stops falling), no weight decay, 4 rotations
    a shape, keypoints divided by the scale of the rigid fit, the start (standard deviation 0.1 / sqrt(D) template
    units), and a 1 added to the first coefficient, so that there is a mean shape. `c3dpo-adamw` is the same model under
    our optimiser at a learning rate of 0.005 (its shapes start from nothing), with our batch and one rotation a shape,
    whose steps are cheaper. The shapes' canonical frame is their own, not the template's.
    """

    vertices: torch.Tensor

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        count = config.model.basis_shapes
        self.register_buffer("vertices", surface.vertices, persistent=False)
        self.shapes = nn.Parameter(0.1 * torch.randn(count, *surface.vertices.shape) / count**0.5)
        self.size = count

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        shapes = self.shapes if chosen is None else self.shapes[:, chosen]
        mean = torch.zeros_like(numbers)
        mean[:, 0] = 1.0
        rest = self.vertices if chosen is None else self.vertices[chosen]
        return displaced(rest, torch.einsum("nd,dkc->nkc", numbers + mean, shapes))

    def carry(self, surface: Surface) -> None:
        expected = f"the template it learned, {len(self.vertices)} vertices"
        raise TemplateMismatch(
            "a basis of shapes knows single vertices", got=f"{len(surface.vertices)} vertices", expected=expected
        )
