"""The total loss of a batch: reprojection, canonicalisation, rigidity and entropy, weighted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dp3d_model.arap import OneRings, arap_loss
from dp3d_model.canonicaliser import Canonicaliser, rotated_copies
from dp3d_model.config import TrainConfig
from dp3d_model.lifter import Lifted, Lifter, reproject
from dp3d_model.losses import canonical_loss, entropy_loss, noisy_reprojection_loss, reprojection_loss
from dp3d_model.observation import Observation
from dp3d_model.rotation_fit import nearest_rotation
from dp3d_model.surface import Surface
from dp3d_model.uncertainty import NoiseHead


class Objective(nn.Module):
    """Phi with what is needed to train it: Psi, the noise head and the one-rings.

    total = L_rep + 0.1 L_canon + 0.3 L_arap + 0.001 L_entropy (supplement); a weight of 0 skips the loss and its cost.
    """

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.lifter = Lifter(surface, config)
        self.canonicaliser = Canonicaliser(surface, config, self.lifter.body.size) if config.canonical_weight else None
        self.noise = NoiseHead(surface.functions.shape[1]) if config.noise != "off" else None
        self.rings = OneRings(surface) if config.arap_weight else None

    def forward(self, seen: Observation, generator: torch.Generator) -> dict[str, Tensor]:
        """Each loss by name, and their weighted sum as "total"."""
        lifted = self.lifter(seen)
        losses = {"reprojection": self._reprojection(lifted, seen)}
        total = losses["reprojection"]
        for name, weight in (("canonical", "canonical_weight"), ("arap", "arap_weight"), ("entropy", "entropy_weight")):
            if getattr(self.config, weight):
                losses[name] = getattr(self, f"_{name}")(lifted, generator)
                total = total + getattr(self.config, weight) * losses[name]
        return losses | {"total": total}

    def _reprojection(self, lifted: Lifted, seen: Observation) -> Tensor:
        projected = reproject(lifted, seen)
        if self.noise is None:
            return reprojection_loss(projected, seen.keypoints, seen.visible, self.config.epsilon)
        noise = self.noise(self.lifter.body.functions, lifted.motions)
        form = self.config.noise
        return noisy_reprojection_loss(projected, seen.keypoints, seen.visible, noise, self.config.epsilon, form)

    def _canonical(self, lifted: Lifted, generator: torch.Generator) -> Tensor:
        shape, turned = rotated_copies(lifted.posed, self.config.canonical_copies, self.config.canonical_law, generator)
        return canonical_loss(self.canonicaliser(self.lifter.body, turned), shape, self.config.epsilon)

    def _arap(self, lifted: Lifted, generator: torch.Generator) -> Tensor:
        count, drawn = lifted.posed.shape[1], self.config.arap_vertices
        vertices = torch.randperm(count, generator=generator)[:drawn] if 0 < drawn < count else None
        rest = lifted.shaped
        if self.config.arap_rest == "template":
            rest = self.lifter.body.vertices.expand_as(lifted.posed)
        rotations = nearest_rotation(lifted.motions[..., :3]) if self.config.arap_rotations == "blended" else None
        return arap_loss(self.rings, lifted.posed, rest, self.config.epsilon, rotations, vertices)

    def _entropy(self, lifted: Lifted, generator: torch.Generator) -> Tensor:
        return entropy_loss(lifted.weights)
