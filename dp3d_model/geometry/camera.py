"""Rotations of the camera: from six numbers, drawn at random; and the closed-form camera of the rigid template."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dp3d_data.geometry.rigid_camera import Camera, fit_camera, orthonormal_rows

__all__ = [
    "Camera",
    "fit_camera",
    "orthonormal_rows",
    "random_rotations",
    "refine_rotation",
    "rotation_from",
    "rotation_from_6d",
    "rotation_from_log",
    "rotation_size",
    "skew",
]


def rotation_from_6d(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations from six unconstrained numbers, by Gram-Schmidt on two rows; zeros give the identity (ours)."""
    a = six[..., :3] + six.new_tensor([1.0, 0.0, 0.0])
    b = six[..., 3:] + six.new_tensor([0.0, 1.0, 0.0])
    first = torch.nn.functional.normalize(a, dim=-1)
    second = torch.nn.functional.normalize(b - (first * b).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def random_rotations(count: int, law: str, generator: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Random rotations: "uniform-angle" (C3DPO: axis uniform, angle uniform in 0..pi) or "uniform" over all
    rotations."""
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


def rotation_size(form: str) -> int:
    """How many numbers a rotation takes in a form."""
    return {"6d": 6, "log": 3}[form]


def rotation_from(numbers: Float[Tensor, "*batch d"], form: str) -> Float[Tensor, "*batch 3 3"]:
    """Rotations from numbers: "6d" (rotation_from_6d) or "log" (C3DPO: axis times angle); zeros give the identity."""
    return rotation_from_6d(numbers) if form == "6d" else rotation_from_log(numbers)


def rotation_from_log(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula: rotations about the vectors by their length in radians."""
    square = vector.square().sum(-1)[..., None, None]
    small = square < 1e-6
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    sine = torch.where(small, 1.0 - square / 6.0, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - square / 24.0, (1.0 - angle.cos()) / angle.square())
    cross = skew(vector)
    return torch.eye(3).to(vector) + sine * cross + cosine * cross @ cross


def refine_rotation(
    rotation: Float[Tensor, "n 3 3"],
    posed: Float[Tensor, "n k 3"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    steps: int,
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n"]]:
    """Cameras moved by Gauss-Newton steps to where the posed bodies fit their keypoints best (ours); no gradient flows.

    Each step solves for a turn about the camera's axes and a scale, the translation solved along: with P = R X centred
    on the visible vertices, the x, y of P move by (w_y z - w_z y, w_z x - w_x z) + s (x, y).

    Returns:
        The rotations and the factors of the scales.
    """
    share = visible.to(posed.dtype) / visible.sum(1, keepdim=True).clamp_min(1)
    with torch.no_grad():
        scale = torch.ones_like(posed[:, 0, 0])
        target = keypoints - (share[:, None] @ keypoints)
        for _ in range(steps):
            placed = scale[:, None, None] * posed @ rotation.transpose(1, 2)
            placed = placed - share[:, None] @ placed
            x, y, z = placed.unbind(2)
            o = torch.zeros_like(x)
            rows = torch.stack([torch.stack([o, z, -y, x], -1), torch.stack([-z, o, x, y], -1)], 2)
            weighted = (rows * share[..., None, None]).flatten(1, 2)
            gram = weighted.transpose(1, 2) @ rows.flatten(1, 2)
            gram = gram + 1e-4 * torch.eye(4).to(gram)
            right = weighted.transpose(1, 2) @ (target - placed[..., :2]).flatten(1)[..., None]
            step = torch.linalg.solve(gram, right)[..., 0].clamp(-0.5, 0.5)
            rotation = rotation_from_log(step[:, :3]) @ rotation
            scale = scale * (1.0 + step[:, 3])
        return rotation, scale
