"""Refinement: the numbers of each instance moved to fit its own keypoints, from the network's answer or from nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from dp3d_model.arap import OneRings, arap_loss
from dp3d_model.lifter import Lifted, Lifter, reproject
from dp3d_model.losses import reprojection_loss
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


def _fitted(lifter: Lifter, seen: Observation, start: Tensor) -> Tensor:
    config, rings = lifter.config, OneRings(lifter.surface).to(start.device)
    numbers = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([numbers], lr=config.refine_rate)
    for step in range(config.refine_steps):
        optimiser.param_groups[0]["lr"] = config.refine_rate * min(1.0, 2.0 * (1.0 - step / config.refine_steps))
        lifted = lifter.decode(numbers, seen)
        rep = reprojection_loss(reproject(lifted, seen), seen.keypoints, seen.visible, config.epsilon)
        loss = rep + config.refine_arap * arap_loss(rings, lifted.posed, lifted.shape.rest, config.epsilon)
        loss = len(numbers) * loss + config.refine_tie * (numbers - start).square().sum()
        (gradient,) = torch.autograd.grad(loss, [numbers])
        numbers.grad = gradient
        optimiser.step()
    return numbers.detach()
