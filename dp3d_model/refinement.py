"""Refinement: the numbers of each instance moved to fit its own keypoints, from the network's answer or from nothing."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dp3d_model.arap import OneRings, arap_loss
from dp3d_model.lifter import Lifted, Lifter, reproject
from dp3d_model.losses import pseudo_huber
from dp3d_model.observation import Observation


def refined(lifter: Lifter, seen: Observation) -> Lifted:
    """Lift, then take `refine_steps` Adam steps on the numbers of each instance (ours); the network and the body stay as they are.

    The loss is that of training without what is learned: reprojection and rigidity, and the squared distance to the start. Without a
    network the start is the rigid template, and this is the per-instance fit, the second baseline. Each instance moves alone:
    the others of its batch change nothing of it.
    """
    with torch.no_grad():
        start = lifter.numbers(seen)
        if not lifter.config.refine_steps:
            return lifter.decode(start, seen)
    numbers = _fitted(lifter, seen, start)
    with torch.no_grad():
        return lifter.decode(numbers, seen)


def _fitted(lifter: Lifter, seen: Observation, start: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Adam with a rate that falls to 0 over the second half. Rigidity is taken on one-rings drawn anew each step, the same for all."""
    config, rings = lifter.config, OneRings(lifter.surface).to(start.device)
    numbers = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([numbers], lr=config.refine_rate)
    for step in range(config.refine_steps):
        optimiser.param_groups[0]["lr"] = config.refine_rate * min(1.0, 2.0 * (1.0 - step / config.refine_steps))
        lifted = lifter.decode(numbers, seen)
        centres = drawn_rings(len(lifter.surface.vertices), config.drawn_rings, step)
        loss = own_reprojection(lifted, seen, config.epsilon).sum()
        # The mean over instances times their number: a sum, in which each has the same weight whatever the batch.
        rigidity = arap_loss(rings, lifted.posed, lifted.shape.rest, config.epsilon, centres=centres)
        loss = loss + len(numbers) * config.refine_arap * rigidity + config.refine_tie * (numbers - start).square().sum()
        (numbers.grad,) = torch.autograd.grad(loss, [numbers])
        optimiser.step()
    return numbers.detach()


def own_reprojection(lifted: Lifted, seen: Observation, epsilon: float) -> Float[Tensor, "n"]:
    """The mean of h over the visible keypoints of each instance, whatever its batch shows."""
    values = pseudo_huber(reproject(lifted, seen) - seen.keypoints, epsilon) * seen.visible
    return values.sum(1) / seen.visible.sum(1).clamp_min(1)


def drawn_rings(vertices: int, count: int, step: int) -> Tensor | None:
    """The one-rings of a step, a function of the step alone; None for all."""
    if not 0 < count < vertices:
        return None
    return torch.randperm(vertices, generator=torch.Generator().manual_seed(step))[:count]
