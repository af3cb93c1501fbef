"""What the network is shown of an instance in training: less of it, and noisier, than what it is compared with (ours)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

LEAST_VISIBLE = 4
# Laplace-Beltrami functions that a smooth error is made of.
WAVES = 24


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
    spread = largest * torch.rand(len(keypoints), generator=generator) * box_side(keypoints, visible)
    return keypoints + spread[:, None, None] * torch.randn(keypoints.shape, generator=generator)


def warp(
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    largest: float,
    functions: Float[Tensor, "k j"],
    generator: torch.Generator,
) -> Float[Tensor, "n k 2"]:
    """Move keypoints by a smooth field over the template, as a network errs: whole limbs at a time.

    The field is a random combination of the first Laplace-Beltrami functions, of a standard deviation drawn for each instance up to
    `largest` sides of its box.
    """
    waves = functions[:, 1 : 1 + WAVES]
    waves = waves / waves.square().mean(0, keepdim=True).sqrt().clamp_min(1e-9) / waves.shape[1] ** 0.5
    spread = largest * torch.rand(len(keypoints), generator=generator) * box_side(keypoints, visible)
    amounts = torch.randn(len(keypoints), waves.shape[1], 2, generator=generator)
    return keypoints + spread[:, None, None] * torch.einsum("kw,nwc->nkc", waves, amounts)


def box_side(keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"]) -> Float[Tensor, "n"]:
    """The longer side of the box around the visible keypoints."""
    shown = visible[..., None]
    high = torch.where(shown, keypoints, -torch.inf).amax(1)
    low = torch.where(shown, keypoints, torch.inf).amin(1)
    return (high - low).amax(1)


def mirror(
    points: Float[Tensor, "n k c"], visible: Bool[Tensor, "n k"], symmetry: Int[Tensor, "k"]
) -> tuple[Float[Tensor, "n k c"], Bool[Tensor, "n k"]]:
    """Instances as a mirror shows them, keypoints or vertices in the camera frame: x turned round, and each in the place of its partner."""
    sign = points.new_ones(points.shape[-1])
    sign[0] = -1.0
    return points[:, symmetry] * sign, visible[:, symmetry]


def mirrored(
    points: Float[Tensor, "n k c"], visible: Bool[Tensor, "n k"], symmetry: Int[Tensor, "k"], chosen: Bool[Tensor, "n"]
) -> tuple[Float[Tensor, "n k c"], Bool[Tensor, "n k"]]:
    """The chosen instances as a mirror shows them.

    The mirror image of a photograph of a symmetric kind of body is a photograph that could have been taken.

    Args:
        symmetry: the partner of each template vertex on the other side; its own in the middle.
    """
    other, shown = mirror(points, visible, symmetry)
    return torch.where(chosen[:, None, None], other, points), torch.where(chosen[:, None], shown, visible)


def half(count: int, generator: torch.Generator) -> Bool[Tensor, "n"]:
    """A random half of some instances."""
    return torch.rand(count, generator=generator) < 0.5


def angles(count: int, largest: float, generator: torch.Generator) -> Float[Tensor, "n"]:
    """Random angles of up to `largest` degrees either way, radians."""
    return torch.deg2rad(largest * (2.0 * torch.rand(count, generator=generator) - 1.0))


def turned(points: Float[Tensor, "n k c"], angle: Float[Tensor, "n"]) -> Float[Tensor, "n k c"]:
    """Each instance turned in the image.

    A network that reads the residual of the rigid fit sees no difference; one that reads keypoints does.
    """
    c, s = angle.cos(), angle.sin()
    flat = points[..., :2] @ torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)], -2)
    return torch.cat([flat, points[..., 2:]], dim=2)
