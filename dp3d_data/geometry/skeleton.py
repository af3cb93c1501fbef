"""A skeleton and what it does to a surface: joints with limits and clips, linear blend skinning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import ShapeError, TemplateError

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template


@dataclass(frozen=True)
class Clip:
    """A recorded motion.

    times [T] are seconds; local_rotations [T, J, 3, 3] are relative to rest, in each joint's own rest frame;
    root_translation [T, 3] is the displacement of the root from rest, template units, template frame.
    """

    times: Float[np.ndarray, "T"]
    local_rotations: Float[np.ndarray, "T J 3 3"]
    root_translation: Float[np.ndarray, "T 3"]


@dataclass(frozen=True)
class Skeleton:
    """Joints of a template, parents before children.

    names: one per joint. parents [J]: index of the parent, -1 for a root. rest [J, 4, 4]: template_from_joint, rigid,
    template units. weights [K, J]: skin weights, rows sum to 1. Hinges (joint limits known): hinge_joint [H],
    hinge_axis [H, 3] unit vectors in the joint's frame, hinge_range [H, 2] radians, hinge_names; several hinges of one
    joint turn it one after the other in their order, each in the frame that the hinges before it have turned.
    """

    names: tuple[str, ...]
    parents: Int[np.ndarray, "J"]
    rest: Float[np.ndarray, "J 4 4"]
    weights: Float[np.ndarray, "K J"]
    hinge_joint: Int[np.ndarray, "H"] = field(default_factory=lambda: np.zeros(0, np.int32))
    hinge_axis: Float[np.ndarray, "H 3"] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    hinge_range: Float[np.ndarray, "H 2"] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    hinge_names: tuple[str, ...] = ()
    clips: dict[str, Clip] = field(default_factory=dict)

    def __post_init__(self) -> None:
        joints = len(self.names)
        shapes = (np.shape(self.parents), np.shape(self.rest), np.shape(self.weights)[1:])
        if shapes != ((joints,), (joints, 4, 4), (joints,)):
            raise TemplateError("a skeleton's arrays disagree on the number of joints", got=shapes, expected=joints)
        if (np.asarray(self.parents) >= np.arange(joints)).any():
            raise TemplateError("a joint stands before its parent", expected="parents before children, -1 for roots")
        if not np.allclose(np.sum(self.weights, axis=1), 1, atol=1e-4):
            raise TemplateError("skin weights do not sum to 1 at every vertex")
        hinges = len(self.hinge_names)
        if (len(self.hinge_joint), len(self.hinge_axis), len(self.hinge_range)) != (hinges,) * 3:
            raise TemplateError("a skeleton's arrays disagree on the number of hinges", expected=hinges)

    @property
    def num_joints(self) -> int:
        return len(self.names)

    @property
    def num_hinges(self) -> int:
        return len(self.hinge_names)


def ancestors(node: int, parents: Sequence[int] | Mapping[int, int]) -> list[int]:
    """A node of a tree and those above it up to the root, whose parent is negative."""
    way = [node]
    while parents[way[-1]] >= 0:
        way.append(parents[way[-1]])
    return way


CLIP_ARRAYS = ("times", "local_rotations", "root_translation")
ARRAYS = ("parents", "rest", "weights", "hinge_joint", "hinge_axis", "hinge_range")


def skeleton_arrays(skeleton: Skeleton) -> dict[str, np.ndarray]:
    """The skeleton as named arrays, for an .npz file."""
    arrays = {
        "skeleton/names": np.array(skeleton.names, dtype=np.str_),
        "skeleton/hinge_names": np.array(skeleton.hinge_names, dtype=np.str_),
        "skeleton/clip_names": np.array(list(skeleton.clips), dtype=np.str_),
    }
    for name in ARRAYS:
        arrays[f"skeleton/{name}"] = getattr(skeleton, name)
    for number, clip in enumerate(skeleton.clips.values()):
        for name in CLIP_ARRAYS:
            arrays[f"clip/{number}/{name}"] = getattr(clip, name)
    return arrays


def skeleton_from_arrays(arrays: dict[str, np.ndarray]) -> Skeleton | None:
    """The inverse of skeleton_arrays; None where the arrays hold no skeleton."""
    if "skeleton/names" not in arrays:
        return None
    clips = {
        name: Clip(*(arrays[f"clip/{number}/{part}"] for part in CLIP_ARRAYS))
        for number, name in enumerate(arrays["skeleton/clip_names"].tolist())
    }
    return Skeleton(
        names=tuple(arrays["skeleton/names"].tolist()),
        hinge_names=tuple(arrays["skeleton/hinge_names"].tolist()),
        clips=clips,
        **{name: arrays[f"skeleton/{name}"] for name in ARRAYS},
    )


def pose_vertices(
    template: Template,
    local_rotations: Float[np.ndarray, "*N J 3 3"],
    joint_scales: Float[np.ndarray, "..."] | float = 1.0,
    root_translation: Float[np.ndarray, "..."] | float = 0.0,
) -> Float[np.ndarray, "*N K 3"]:
    """Pose the template by linear blend skinning.

    Args:
        template: a template with a skeleton.
        local_rotations: rotation of each joint relative to rest, in the joint's own rest frame; one pose or a batch.
        joint_scales: [J], [J, 3] or with a leading batch: stretch of each joint's segment along its rest axes. The
            skin bound to the joint and the offsets to its children stretch; the children themselves do not.
        root_translation: [3] or [N, 3], displacement of the root, template units, template frame.

    Returns:
        Vertex positions in the template frame, template units, float32. Identity rotations give the template.

    Raises:
        TemplateError: the template has no skeleton.
        ShapeError: not one rotation for each joint.
    """
    skeleton = template.require_skeleton()
    rotations = np.asarray(local_rotations, dtype=np.float64)
    if rotations.shape[-3:] != (skeleton.num_joints, 3, 3) or rotations.ndim not in (3, 4):
        expected = f"[{skeleton.num_joints}, 3, 3] or a batch of it"
        raise ShapeError("one rotation for each joint", got=rotations.shape, expected=expected)
    batch = rotations.reshape(-1, skeleton.num_joints, 3, 3)
    scales = _full_scales(joint_scales, batch.shape[0], skeleton.num_joints)
    posed = joint_frames(skeleton, batch, scales, root_translation)
    vertices = _blend(template.vertices, skeleton, posed, scales)
    return vertices.reshape(*rotations.shape[:-3], template.num_vertices, 3)


def joint_frames(
    skeleton: Skeleton,
    rotations: Float[np.ndarray, "N J 3 3"],
    scales: Float[np.ndarray, "N J 3"],
    root_translation: Float[np.ndarray, "..."] | float = 0.0,
) -> Float[np.ndarray, "N J 4 4"]:
    """Forward kinematics: template_from_joint of every joint in every pose (rigid; scales move the children only)."""
    rest = np.asarray(skeleton.rest, dtype=np.float64)
    shift = np.broadcast_to(np.asarray(root_translation, dtype=np.float64), (len(rotations), 3))
    posed = np.zeros((*rotations.shape[:2], 4, 4))
    posed[..., 3, 3] = 1
    parent_from_joint = np.linalg.inv(rest)[skeleton.parents] @ rest
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            posed[:, joint, :3, :3] = rest[joint, :3, :3] @ rotations[:, joint]
            posed[:, joint, :3, 3] = rest[joint, :3, 3] + shift
            continue
        local, above = parent_from_joint[joint], posed[:, parent, :3, :3]
        posed[:, joint, :3, :3] = above @ local[:3, :3] @ rotations[:, joint]
        offset = scales[:, parent] * local[:3, 3]
        posed[:, joint, :3, 3] = posed[:, parent, :3, 3] + (above @ offset[:, :, None])[:, :, 0]
    return posed


def hinges_to_rotations(skeleton: Skeleton, angles: Float[np.ndarray, "*N H"]) -> Float[np.ndarray, "*N J 3 3"]:
    """Rotations of the joints from hinge angles in radians; joints without hinges do not turn.

    Raises:
        ShapeError: not one angle for each hinge.
    """
    angles = np.asarray(angles, dtype=np.float64)
    if angles.shape[-1:] != (skeleton.num_hinges,):
        raise ShapeError("one angle for each hinge", got=angles.shape, expected=f"[{skeleton.num_hinges}]")
    turns = axis_angle_matrices(np.asarray(skeleton.hinge_axis, dtype=np.float64), angles)
    rotations = np.broadcast_to(np.eye(3), (*angles.shape[:-1], skeleton.num_joints, 3, 3)).copy()
    for hinge, joint in enumerate(skeleton.hinge_joint):
        rotations[..., joint, :, :] = rotations[..., joint, :, :] @ turns[..., hinge, :, :]
    return rotations


def axis_angle_matrices(
    axes: Float[np.ndarray, "H 3"], angles: Float[np.ndarray, "*N H"]
) -> Float[np.ndarray, "*N H 3 3"]:
    """Rotation matrices about unit axes (Rodrigues' formula)."""
    cross = np.zeros((len(axes), 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -axes[:, 2], axes[:, 1], -axes[:, 0]
    cross -= cross.transpose(0, 2, 1)
    sine, cosine = np.sin(angles)[..., None, None], np.cos(angles)[..., None, None]
    return np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)


def _full_scales(scales, poses: int, joints: int) -> Float[np.ndarray, "N J 3"]:
    scales = np.asarray(scales, dtype=np.float64)
    if scales.shape[-1:] != (3,) or scales.shape[-2:-1] != (joints,):
        scales = scales[..., None]
    try:
        return np.broadcast_to(scales, (poses, joints, 3))
    except ValueError as error:
        expected = f"[{joints}], [{joints}, 3] or a batch of either"
        raise ShapeError("one scale for each joint", got=scales.shape[:-1], expected=expected) from error


def _blend(vertices: np.ndarray, skeleton: Skeleton, posed: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Each vertex moves by the weighted mean of its joints' motions."""
    stretched = posed[..., :3, :].copy()
    stretched[..., :3] *= scales[:, :, None, :]
    joint_from_template = np.linalg.inv(np.asarray(skeleton.rest, dtype=np.float64))
    motion = (stretched @ joint_from_template).astype(np.float32)
    weights = np.asarray(skeleton.weights, dtype=np.float32)
    mixed = (weights @ motion.reshape(len(motion), skeleton.num_joints, 12)).reshape(len(motion), -1, 3, 4)
    return np.einsum("nkab,kb->nka", mixed[..., :3], vertices) + mixed[..., 3]
