"""Rotations of the camera: from six numbers, drawn at random; and the closed-form camera of the rigid template."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dp3d_data.bodies.rigid_camera import Camera, fit_camera, orthonormal_rows

__all__ = ["Camera", "fit_camera", "orthonormal_rows", "random_rotations", "rotation_from_6d", "skew"]


def rotation_from_6d(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations from six unconstrained numbers, by Gram-Schmidt on two rows; zeros give the identity (ours)."""
    a = six[..., :3] + six.new_tensor([1.0, 0.0, 0.0])
    b = six[..., 3:] + six.new_tensor([0.0, 1.0, 0.0])
    first = torch.nn.functional.normalize(a, dim=-1)
    second = torch.nn.functional.normalize(b - (first * b).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def random_rotations(count: int, law: str, generator: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Random rotations: "uniform-angle" (C3DPO: axis uniform, angle uniform in 0..pi) or "uniform" over all rotations."""
    if law == "uniform":
        q = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1)
        w, v = q[:, :1, None], q[:, 1:]
    else:
        v = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
        angle = torch.rand(count, 1, generator=generator) * torch.pi
        w, v = (angle / 2).cos()[..., None], v * (angle / 2).sin()
    cross = skew(v)
    return torch.eye(3) + 2.0 * w * cross + 2.0 * cross @ cross


def skew(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix of the cross product with v."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*v.shape[:-1], 3, 3)
