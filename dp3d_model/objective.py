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
        centres, chosen = self.draw(generator)
        lifted = self.lifter(seen, chosen)
        losses = {"reprojection": self._reprojection(lifted, seen.at(chosen), chosen)}
        total = losses["reprojection"]
        if self.canonicaliser is not None:
            losses["canonical"] = self._canonical(lifted, generator, chosen)
            total = total + self.config.canonical_weight * losses["canonical"]
        if self.rings is not None:
            losses["arap"] = self._arap(lifted, centres, chosen)
            total = total + self.config.arap_weight * losses["arap"]
        if self.config.entropy_weight:
            losses["entropy"] = entropy_loss(lifted.weights)
            total = total + self.config.entropy_weight * losses["entropy"]
        return losses | {"total": total}

    def draw(self, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """The one-rings of this step and all template vertices it needs, ascending; None, None for all.

        A step on a random part of the template estimates the same losses at a fraction of the cost (ours).
        """
        count, drawn = len(self.lifter.surface.vertices), self.config.drawn_rings
        if self.rings is None or not 0 < drawn < count:
            return None, None
        centres = torch.randperm(count, generator=generator)[:drawn]
        needed = [centres, self.rings.neighbours[centres].ravel()]
        if self.canonicaliser is not None:
            needed.append(self.canonicaliser.seeds)
        return centres, torch.cat(needed).unique()

    def _reprojection(self, lifted: Lifted, seen: Observation, chosen: Tensor | None) -> Tensor:
        projected = reproject(lifted, seen)
        if self.noise is None:
            return reprojection_loss(projected, seen.keypoints, seen.visible, self.config.epsilon)
        functions = self.lifter.body.functions
        noise = self.noise(functions if chosen is None else functions[chosen], lifted.motions)
        form = self.config.noise
        return noisy_reprojection_loss(projected, seen.keypoints, seen.visible, noise, self.config.epsilon, form)

    def _canonical(self, lifted: Lifted, generator: torch.Generator, chosen: Tensor | None) -> Tensor:
        shape, turned = rotated_copies(lifted.posed, self.config.canonical_copies, self.config.canonical_law, generator)
        return canonical_loss(self.canonicaliser(self.lifter.body, turned, chosen), shape, self.config.epsilon)

    def _arap(self, lifted: Lifted, centres: Tensor | None, chosen: Tensor | None) -> Tensor:
        rest = lifted.shaped
        if self.config.arap_rest == "template":
            vertices = self.lifter.body.vertices
            rest = (vertices if chosen is None else vertices[chosen]).expand_as(lifted.posed)
        rotations = nearest_rotation(lifted.motions[..., :3]) if self.config.arap_rotations == "blended" else None
        return arap_loss(self.rings, lifted.posed, rest, self.config.epsilon, rotations, centres, chosen)
