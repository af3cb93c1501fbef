"""What the network is shown of an instance in training: less, and noisier, than what it is compared with (ours)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_data.shards.batch import KeypointBatch

LEAST_VISIBLE = 4
# Laplace-Beltrami functions that a smooth error is made of.
WAVES = 24


def hide_at_random(batch: KeypointBatch, largest: float, generator: torch.Generator) -> KeypointBatch:
    """Hide a random share, up to `largest`, of each instance's visible vertices; at least four of them stay."""
    visible = batch.visible
    share = largest * torch.rand(len(visible), 1, generator=generator)
    order = torch.where(visible, torch.rand(visible.shape, generator=generator), 2.0)
    kept = visible & (order >= share)
    return replace(batch, visible=torch.where(kept.sum(1, keepdim=True) >= LEAST_VISIBLE, kept, visible))


def shake(batch: KeypointBatch, largest: float, generator: torch.Generator) -> KeypointBatch:
    """Add Gaussian noise, of a standard deviation drawn for each instance up to `largest` sides of its box."""
    spread = largest * torch.rand(len(batch), generator=generator) * box_side(batch)
    noise = spread[:, None, None] * torch.randn(batch.keypoints.shape, generator=generator)
    return replace(batch, keypoints=batch.keypoints + noise)


def warp(
    batch: KeypointBatch, largest: float, functions: Float[Tensor, "k j"], generator: torch.Generator
) -> KeypointBatch:
    """Move keypoints by a smooth field over the template, as a network errs: whole limbs at a time.

    The field is a random combination of the first Laplace-Beltrami functions, of a standard deviation drawn for each
    instance up to `largest` sides of its box.
    """
    waves = functions[:, 1 : 1 + WAVES]
    waves = waves / waves.square().mean(0, keepdim=True).sqrt().clamp_min(1e-9) / waves.shape[1] ** 0.5
    spread = largest * torch.rand(len(batch), generator=generator) * box_side(batch)
    amounts = torch.randn(len(batch), waves.shape[1], 2, generator=generator)
    field = spread[:, None, None] * torch.einsum("kw,nwc->nkc", waves, amounts)
    return replace(batch, keypoints=batch.keypoints + field)


def box_side(batch: KeypointBatch) -> Float[Tensor, "b"]:
    """The longer side of the box around the visible keypoints."""
    shown = batch.visible[..., None]
    high = torch.where(shown, batch.keypoints, -torch.inf).amax(1)
    low = torch.where(shown, batch.keypoints, torch.inf).amin(1)
    return (high - low).amax(1)


def mirror(batch: KeypointBatch, symmetry: Int[Tensor, "k"]) -> KeypointBatch:
    """Instances as a mirror shows them: x turned round, each vertex in its partner's place; masks and boxes stay.

    The mirror image of a photograph of a symmetric kind of body is a photograph that could have been taken.

    Args:
        symmetry: the partner of each template vertex on the other side; its own in the middle.
    """

    def turned_round(points: Tensor) -> Tensor:
        sign = points.new_ones(points.shape[-1])
        sign[0] = -1.0
        return points[:, symmetry] * sign

    weights, intrinsics = None if batch.weights is None else batch.weights[:, symmetry], batch.intrinsics
    if intrinsics is not None:
        intrinsics = intrinsics * intrinsics.new_tensor([1.0, 1.0, -1.0, 1.0]) + 0.0
    other = _with_points(batch, turned_round)
    return replace(other, visible=batch.visible[:, symmetry], weights=weights, intrinsics=intrinsics)


def mirrored(batch: KeypointBatch, symmetry: Int[Tensor, "k"], chosen: Bool[Tensor, "b"]) -> KeypointBatch:
    """The chosen instances as a mirror shows them, about the origin of the image."""
    other, mixed = mirror(batch, symmetry), dict[str, Any]()
    for name in ("keypoints", "visible", "weights", "intrinsics", "true_vertices"):
        own = getattr(batch, name)
        if own is not None:
            mixed[name] = torch.where(chosen.view(-1, *[1] * (own.dim() - 1)), getattr(other, name), own)
    return replace(batch, **mixed)


def turned(batch: KeypointBatch, angle: Float[Tensor, "b"]) -> KeypointBatch:
    """Each instance turned in the image, about its origin; the true shape turns with it.

    A network that reads the residual of the rigid fit sees no difference; one that reads keypoints does.
    """
    c, s = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)], -2)
    return _with_points(batch, lambda points: torch.cat([points[..., :2] @ rotation, points[..., 2:]], dim=2))


def _with_points(batch: KeypointBatch, change: Callable[[Tensor], Tensor]) -> KeypointBatch:
    """Keypoints and true vertices changed alike."""
    truth = None if batch.true_vertices is None else change(batch.true_vertices)
    return replace(batch, keypoints=change(batch.keypoints), true_vertices=truth)
