"""The parts model: soft parts and blendshapes of the template, posed by part motions (supplement, section A)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from dp3d_model.bodies.blendshapes import Blendshapes
from dp3d_model.bodies.parts import Parts, part_centres
from dp3d_model.bodies.posing import blend, chain, motions_about, pose
from dp3d_model.bodies.shape import Body, PartMotions, Shape
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.camera import rotation_from, rotation_size
from dp3d_model.geometry.surface import Surface


class PartsBody(Body):
    """Soft parts S = softmax(phi C) and blendshapes phi D, posed by one rigid motion for each part.

    A part turns about the origin (supplement), about its own centre, or, in a tree of parts, about the joint to its
    parent and along with it (both ours). The tree is the spanning tree of the parts that touch most when training
    begins; joints follow the learned parts.
    """

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.size = (rotation_size(config.model.rotations) + 3) * config.model.parts + config.model.blendshapes
        self.parts = Parts(surface, config.model.parts, config.model.sharpness)
        self.blendshapes = Blendshapes(surface.functions.shape[1], config.model.blendshapes)
        self.num_parts, self.pivot, self.form = config.model.parts, config.model.pivot, config.model.rotations
        for name, value in (
            ("vertices", surface.vertices),
            ("functions", surface.functions),
            ("areas", surface.vertex_areas),
        ):
            self.register_buffer(name, value, persistent=False)
        with torch.no_grad():
            self.parents = part_tree(self.parts(self.functions), self.areas) if self.pivot == "joint" else ()

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> Shape:
        """The bodies that the numbers make; of `chosen` template vertices only."""
        n, m, turns = len(numbers), self.num_parts, rotation_size(self.form) * self.num_parts
        rotations = rotation_from(numbers[:, :turns].reshape(n, m, -1), self.form)
        translations = numbers[:, turns : turns + 3 * m].reshape(n, m, 3)
        coefficients = numbers[:, turns + 3 * m : self.size]
        weights = self.parts(self.functions)
        own = motions_about(rotations, translations, self.pivots(weights))
        moved = chain(own, self.parents) if self.parents else own
        pick = slice(None) if chosen is None else chosen
        rest = self.blendshapes(self.vertices[pick], self.functions[pick], coefficients)
        motions = blend(weights[pick], moved)
        return Shape(
            pose(motions, rest), rest, motions, PartMotions(moved[..., :3], moved[..., 3], coefficients, weights)
        )

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
    """The parent of each part, -1 of the root: the spanning tree of parts that share most area, rooted in the one that
    shares most."""
    mass = (weights * areas[:, None]).double()
    shared = (mass.T @ weights.double()).cpu().numpy()
    np.fill_diagonal(shared, 0.0)
    cost = 1.0 / np.maximum(shared, 1e-12)
    np.fill_diagonal(cost, 0.0)
    tree = minimum_spanning_tree(cost)
    root = int(shared.sum(1).argmax())
    _, parents = breadth_first_order(tree, root, directed=False)
    return tuple(int(parent) if parent >= 0 else -1 for parent in parents)
