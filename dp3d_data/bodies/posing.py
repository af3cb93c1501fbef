"""Body models posed in torch: shape and pose blendshapes, limb scales, linear blend skinning, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import roma
import torch
from jaxtyping import Float

from dp3d_data.bodies.model import BodyModel
from dp3d_data.errors import ShapeError


@dataclass(frozen=True, eq=False)
class BodyTensors:
    """A body model's arrays on a device, with the joints' own shape basis worked out."""

    template: Float[torch.Tensor, "K 3"]
    shape_basis: Float[torch.Tensor, "B flat"]
    pose_basis: Float[torch.Tensor, "P flat"] | None
    joints: Float[torch.Tensor, "J 3"]
    joint_basis: Float[torch.Tensor, "B joints"]
    weights: Float[torch.Tensor, "K J"]
    parents: tuple[int, ...]


def body_tensors(
    model: BodyModel, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> BodyTensors:
    """The model ready to be posed: make it once where many batches are posed."""

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype, device=device)

    betas, pose = model.num_betas, model.pose_basis
    joint_basis = np.einsum("jk,kab->jab", model.joint_regressor, model.shape_basis)
    return BodyTensors(
        template=tensor(model.template),
        shape_basis=tensor(model.shape_basis.reshape(3 * model.num_vertices, betas).T),
        pose_basis=None if pose is None else tensor(pose.reshape(3 * model.num_vertices, pose.shape[2]).T),
        joints=tensor(model.joint_regressor @ model.template),
        joint_basis=tensor(joint_basis.reshape(3 * model.num_joints, betas).T),
        weights=tensor(model.weights),
        parents=tuple(model.parents.tolist()),
    )


def pose_body(
    model: BodyModel | BodyTensors,
    pose: Any,
    betas: Any = None,
    translation: Any = None,
    joint_scales: Any = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Float[torch.Tensor, "N K 3"]:
    """The surface of a body in each of N poses (SMPL, equations 2 to 10; the limb scales are WLDO's).

    Args:
        model: the model, or its tensors, which bring their own device and type.
        pose: [N, J, 3] axis-angle in radians or [N, J, 3, 3] rotations, each relative to the joint's parent, root
            first.
        betas: [N, at most B]; those not given are 0.
        translation: [N, 3] metres, added at the end.
        joint_scales: [N, J, 3], stretch of each joint's skin and of the offsets to its children along the axes of the
            model frame at rest, not of the children themselves; 1 where not given.
        device, dtype: where and how exactly to work.

    Returns:
        Vertices in the model frame, metres. Differentiable in every tensor that is given.

    Raises:
        ShapeError: arrays that do not fit the model or each other.
    """
    body = body_tensors(model, device, dtype) if isinstance(model, BodyModel) else model
    joints = len(body.parents)
    rotations = torch.as_tensor(pose, dtype=body.template.dtype, device=body.template.device)
    if tuple(rotations.shape[1:]) not in ((joints, 3), (joints, 3, 3)):
        expected = f"[N, {joints}, 3] axis-angle or [N, {joints}, 3, 3] rotations"
        raise ShapeError("pose of another shape", got=tuple(rotations.shape), expected=expected)
    rotations = rotations if rotations.ndim == 4 else roma.rotvec_to_rotmat(rotations)
    count = len(rotations)
    shape = _given(body, betas, (count, None), "betas")
    if shape is not None and shape.shape[1] > len(body.shape_basis):
        expected = f"at most {len(body.shape_basis)}"
        raise ShapeError("more betas than the model has", got=shape.shape[1], expected=expected)
    scales = _given(body, joint_scales, (count, joints, 3), "joint_scales")
    surface, places = _shaped(body, shape, count)
    if body.pose_basis is not None:
        bend = rotations[:, 1:] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        surface = surface + (bend.reshape(count, 9 * joints - 9) @ body.pose_basis).reshape(count, *body.template.shape)
    posed = _blend(body, surface, places, *_chain(body, rotations, places, scales))
    shift = _given(body, translation, (count, 3), "translation")
    return posed if shift is None else posed + shift[:, None]


def _given(body: BodyTensors, value: Any, shape: tuple[int | None, ...], name: str) -> torch.Tensor | None:
    """An argument as a tensor like the body's; None in a shape stands for any length."""
    if value is None:
        return None
    tensor = torch.as_tensor(value, dtype=body.template.dtype, device=body.template.device)
    if tensor.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, tensor.shape, strict=True)):
        raise ShapeError(f"{name} of another shape", got=tuple(tensor.shape), expected=shape)
    return tensor


def _shaped(
    body: BodyTensors, betas: torch.Tensor | None, count: int
) -> tuple[Float[torch.Tensor, "N K 3"], Float[torch.Tensor, "N J 3"]]:
    """Surface and joints at rest with the betas' shape."""
    if betas is None:
        return body.template.expand(count, -1, 3), body.joints.expand(count, -1, 3)
    given = betas.shape[1]
    surface = body.template + (betas @ body.shape_basis[:given]).reshape(count, *body.template.shape)
    return surface, body.joints + (betas @ body.joint_basis[:given]).reshape(count, *body.joints.shape)


def _chain(
    body: BodyTensors, rotations: torch.Tensor, places: torch.Tensor, scales: torch.Tensor | None
) -> tuple[Float[torch.Tensor, "N J 3 3"], Float[torch.Tensor, "N J 3"]]:
    """Each joint's map of directions (its rotation times its scale) and its place in the pose."""
    turned: list[torch.Tensor] = []
    linear: list[torch.Tensor] = []
    moved: list[torch.Tensor] = []
    for joint, parent in enumerate(body.parents):
        turn, place = rotations[:, joint], places[:, joint]
        if parent >= 0:
            turn = turned[parent] @ turn
            offset = (place - places[:, parent])[:, :, None]
            place = moved[parent] + (linear[parent] @ offset)[:, :, 0]
        turned.append(turn)
        linear.append(turn if scales is None else turn * scales[:, joint, None, :])
        moved.append(place)
    return torch.stack(linear, dim=1), torch.stack(moved, dim=1)


def _blend(
    body: BodyTensors, surface: torch.Tensor, places: torch.Tensor, linear: torch.Tensor, moved: torch.Tensor
) -> Float[torch.Tensor, "N K 3"]:
    """Each vertex moves by the weighted mean of its joints' motions."""
    shift = moved - (linear @ places[..., None])[..., 0]
    motion = torch.cat([linear, shift[..., None]], dim=-1).flatten(2)
    mixed = (body.weights @ motion).unflatten(-1, (3, 4))
    return (mixed[..., :3] @ surface[..., None])[..., 0] + mixed[..., 3]
