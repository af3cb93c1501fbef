"""Bodies and the shapes they take: the rigid template, the linear model, C3DPO's basis, and the parts model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor, nn

from dp3d_data.errors import TemplateError
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.camera import rotation_from, rotation_size
from dp3d_model.geometry.surface import Surface, spread_seeds

# Standard deviation of the blendshapes that training starts from; not 0, or neither beta nor D would ever learn.
SPREAD = 0.02


@dataclass(frozen=True)
class Shape:
    """N deformed templates in the template frame, template units.

    Attributes:
        posed: [N, K, 3].
        rest: [N, K, 3] the shape whose proportions it has, before posing.
        motions: [N, K, 3, 4] the affine motion of each vertex from rest to posed.
        part_rotations, part_translations: [N, M, 3, 3], [N, M, 3] template units: what soft parts did, x goes to R x +
            t; M is 0 where the body has none.
        part_weights: [all vertices, M] how much each vertex belongs to each part.
        blendshapes: [N, B] coefficients; B is 0 where the body has none.
    """

    posed: Float[Tensor, "n k 3"]
    rest: Float[Tensor, "n k 3"]
    motions: Float[Tensor, "n k 3 4"]
    part_rotations: Float[Tensor, "n m 3 3"]
    part_translations: Float[Tensor, "n m 3"]
    part_weights: Float[Tensor, "all m"]
    blendshapes: Float[Tensor, "n b"]

    def at(self, chosen: Int[Tensor, "v"]) -> Shape:
        """The same, of some vertices only."""
        return replace(self, posed=self.posed[:, chosen], rest=self.rest[:, chosen], motions=self.motions[:, chosen])


def displaced(rest: Float[Tensor, "k 3"], posed: Float[Tensor, "n k 3"]) -> Shape:
    """The shape of a body without parts that moves every vertex by a displacement of its own."""
    still, (n, k, _) = rest.expand_as(posed), posed.shape
    identity = torch.eye(3).to(posed).expand(*posed.shape, 3)
    motions = torch.cat([identity, (posed - still)[..., None]], dim=-1)
    no_parts = posed.new_zeros(n, 0, 3, 3), posed.new_zeros(n, 0, 3), posed.new_zeros(k, 0)
    return Shape(posed, still, motions, *no_parts, blendshapes=posed.new_zeros(n, 0))


class Body(nn.Module):
    """What turns numbers into shapes: the one interface of every model.

    By itself it is the template as it is, and needs no number: the baseline that every model must beat (ours).

    Attributes:
        size: how many numbers it needs for an instance. Zeros give the state that training starts from.
    """

    size: int = 0
    vertices: torch.Tensor
    functions: torch.Tensor
    areas: torch.Tensor

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        Body.carry(self, surface)

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        """The shapes of N instances; with `chosen`, K of the answer counts these template vertices only."""
        if self.size:
            raise NotImplementedError(f"{type(self).__name__} takes {self.size} numbers and has no forward")
        rest = self.vertices if chosen is None else self.vertices[chosen]
        return displaced(rest, rest.expand(len(numbers), -1, -1))

    def carry(self, surface: Surface) -> None:
        """Deform this meshing of the template from now on.

        Raises:
            TemplateError: the body knows single vertices of its template.
        """
        self.register_buffer("vertices", surface.vertices, persistent=False)
        self.register_buffer("functions", surface.functions, persistent=False)
        self.register_buffer("areas", surface.vertex_areas, persistent=False)


class LinearBody(Body):
    """No parts: the template plus a linear function of its Laplace-Beltrami functions, x_k + phi_k N, N [J, 3].

    One of the compared models of the supplement (section E). N is scaled so that numbers of order 1 move the body by a
    tenth of its extent (ours).
    """

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__(surface, config)
        self.size = self.functions.shape[1] * 3

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        pick = slice(None) if chosen is None else chosen
        fields = 0.1 * numbers.unflatten(1, (-1, 3))
        rest = self.vertices[pick]
        return displaced(rest, rest + torch.einsum("kj,njc->nkc", self.functions[pick], fields))


class BasisBody(Body):
    """C3DPO's shape: a linear combination of D learned shapes, S = sum_d alpha_d B_d, B_d [K, 3], without a template.

    Written from the paper (Novotny, Ravi, Graham, Neverova, Vedaldi: C3DPO, ICCV 2019). Of the preset `c3dpo` these are
    the paper's: the basis of 10, the camera as the exponential of three predicted numbers, centred keypoints and
    visibility as input, the MLP of residual blocks, the pseudo-Huber norm of 0.01, reprojection and canonicalisation
    of weight 1 under random rotations, SGD with momentum 0.9, learning rate 0.001, batch 256. Ours are: the learning
    rate falls to a tenth after 80 % of the steps (there: whenever the loss stops falling), no weight decay, 4 rotations
    a shape, keypoints divided by the scale of the rigid fit, the start (standard deviation 0.1 / sqrt(D) template
    units), and a 1 added to the first coefficient, so that there is a mean shape. `c3dpo-adamw` is the same model under
    our optimiser at a learning rate of 0.005 (its shapes start from nothing), with our batch and one rotation a shape,
    whose steps are cheaper. The shapes' canonical frame is their own, not the template's.
    """

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__(surface, config)
        self.size = config.model.basis_shapes
        self.shapes = nn.Parameter(0.1 * torch.randn(self.size, *surface.vertices.shape) / self.size**0.5)

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        shapes = self.shapes if chosen is None else self.shapes[:, chosen]
        mean = torch.zeros_like(numbers)
        mean[:, 0] = 1.0
        rest = self.vertices if chosen is None else self.vertices[chosen]
        return displaced(rest, torch.einsum("nd,dkc->nkc", numbers + mean, shapes))

    def carry(self, surface: Surface) -> None:
        got, expected = f"{len(surface.vertices)} vertices", f"the template it learned, {len(self.vertices)} vertices"
        hint = "train a model on these shards: dp3d-model train --shards PATH"
        raise TemplateError("a basis of shapes knows single vertices", got=got, expected=expected, hint=hint)


def first_parts(surface: Surface, count: int, sharpness: float) -> Float[Tensor, "j m"]:
    """The C of S = softmax(phi C), the assignment of vertices to M parts, that training starts from.

    M seeds by farthest point sampling, logits -sharpness * distance^2 to each, C by area-weighted least squares. The
    supplement gives sharpness 32; what it multiplies is ours.
    """
    logits = -sharpness * spread_seeds(surface, count)[1].square()
    return fit_linear(surface.functions, logits, surface.vertex_areas)


def fit_linear(
    functions: Float[Tensor, "k j"], target: Float[Tensor, "k m"], areas: Float[Tensor, "k"]
) -> Float[Tensor, "j m"]:
    """Coefficients whose combination of the functions is nearest to the target, vertices weighted by area."""
    root = areas.clamp_min(1e-12).sqrt()[:, None].double()
    found = torch.linalg.lstsq(root * functions.double(), root * target.double(), driver="gelsd")
    return found.solution.to(functions.dtype)


def part_centres(
    vertices: Float[Tensor, "k 3"], weights: Float[Tensor, "k m"], areas: Float[Tensor, "k"]
) -> Float[Tensor, "m 3"]:
    """The centre of area of each soft part."""
    mass = weights * areas[:, None]
    return (mass.T @ vertices) / mass.sum(0)[:, None].clamp_min(1e-12)


def motions_about(
    rotations: Float[Tensor, "n m 3 3"], translations: Float[Tensor, "n m 3"], pivots: Float[Tensor, "m 3"]
) -> Float[Tensor, "n m 3 4"]:
    """Rigid motions that turn about a pivot p (ours): [R | T + p - R p]; with p = 0 this is the plain R x + T."""
    shift = translations + pivots - torch.einsum("nmab,mb->nma", rotations, pivots)
    return torch.cat([rotations, shift[..., None]], dim=-1)


def chain(motions: Float[Tensor, "n m 3 4"], parents: tuple[int, ...]) -> Float[Tensor, "n m 3 4"]:
    """Each part's own motion, then its parent's, up to the root, whose parent is -1 (ours); in any order."""
    order = [part for part, parent in enumerate(parents) if parent < 0]
    done = {part: motions[:, part] for part in order}
    for above in order:
        for part in (part for part, parent in enumerate(parents) if parent == above):
            moved = done[above][..., :3] @ motions[:, part]
            done[part] = torch.cat([moved[..., :3], moved[..., 3:] + done[above][..., 3:]], dim=-1)
            order.append(part)
    return torch.stack([done[part] for part in range(len(parents))], dim=1)


def shaped(
    vertices: Float[Tensor, "k 3"],
    functions: Float[Tensor, "k j"],
    directions: Float[Tensor, "b j 3"],
    coefficients: Float[Tensor, "n b"],
) -> Float[Tensor, "n k 3"]:
    """The template plus sum_b beta_b phi D_b, template units. In memory the vertices come first."""
    b, j, _ = directions.shape
    fields = torch.einsum("nb,bjc->jnc", coefficients, directions).reshape(j, -1)
    moved = (functions @ fields).reshape(len(vertices), len(coefficients), 3) + vertices[:, None]
    return moved.transpose(0, 1)


def blend(weights: Float[Tensor, "k m"], motions: Float[Tensor, "n m 3 4"]) -> Float[Tensor, "n k 3 4"]:
    """The affine motion of each vertex, sum_m s_km [R_m | t_m]. In memory the vertices come first."""
    n, m = motions.shape[:2]
    blended = weights @ motions.transpose(0, 1).reshape(m, n * 12)
    return blended.reshape(len(weights), n, 3, 4).transpose(0, 1)


def pose(motions: Float[Tensor, "n k 3 4"], vertices: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
    """The posed vertices in the template frame: each vertex moved by its own affine motion."""
    x, y, z = vertices[..., None, 0], vertices[..., None, 1], vertices[..., None, 2]
    return motions[..., 0] * x + motions[..., 1] * y + motions[..., 2] * z + motions[..., 3]


class PartsBody(Body):
    """Soft parts S = softmax(phi C) of a template with blendshapes, posed by one rigid motion for each part.

    A part turns about the origin (supplement), about its own centre, or, in a tree of parts, about the joint to its
    parent and along with it (both ours). The tree is the spanning tree of the parts that touch most when training
    begins; joints follow the learned parts.

    Attributes:
        parts: "coefficients" C [J, M], learned.
        blendshapes: "directions" D [B, J, 3], learned (supplement: 5 for dogs, none for people).
    """

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__(surface, config)
        own = config.model
        self.size = (rotation_size(own.rotations) + 3) * own.parts + own.blendshapes
        self.parts = nn.ParameterDict({"coefficients": first_parts(surface, own.parts, own.sharpness)})
        directions = SPREAD * torch.randn(own.blendshapes, surface.functions.shape[1], 3)
        self.blendshapes = nn.ParameterDict({"directions": directions})
        self.num_parts, self.pivot, self.form = own.parts, own.pivot, own.rotations
        with torch.no_grad():
            self.parents = part_tree(self.part_weights(), self.areas) if self.pivot == "joint" else ()

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        """The bodies that the numbers make; of `chosen` template vertices only."""
        n, m, turns = len(numbers), self.num_parts, rotation_size(self.form) * self.num_parts
        rotations = rotation_from(numbers[:, :turns].reshape(n, m, -1), self.form)
        translations = numbers[:, turns : turns + 3 * m].reshape(n, m, 3)
        coefficients = numbers[:, turns + 3 * m : self.size]
        weights = self.part_weights()
        own = motions_about(rotations, translations, self.pivots(weights))
        moved = chain(own, self.parents) if self.parents else own
        pick = slice(None) if chosen is None else chosen
        rest = shaped(self.vertices[pick], self.functions[pick], self.blendshapes["directions"], coefficients)
        motions = blend(weights[pick], moved)
        return Shape(pose(motions, rest), rest, motions, moved[..., :3], moved[..., 3], weights, coefficients)

    def part_weights(self) -> Float[Tensor, "k m"]:
        """How much each vertex belongs to each part."""
        return torch.softmax(self.functions @ self.parts["coefficients"], dim=1)

    def pivots(self, weights: Float[Tensor, "k m"]) -> Float[Tensor, "m 3"]:
        """The point that each part turns about, in the template."""
        if self.pivot == "origin":
            return self.vertices.new_zeros(self.num_parts, 3)
        centres = part_centres(self.vertices, weights, self.areas)
        if self.pivot == "part":
            return centres
        parents = torch.tensor([max(parent, 0) for parent in self.parents], device=weights.device)
        shared = weights * weights[:, parents]
        joints = part_centres(self.vertices, shared, self.areas)
        root = torch.tensor([parent < 0 for parent in self.parents], device=weights.device)[:, None]
        return torch.where(root, centres, joints)


def part_tree(weights: Float[Tensor, "k m"], areas: Float[Tensor, "k"]) -> tuple[int, ...]:
    """The parent of each part, -1 of the root: the spanning tree of parts that share most area, rooted in the most."""
    mass = (weights * areas[:, None]).double()
    shared = (mass.T @ weights.double()).cpu().numpy()
    np.fill_diagonal(shared, 0.0)
    cost = 1.0 / np.maximum(shared, 1e-12)
    np.fill_diagonal(cost, 0.0)
    tree = minimum_spanning_tree(cost)
    root = int(shared.sum(1).argmax())
    _, parents = breadth_first_order(tree, root, directed=False)
    return tuple(int(parent) if parent >= 0 else -1 for parent in parents)
