"""Phi: from what is seen of an instance to its camera, its shape and the motions of its parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_model.blendshapes import Blendshapes
from dp3d_model.camera import rotation_from_6d
from dp3d_model.config import TrainConfig
from dp3d_model.observation import Encoder, Observation, observe, visible_mean
from dp3d_model.parts import Parts, part_centres
from dp3d_model.posing import blend_motions, pose
from dp3d_model.surface import Surface
from dp3d_model.trunk import Trunk

MAX_LOG_SCALE = 1.0


@dataclass(frozen=True)
class Lifted:
    """Lifted instances, in template units.

    Attributes:
        posed: [N, K, 3] in the template frame, before the camera.
        shaped: [N, K, 3] the template with its blendshapes, before posing.
        rotation: [N, 3, 3] camera_from_template.
        log_scale: [N] correction to the rigid camera's scale.
        motions: [N, K, 3, 4] the affine motion of every vertex.
        part_rotations, part_translations: [N, M, 3, 3], [N, M, 3].
        coefficients: [N, B] of the blendshapes.
        weights: [all vertices, M] soft parts.
    """

    posed: Float[Tensor, "n k 3"]
    shaped: Float[Tensor, "n k 3"]
    rotation: Float[Tensor, "n 3 3"]
    log_scale: Float[Tensor, "n"]
    motions: Float[Tensor, "n k 3 4"]
    part_rotations: Float[Tensor, "n m 3 3"]
    part_translations: Float[Tensor, "n m 3"]
    coefficients: Float[Tensor, "n b"]
    weights: Float[Tensor, "all m"]

    def in_camera(self) -> Float[Tensor, "n k 3"]:
        """The posed vertices in the camera frame (x right, y down, z away), template units."""
        return self.posed @ self.rotation.transpose(1, 2)


class Body(nn.Module):
    """The deformable template: soft parts and blendshapes, posed by part motions; shared by Phi and Psi."""

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.parts = Parts(surface, config.parts, config.sharpness)
        self.blendshapes = Blendshapes(surface.functions.shape[1], config.blendshapes)
        self.num_parts, self.num_shapes, self.pivot = config.parts, config.blendshapes, config.pivot
        for name, value in (("vertices", surface.vertices), ("functions", surface.functions), ("areas", surface.vertex_areas)):
            self.register_buffer(name, value, persistent=False)

    @property
    def size(self) -> int:
        """How many numbers deform the body: 6 and 3 for each part, one for each blendshape."""
        return 9 * self.num_parts + self.num_shapes

    def forward(self, numbers: Float[Tensor, "n d"], chosen: Int[Tensor, "k"] | None = None) -> tuple[Tensor, ...]:
        """posed, shaped, motions, part rotations, part translations, coefficients, weights (see Lifted).

        Args:
            chosen: the template vertices to pose; all without it. The weights are always of all.
        """
        n, m = len(numbers), self.num_parts
        rotations = rotation_from_6d(numbers[:, : 6 * m].reshape(n, m, 6))
        translations = numbers[:, 6 * m : 9 * m].reshape(n, m, 3)
        coefficients = numbers[:, 9 * m : self.size]
        weights = self.parts(self.functions)
        if self.pivot == "part":
            centres = part_centres(self.vertices, weights, self.areas)
        else:
            centres = torch.zeros(m, 3)
        pick = slice(None) if chosen is None else chosen
        shaped = self.blendshapes(self.vertices[pick], self.functions[pick], coefficients)
        motions = blend_motions(weights[pick], rotations, translations, centres)
        return pose(motions, shaped), shaped, motions, rotations, translations, coefficients, weights


class Lifter(nn.Module):
    """Phi and the body it deforms.

    The network's residual rotation acts in the template's frame, R = R_0 dR, so that turning the image turns the answer.
    """

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.surface, self.config = surface, config
        self.body = Body(surface, config)
        self.encoder = Encoder(surface, config.network_input, config.input_cells)
        outputs = self.body.size + 7
        self.trunk = Trunk(self.encoder.size, outputs, config.width, config.bottleneck, config.blocks)

    def forward(self, seen: Observation, chosen: Int[Tensor, "k"] | None = None) -> Lifted:
        """Lift observations; with `chosen`, K of the answer counts these template vertices only."""
        numbers = self.trunk(self.encoder(seen))
        posed, shaped, motions, rotations, translations, coefficients, weights = self.body(numbers, chosen)
        turn = rotation_from_6d(numbers[:, self.body.size : self.body.size + 6])
        log_scale = MAX_LOG_SCALE * torch.tanh(numbers[:, -1] / MAX_LOG_SCALE)
        if self.config.scale == "fitted":
            log_scale = torch.zeros_like(log_scale)
        rotation = seen.camera.rotation @ turn
        return Lifted(posed, shaped, rotation, log_scale, motions, rotations, translations, coefficients, weights)

    def observe(self, keypoints: Float[Tensor, "n k 2"], visible: Tensor) -> Observation:
        """Observations of this model's template, from image pixels."""
        return observe(self.surface, keypoints, visible, self.config.camera)


def reproject(lifted: Lifted, seen: Observation) -> Float[Tensor, "n k 2"]:
    """The lifted vertices in the units of the observation; the image translation is the best one on the visible keypoints."""
    flat = lifted.log_scale.exp()[:, None, None] * (lifted.posed @ lifted.rotation[:, :2].transpose(1, 2))
    shift = visible_mean(flat, seen.visible) - visible_mean(seen.keypoints, seen.visible)
    return flat - shift[:, None]
