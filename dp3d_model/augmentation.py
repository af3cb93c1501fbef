"""What the network is shown of an instance in training: less of it, and noisier, than what it is compared with (ours)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LEAST_VISIBLE = 4


def hide_at_random(visible: Bool[Tensor, "n k"], largest: float, generator: torch.Generator) -> Bool[Tensor, "n k"]:
    """Hide a random share, up to `largest`, of each instance's visible vertices; at least four of them stay."""
    share = largest * torch.rand(len(visible), 1, generator=generator)
    order = torch.where(visible, torch.rand(visible.shape, generator=generator), 2.0)
    kept = visible & (order >= share)
    return torch.where(kept.sum(1, keepdim=True) >= LEAST_VISIBLE, kept, visible)


def shake(
    keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"], largest: float, generator: torch.Generator
) -> Float[Tensor, "n k 2"]:
    """Add Gaussian noise to keypoints, of a standard deviation drawn for each instance up to `largest` sides of its box.

    The box is the one around the visible keypoints, its side the longer one.
    """
    shown = visible[..., None]
    high = torch.where(shown, keypoints, -torch.inf).amax(1)
    low = torch.where(shown, keypoints, torch.inf).amin(1)
    side = (high - low).amax(1)
    spread = largest * torch.rand(len(keypoints), generator=generator) * side
    return keypoints + spread[:, None, None] * torch.randn(keypoints.shape, generator=generator)
