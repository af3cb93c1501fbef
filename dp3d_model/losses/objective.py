"""The total loss of a batch: reprojection, canonicalisation, rigidity, the cycle and the others, weighted."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.camera import nearest_rotation
from dp3d_model.geometry.surface import Surface, farthest_points
from dp3d_model.losses import terms
from dp3d_model.losses.arap import OneRings, arap_loss
from dp3d_model.networks.encoder import Mlp
from dp3d_model.networks.lifter import Lifted, Lifter, reproject

OUTLINE_POINTS = 384
# Weight of the logarithm of the scale beside the distance to the true vertices.
SCALE_SHARE = 0.1


class Objective(nn.Module):
    """Phi with what is needed to train it: the one-rings, and Psi, an MLP from a rotated shape to the numbers of the
    body that give it back unrotated. Psi reads `input_cells` well-spread vertices (ours; 0 reads all, as the supplement
    does).

    The weighted sum of L_rep, L_canon, L_arap and L_entropy (supplement), and of our L_cycle, L_truth, L_back_face and
    L_silhouette (`LossConfig`); a weight of 0 skips the loss and its cost.
    """

    vertices: torch.Tensor
    outline: torch.Tensor
    seeds: torch.Tensor
    corners: torch.Tensor | None

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.lifter = Lifter(surface, config)
        self.canonicaliser: nn.ModuleDict | None = None
        if config.loss.canonical:
            own, every = config.model, len(surface.vertices)
            seeds = farthest_points(surface.vertices, min(own.input_cells, every) or every)
            self.register_buffer("seeds", seeds, persistent=False)
            trunk = Mlp(3 * len(seeds), self.lifter.body.size, own.width, own.bottleneck, own.blocks, own.norm)
            self.canonicaliser = nn.ModuleDict({"trunk": trunk})
        self.rings = OneRings(surface) if config.loss.arap else None
        corners = terms.faces_around(surface) if config.loss.back_face else None
        self.register_buffer("corners", corners, persistent=False)
        if config.loss.silhouette:
            points, self.slack = terms.outline_points(surface, OUTLINE_POINTS)
            self.register_buffer("outline", points, persistent=False)
        self.register_buffer("vertices", surface.vertices, persistent=False)

    def forward(
        self,
        inputs: KeypointBatch,
        targets: KeypointBatch,
        generator: torch.Generator,
        first: int = 0,
        count: int | None = None,
        shown: Int[Tensor, "all"] | None = None,
    ) -> dict[str, Tensor]:
        """Each loss by name, and their weighted sum as "total".

        Args:
            inputs: what the network reads, normalised.
            targets: what its answer is compared with, in the same units.
            first, count: where these instances begin in the global batch, and how many that has; by default they are
                all of it. The means of its chunks' losses, weighted by their instances, are its own, with the same
                random numbers; only the cycle and `canonical_instances` stay within a chunk.
            shown: how many instances of the global batch show each vertex, where these are a chunk of it.
        """
        weights, (centres, chosen) = self.config.loss, self.draw(generator)
        lifted = self.lifter(inputs, chosen)
        reprojection = self._reprojection(lifted, targets.at_vertices(chosen), chosen)
        losses = {"reprojection": reprojection * _weight(targets.visible, chosen, shown, count)}
        if self.canonicaliser is not None:
            losses["canonical"] = self._canonical(lifted, generator, chosen, first, count or len(inputs))
        if self.rings is not None:
            losses["arap"] = self._arap(lifted, centres, chosen)
        for name, loss, of_hidden in (("back_face", self._back_face, False), ("silhouette", self._silhouette, True)):
            if getattr(weights, name):
                share = _weight(targets.visible, centres, shown, count, of_hidden)
                losses[name] = loss(lifted, targets, centres, chosen) * share
        if weights.cycle:
            views = terms.other_views(self.lifter, lifted, inputs, generator)
            losses["cycle"] = terms.cycle_loss(self.lifter, views, chosen, weights.epsilon)
        if weights.truth and targets.true_vertices is not None:
            losses["truth"] = self._truth(lifted, inputs.at_vertices(chosen), targets.at_vertices(chosen))
        losses |= self._of_parts(lifted)
        total = losses["reprojection"]
        for name in list(losses)[1:]:  # the weight of each other loss has its name
            total = total + getattr(weights, name) * losses[name]
        return losses | {"total": total}

    def draw(self, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """The one-rings of this step and all template vertices it needs, ascending; None, None for all.

        A step on a random part of the template estimates the same losses at a fraction of the cost (ours).
        """
        count, drawn = len(self.lifter.surface.vertices), self.config.loss.drawn_rings
        if self.rings is None or not 0 < drawn < count:
            return None, None
        centres = torch.randperm(count, generator=generator)[:drawn].to(self.vertices.device)
        needed = [centres, self.rings.neighbours[centres].ravel()]
        if self.canonicaliser is not None:
            needed.append(self.seeds)
        if self.corners is not None:
            needed.append(self.corners[centres].ravel())
        return centres, torch.cat(needed).unique()

    def _reprojection(self, lifted: Lifted, targets: KeypointBatch, chosen: Tensor | None) -> Tensor:
        projected = reproject(lifted, targets)
        noise, epsilon = self.lifter.predicted_noise(lifted, chosen), self.config.loss.epsilon
        if noise is None:
            return terms.reprojection_loss(projected, targets.keypoints, targets.visible, epsilon)
        form = self.config.model.noise
        return terms.noisy_reprojection_loss(projected, targets.keypoints, targets.visible, noise, epsilon, form)

    def _truth(self, lifted: Lifted, inputs: KeypointBatch, targets: KeypointBatch) -> Tensor:
        """The mean distance to the true vertices, and of the scale to the true one; 0 where they are not known."""
        known, epsilon = present(targets.true_vertices).isfinite().all(2).all(1), self.config.loss.epsilon
        found, factor = lifted.log_scale.exp()[:, None, None] * lifted.in_camera(), present(targets.true_scale).log()
        off = lifted.log_scale - torch.where(known, factor, lifted.log_scale.detach())
        true = torch.where(known[:, None, None], present(targets.true_vertices), found.detach())
        scale = terms.pseudo_huber(off[:, None], epsilon)
        return (terms.shape_loss(found, true, inputs.visible, epsilon) + SCALE_SHARE * scale).mean()

    def _back_face(
        self, lifted: Lifted, targets: KeypointBatch, centres: Tensor | None, chosen: Tensor | None
    ) -> Tensor:
        middle = torch.arange(len(self.vertices), device=self.vertices.device) if centres is None else centres
        normal = terms.normals_at(present(self.corners), lifted.posed, middle, chosen)
        away = (normal * lifted.rotation[:, None, 2]).sum(2)
        return terms.back_face_loss(away, targets.visible[:, middle], self.config.loss.epsilon)

    def _silhouette(
        self, lifted: Lifted, targets: KeypointBatch, centres: Tensor | None, chosen: Tensor | None
    ) -> Tensor:
        middle = torch.arange(len(self.vertices), device=self.vertices.device) if centres is None else centres
        places = middle if chosen is None else torch.searchsorted(chosen, middle)
        projected = reproject(lifted, targets.at_vertices(chosen))[:, places]
        outline = targets.keypoints[:, self.outline], targets.visible[:, self.outline]
        return terms.silhouette_loss(
            projected, ~targets.visible[:, middle], *outline, self.slack, self.config.loss.epsilon
        )

    def _of_parts(self, lifted: Lifted) -> dict[str, Tensor]:
        """The losses on parts and their coefficients; a body without parts has none."""
        weights, shape = self.config.loss, lifted.shape
        losses: dict[str, Tensor] = {}
        if weights.shape and shape.part_weights.shape[1]:
            losses["shape"] = shape.blendshapes.square().sum(1).mean()
        if weights.entropy and shape.part_weights.shape[1]:
            losses["entropy"] = terms.entropy_loss(shape.part_weights)
        return losses

    def _canonical(
        self, lifted: Lifted, generator: torch.Generator, chosen: Tensor | None, first: int, count: int
    ) -> Tensor:
        loss, posed = self.config.loss, lifted.posed
        posed = posed[: max(2, len(posed) * (loss.canonical_instances or count) // count)]
        shape, turned = terms.rotated_copies(posed, loss.canonical_copies, loss.canonical_law, generator, first, count)
        places = self.seeds if chosen is None else torch.searchsorted(chosen, self.seeds)
        numbers = present(self.canonicaliser)["trunk"](turned[:, places].flatten(1))
        return terms.canonical_loss(self.lifter.body(numbers, chosen).posed, shape, loss.epsilon)

    def _arap(self, lifted: Lifted, centres: Tensor | None, chosen: Tensor | None) -> Tensor:
        template = self.vertices if chosen is None else self.vertices[chosen]
        rest = template if self.config.loss.arap_rest == "template" else lifted.shape.rest
        blended = self.config.loss.arap_rotations == "blended"
        rotations = nearest_rotation(lifted.shape.motions[..., :3]) if blended else None
        return arap_loss(present(self.rings), lifted.posed, rest, self.config.loss.epsilon, rotations, centres, chosen)


def _weight(
    visible: Bool[Tensor, "n all"],
    places: Tensor | None,
    shown: Int[Tensor, "all"] | None,
    count: int | None,
    hidden: bool = False,
) -> Tensor | float:
    """What a mean over a chunk's visible (or hidden) vertices counts in the global batch's, times the chunks."""
    if shown is None or count is None:
        return 1.0
    pick = slice(None) if places is None else places
    here, total = visible[:, pick].sum(), shown[pick].sum()
    if hidden:
        here, total = visible[:, pick].numel() - here, count * shown[pick].numel() - total
    return here / total.clamp_min(1) * (count / len(visible))
