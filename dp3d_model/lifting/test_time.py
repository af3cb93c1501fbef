"""Test-time optimisation: each instance fitted to its own keypoints and mask, from the network's answer (ours).

The body moves within the prior: the directions in which the network's answers to the training instances differ, each as
far as they do. So what is not seen follows what is seen as it does in the world that the model knows. Without a prior
every number is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import grid_sample

from dp3d_data.records import RunLength, present
from dp3d_data.run_lengths import mask_pixels
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import RefineConfig
from dp3d_model.geometry.surface import farthest_points
from dp3d_model.losses.arap import OneRings, arap_loss
from dp3d_model.losses.terms import pseudo_huber
from dp3d_model.networks.lifter import Lifted, Lifter, reproject

GRID, PIXELS = 96, 256
# Side of the square that is looked at, in sides of the mask's box.
WINDOW = 1.8


@dataclass(frozen=True)
class Silhouettes:
    """Masks of N instances, in the units and about the origin of an observation.

    Attributes:
        distance: [N, G, G] of the cells of a square to the mask; 0 inside it and outside of the image.
        corner: [N, 2] top left corner of the square.
        side: [N] of the square.
        pixels: [N, P, 2] well-spread points of the mask.
        known: [N] whether there is a mask.
    """

    distance: Float[Tensor, "n g g"]
    corner: Float[Tensor, "n 2"]
    side: Float[Tensor, "n"]
    pixels: Float[Tensor, "n p 2"]
    known: Bool[Tensor, "n"]

    def outside(self, points: Float[Tensor, "n v 2"]) -> Float[Tensor, "n v"]:
        """The distance of points to the mask; 0 inside, beyond the square as at its edge."""
        places = 2.0 * (points - self.corner[:, None]) / self.side[:, None, None] - 1.0
        return grid_sample(self.distance[:, None], places[:, None], padding_mode="border", align_corners=False)[:, 0, 0]

    def uncovered(self, points: Float[Tensor, "n v 2"]) -> Float[Tensor, "n p"]:
        """The distance of the mask's points to the nearest of these."""
        return torch.cdist(self.pixels, points).amin(2)


def silhouettes_of(
    masks: Sequence[RunLength | None], centre: Float[Tensor, "n 2"], scale: Float[Tensor, "n"]
) -> Silhouettes | None:
    """Masks in units of `scale` pixels about `centre` (image pixels), on its device; None where no instance has one.

    Raises:
        InputCorrupt: runs that do not fill their image.
    """
    if not any(masks):
        return None
    pairs = zip(centre.double().cpu().numpy(), scale.double().cpu().numpy(), strict=True)
    parts = [_one(mask, *pair) for mask, pair in zip(masks, pairs, strict=True)]
    distance, corner, side, pixels = (
        torch.tensor(np.stack(part), dtype=torch.float32, device=centre.device) for part in zip(*parts, strict=True)
    )
    known = torch.tensor([mask is not None for mask in masks], device=centre.device)
    return Silhouettes(distance, corner, side, pixels, known)


def _one(runs: RunLength | None, centre: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Distances, corner, side and pixels of one mask; zeros where there is none."""
    nothing = np.zeros((GRID, GRID)), np.zeros(2), 1.0, np.zeros((PIXELS, 2))
    mask = np.zeros((1, 1), dtype=bool) if runs is None else mask_pixels(runs)
    if not mask.any():
        return nothing
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1] + 1, rows[-1] + 1])
    side = WINDOW * float((high - low).max())
    corner = (low + high - side) / 2
    lines = (np.arange(GRID) + 0.5) * side / GRID
    x, y = (np.floor(corner[axis] + lines).astype(int) for axis in (0, 1))
    inside = ((y >= 0) & (y < mask.shape[0]))[:, None] & ((x >= 0) & (x < mask.shape[1]))
    cells = mask[np.clip(y, 0, mask.shape[0] - 1)[:, None], np.clip(x, 0, mask.shape[1] - 1)] & inside
    if not cells.any():
        return nothing
    distance = distance_transform_edt(~cells) * (side / GRID) * inside
    found = np.argwhere(cells)[:, ::-1]
    spread = found[np.linspace(0, len(found) - 1, PIXELS).round().astype(int)]
    pixels = corner + (spread + 0.5) * side / GRID
    return distance / scale, (corner - centre) / scale, side / scale, (pixels - centre) / scale


# Vertices whose projections are held to the mask.
OUTLINE = 600
# Random halves of the keypoints that the network answers to.
HALVES = 16
# Distance from the mask's pixels to the nearest of these that the sampling alone explains, template units.
SLACK = 0.02
# What a vertex outside of the mask costs, and a pixel of the mask that no vertex is near: networks leave tails and paws
# out of a mask more often than they add to it.
OUTSIDE, UNCOVERED = 0.5, 1.5


def evidence_of(
    instances: KeypointBatch | None, inputs: KeypointBatch
) -> tuple[Float[Tensor, "n k"] | None, Silhouettes | None]:
    """The weights of the keypoints and the masks of instances in image pixels, in the units of the normalised ones."""
    if instances is None:
        return None, None
    centre = present(inputs.centre)
    weights = None if instances.weights is None else instances.weights.to(centre.device)
    if inputs.pinhole is not None:
        return weights, None
    return weights, silhouettes_of(instances.masks, centre, present(inputs.camera).scale)


def refined(
    lifter: Lifter,
    inputs: KeypointBatch,
    instances: KeypointBatch | None = None,
    answers: Float[Tensor, "halves n d"] | None = None,
) -> Lifted:
    """Lift, then take `refine.steps` Adam steps on the numbers of each instance; network and body stay as they are.

    The start is the mean of what the network says of random halves of the keypoints, which errs less than what it says
    of all. Without a network the start is the rigid template, and this is the per-instance fit, the second baseline.
    Each instance moves alone: the others of its batch change nothing of it. The body moves freely and along the prior's
    directions, the camera freely, and so does the place in the image under parallel rays.

    Args:
        instances: the same in image pixels, with masks and weights where known; without them keypoints alone count.
        answers: see `answers_to_halves`; asked for here where they are not given.
    """
    config, refine, size = lifter.config, lifter.config.refine, lifter.body.size
    with torch.no_grad():
        if not refine.steps:
            return lifter(inputs)
        start = (answers_to_halves(lifter, inputs) if answers is None else answers).mean(0)
        place = (start[:, :size] - lifter.prior_mean) @ torch.linalg.pinv(lifter.prior_directions)
    along = torch.zeros_like(place).requires_grad_()
    moved = torch.zeros_like(start).requires_grad_()
    shift = start.new_zeros(len(start), 2).requires_grad_() if inputs.pinhole is None else None

    def answer() -> Lifted:
        body = moved[:, :size] + along @ lifter.prior_directions
        found = lifter.decode(start + torch.cat([body, moved[:, size:]], dim=1), inputs)
        return found if shift is None else replace(found, shift=shift)

    free = [moved, *([] if shift is None else [shift])]
    rates = [refine.learning_rate * refine.stride, refine.learning_rate]
    optimiser = torch.optim.Adam([{"params": [along], "lr": rates[0]}, {"params": free, "lr": rates[1]}])
    evidence, rings = evidence_of(instances, inputs), OneRings(lifter.surface).to(start.device)
    outline = farthest_points(lifter.surface.vertices, OUTLINE)
    for step in range(refine.steps):
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, 2.0 * (1.0 - step / refine.steps))  # falls over the second half
        optimiser.zero_grad(set_to_none=True)
        lifted = answer()
        loss = _evidence_cost(lifter, inputs, evidence, lifted, outline) + _moving_cost(refine, place, moved, along)
        if refine.arap:
            # The mean over instances times their number: a sum, in which each has the same weight whatever the batch.
            centres = drawn_rings(len(lifter.surface.vertices), config.loss.drawn_rings, step)
            rigidity = arap_loss(rings, lifted.posed, lifted.shape.rest, config.loss.epsilon, centres=centres)
            loss = loss + len(start) * refine.arap * rigidity
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = answer()
        return found if found.shift is None else replace(found, shift=found.shift.detach())


def _evidence_cost(
    lifter: Lifter,
    inputs: KeypointBatch,
    evidence: tuple[Tensor | None, Silhouettes | None],
    lifted: Lifted,
    outline: Int[Tensor, "v"],
) -> Float[Tensor, ""]:
    """The sum over instances of how far they are from keypoints and mask; `outline`: vertices held to the mask."""
    (weights, masks), config, projected = evidence, lifter.config, reproject(lifted, inputs)
    cost = own_reprojection(projected, inputs, config.loss.epsilon, weights).sum()
    if masks is None or not config.refine.silhouette:
        return cost
    return cost + config.refine.silhouette * silhouette_cost(projected[:, outline], masks, config.loss.epsilon).sum()


def _moving_cost(
    refine: RefineConfig, place: Float[Tensor, "n p"], moved: Float[Tensor, "n d"], along: Float[Tensor, "n p"]
) -> Float[Tensor, ""]:
    """The sum over instances of the squared distances to the network's answer and to the prior's middle.

    Args:
        place: of the start along the prior's directions, from its middle in standard deviations.
        moved, along: what was added to the numbers, and along the directions.
    """
    cost = refine.tie * moved.square().sum()
    if not place.shape[1]:
        return cost
    return cost + refine.stay * along.square().sum() + refine.prior * (place + along).square().mean(1).sum()


def halves(inputs: KeypointBatch) -> Iterator[KeypointBatch]:
    """The observation with a random half of the template's vertices, the same ones for all instances, HALVES times."""
    generator, vertices = torch.Generator().manual_seed(0), inputs.visible.shape[1]
    for _ in range(HALVES):
        drawn = torch.rand(vertices, generator=generator).to(inputs.visible.device) < 0.5
        weights = None if inputs.weights is None else inputs.weights * drawn
        yield replace(inputs, visible=inputs.visible & drawn, weights=weights)


def answers_to_halves(lifter: Lifter, inputs: KeypointBatch) -> Float[Tensor, "halves n d"]:
    """The numbers that the network says of each of `halves`."""
    return torch.stack([lifter.numbers(half) for half in halves(inputs)])


def own_reprojection(
    projected: Float[Tensor, "n k 2"],
    inputs: KeypointBatch,
    epsilon: float,
    weights: Float[Tensor, "n k"] | None = None,
) -> Float[Tensor, "n"]:
    """The weighted mean of h over the visible keypoints of each instance, whatever its batch shows."""
    share = inputs.visible.to(projected.dtype) if weights is None else weights * inputs.visible
    return (pseudo_huber(projected - inputs.keypoints, epsilon) * share).sum(1) / share.sum(1).clamp_min(1e-6)


def silhouette_cost(points: Float[Tensor, "n v 2"], masks: Silhouettes, epsilon: float) -> Float[Tensor, "n"]:
    """Weighted means of h of how far vertices lie outside of the mask, and its pixels from them; 0 without a mask."""
    outside = pseudo_huber(masks.outside(points)[..., None], epsilon).mean(1)
    uncovered = pseudo_huber((masks.uncovered(points) - SLACK).clamp_min(0.0)[..., None], epsilon).mean(1)
    return masks.known * (OUTSIDE * outside + UNCOVERED * uncovered)


def drawn_rings(vertices: int, count: int, step: int) -> Int[Tensor, "count"] | None:
    """The one-rings of a step, a function of the step alone; None for all."""
    if not 0 < count < vertices:
        return None
    return torch.randperm(vertices, generator=torch.Generator().manual_seed(step))[:count]


def learn_prior(lifter: Lifter, numbers: Float[Tensor, "n d"]) -> None:
    """Keep the mean of the body's numbers and their strongest directions, each as long as its standard deviation."""
    own = numbers[:, : lifter.body.size].double()
    mean = own.mean(0)
    _, lengths, directions = torch.linalg.svd(own - mean, full_matrices=False)
    scaled = directions * (lengths / max(len(own) - 1, 1) ** 0.5)[:, None]
    kept = scaled[: len(lifter.prior_directions)].float()
    lifter.prior_mean.copy_(mean)
    lifter.prior_directions.zero_()[: len(kept)] = kept
