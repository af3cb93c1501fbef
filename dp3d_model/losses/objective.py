"""The total loss of a batch: reprojection, canonicalisation, rigidity, dreams and the others, weighted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from dp3d_model.config import TrainConfig
from dp3d_model.geometry.rotation_fit import nearest_rotation
from dp3d_model.geometry.surface import Surface
from dp3d_model.losses.arap import OneRings, arap_loss
from dp3d_model.losses.back_faces import Normals, facing_loss, outline_loss, outline_points
from dp3d_model.losses.cycle import dream, dream_loss
from dp3d_model.losses.terms import canonical_loss, entropy_loss, noisy_reprojection_loss, pseudo_huber, reprojection_loss, shape_loss
from dp3d_model.networks.canonicaliser import Canonicaliser, rotated_copies
from dp3d_model.networks.lifter import Lifted, Lifter, reproject
from dp3d_model.networks.observation import Observation

OUTLINE_POINTS = 384
# Weight of the logarithm of the scale beside the distance to the true vertices.
SCALE_SHARE = 0.1


@dataclass(frozen=True)
class Whole:
    """The batch that the instances at hand are a part of, so that their losses add up to those of the whole.

    Attributes:
        first, count: where the part begins, and how many instances the whole has.
        shown: [all vertices] how many of these show each vertex.
    """

    first: int
    count: int
    shown: Int[Tensor, "all"]

    def after(self, instances: int) -> Whole:
        """Of a part that begins so many instances later."""
        return replace(self, first=self.first + instances)


class Objective(nn.Module):
    """Phi with what is needed to train it: Psi and the one-rings.

    total = L_rep + 0.1 L_canon + 0.3 L_arap + 0.001 L_entropy (supplement), and our L_dream, L_truth, L_facing and L_outline; a weight of 0
    skips the loss and its cost.
    """

    outline: Tensor
    vertices: Tensor

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.lifter = Lifter(surface, config)
        self.canonicaliser = Canonicaliser(surface, config, self.lifter.body.size) if config.canonical_weight else None
        self.rings = OneRings(surface) if config.arap_weight else None
        self.normals = Normals(surface) if config.facing_weight else None
        if config.outline_weight:
            points, self.slack = outline_points(surface, OUTLINE_POINTS)
            self.register_buffer("outline", points, persistent=False)
        self.register_buffer("vertices", surface.vertices, persistent=False)

    def forward(self, shown: Observation, seen: Observation, generator: torch.Generator, whole: Whole | None = None) -> dict[str, Tensor]:
        """Each loss by name, and their weighted sum as "total".

        Args:
            shown: what the network reads.
            seen: what its answer is compared with, in the same units.
            whole: the batch that these instances are a part of. The means of its parts' losses, weighted by their instances, are then
                its own, with the same random numbers; only dreams and `canonical_instances` stay within a part.
        """
        centres, chosen = self.draw(generator)
        lifted = self.lifter(shown, chosen)
        own = seen.at(chosen)
        losses = {"reprojection": self._reprojection(lifted, own, chosen) * _weight(seen.visible, chosen, whole)}
        total = losses["reprojection"]
        if self.canonicaliser is not None:
            losses["canonical"] = self._canonical(self.canonicaliser, lifted, generator, chosen, whole)
            total = total + self.config.canonical_weight * losses["canonical"]
        if self.rings is not None:
            losses["arap"] = self._arap(self.rings, lifted, centres, chosen)
            total = total + self.config.arap_weight * losses["arap"]
        if self.normals is not None:
            losses["facing"] = self._facing(self.normals, lifted, seen, centres, chosen) * _weight(seen.visible, centres, whole)
            total = total + self.config.facing_weight * losses["facing"]
        if self.config.outline_weight:
            losses["outline"] = self._outline(lifted, seen, centres, chosen) * _weight(seen.visible, centres, whole, hidden=True)
            total = total + self.config.outline_weight * losses["outline"]
        if self.config.dream_weight:
            losses["dream"] = dream_loss(self.lifter, dream(self.lifter, lifted, shown, generator), chosen, self.config.epsilon)
            total = total + self.config.dream_weight * losses["dream"]
        if own.truth is not None and own.true_log_scale is not None:
            losses["truth"] = self._truth(lifted, shown.at(chosen).visible, own.truth, own.true_log_scale)
            total = total + self.config.truth_weight * losses["truth"]
        parts = lifted.shape.parts
        if self.config.shape_weight and parts is not None:
            losses["shape"] = parts.coefficients.square().sum(1).mean()
            total = total + self.config.shape_weight * losses["shape"]
        if self.config.entropy_weight and parts is not None:
            losses["entropy"] = entropy_loss(parts.weights)
            total = total + self.config.entropy_weight * losses["entropy"]
        return losses | {"total": total}

    def draw(self, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """The one-rings of this step and all template vertices it needs, ascending; None, None for all.

        A step on a random part of the template estimates the same losses at a fraction of the cost (ours).
        """
        count, drawn = len(self.lifter.surface.vertices), self.config.drawn_rings
        if self.rings is None or not 0 < drawn < count:
            return None, None
        centres = torch.randperm(count, generator=generator)[:drawn].to(self.vertices.device)
        needed = [centres, self.rings.neighbours[centres].ravel()]
        if self.canonicaliser is not None:
            needed.append(self.canonicaliser.seeds)
        if self.normals is not None:
            needed.append(self.normals.corners[centres].ravel())
        return centres, torch.cat(needed).unique()

    def _reprojection(self, lifted: Lifted, seen: Observation, chosen: Tensor | None) -> Tensor:
        projected = reproject(lifted, seen)
        noise = self.lifter.predicted_noise(lifted, chosen)
        if noise is None:
            return reprojection_loss(projected, seen.keypoints, seen.visible, self.config.epsilon)
        form = self.config.noise
        return noisy_reprojection_loss(projected, seen.keypoints, seen.visible, noise, self.config.epsilon, form)

    def _truth(self, lifted: Lifted, visible: Tensor, truth: Tensor, log_scale: Tensor) -> Tensor:
        """The mean over the batch of the distance to the true vertices, and of the scale to the true one; 0 where they are not known."""
        known = truth.isfinite().all(2).all(1)
        found = lifted.log_scale.exp()[:, None, None] * lifted.in_camera()
        scale = pseudo_huber((lifted.log_scale - torch.where(known, log_scale, lifted.log_scale.detach()))[:, None], self.config.epsilon)
        true = torch.where(known[:, None, None], truth, found.detach())
        return (shape_loss(found, true, visible, self.config.epsilon) + SCALE_SHARE * scale).mean()

    def _facing(
        self, normals: Normals, lifted: Lifted, seen: Observation, centres: Tensor | None, chosen: Tensor | None
    ) -> Tensor:
        middle = torch.arange(len(self.vertices), device=self.vertices.device) if centres is None else centres
        normal = normals(lifted.posed, middle, chosen)
        away = (normal * lifted.rotation[:, None, 2]).sum(2)
        return facing_loss(away, seen.visible[:, middle], self.config.epsilon)

    def _outline(self, lifted: Lifted, seen: Observation, centres: Tensor | None, chosen: Tensor | None) -> Tensor:
        middle = torch.arange(len(self.vertices), device=self.vertices.device) if centres is None else centres
        places = middle if chosen is None else torch.searchsorted(chosen, middle)
        projected = reproject(lifted, seen.at(chosen))[:, places]
        near = seen.at(self.outline)
        return outline_loss(projected, ~seen.visible[:, middle], near.keypoints, near.visible, self.slack, self.config.epsilon)

    def _canonical(
        self, canonicaliser: Canonicaliser, lifted: Lifted, generator: torch.Generator, chosen: Tensor | None, whole: Whole | None
    ) -> Tensor:
        first, count = (whole.first, whole.count) if whole else (0, len(lifted.posed))
        posed, limit = lifted.posed, self.config.canonical_instances or count
        posed = posed[: max(2, len(posed) * limit // count)]
        shape, turned = rotated_copies(posed, self.config.canonical_copies, self.config.canonical_law, generator, first, count)
        return canonical_loss(canonicaliser(self.lifter.body, turned, chosen), shape, self.config.epsilon)

    def _arap(self, rings: OneRings, lifted: Lifted, centres: Tensor | None, chosen: Tensor | None) -> Tensor:
        template = self.vertices if chosen is None else self.vertices[chosen]
        rest = template if self.config.arap_rest == "template" else lifted.shape.rest
        rotations = nearest_rotation(lifted.shape.motions[..., :3]) if self.config.arap_rotations == "blended" else None
        return arap_loss(rings, lifted.posed, rest, self.config.epsilon, rotations, centres, chosen)


def _weight(visible: Bool[Tensor, "n all"], places: Tensor | None, whole: Whole | None, hidden: bool = False) -> Tensor | float:
    """What a mean over a part's visible (or hidden) vertices counts in that of the whole, times the number of such parts."""
    if whole is None:
        return 1.0
    pick = slice(None) if places is None else places
    here, shown = visible[:, pick].sum(), whole.shown[pick].sum()
    if hidden:
        here, shown = visible[:, pick].numel() - here, whole.count * whole.shown[pick].numel() - shown
    return here / shown.clamp_min(1) * (whole.count / len(visible))
