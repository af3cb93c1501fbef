"""A skeleton and what it does to a surface: joints with limits and clips, linear blend skinning."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import TemplateError


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

    def index(self, name: str) -> int:
        """The joint of that name.

        Raises:
            TemplateError: no such joint.
        """
        if name not in self.names:
            raise TemplateError("no such joint", got=name, expected=", ".join(self.names))
        return self.names.index(name)


def skeleton_arrays(skeleton: Skeleton) -> dict[str, np.ndarray]:
    """The skeleton as named arrays, for an .npz file."""
    arrays = {
        "skeleton/names": np.array(skeleton.names, dtype=np.str_),
        "skeleton/hinge_names": np.array(skeleton.hinge_names, dtype=np.str_),
        "skeleton/clip_names": np.array(list(skeleton.clips), dtype=np.str_),
    }
    for name in ("parents", "rest", "weights", "hinge_joint", "hinge_axis", "hinge_range"):
        arrays[f"skeleton/{name}"] = getattr(skeleton, name)
    for number, clip in enumerate(skeleton.clips.values()):
        for name in ("times", "local_rotations", "root_translation"):
            arrays[f"clip/{number}/{name}"] = getattr(clip, name)
    return arrays


def skeleton_from_arrays(arrays: dict[str, np.ndarray]) -> Skeleton | None:
    """The inverse of skeleton_arrays; None where the arrays hold no skeleton."""
    if "skeleton/names" not in arrays:
        return None
    clips = {}
    for number, name in enumerate(arrays["skeleton/clip_names"].tolist()):
        parts = ("times", "local_rotations", "root_translation")
        clips[name] = Clip(**{part: arrays[f"clip/{number}/{part}"] for part in parts})
    fields = ("parents", "rest", "weights", "hinge_joint", "hinge_axis", "hinge_range")
    return Skeleton(
        names=tuple(arrays["skeleton/names"].tolist()),
        hinge_names=tuple(arrays["skeleton/hinge_names"].tolist()),
        clips=clips,
        **{name: arrays[f"skeleton/{name}"] for name in fields},
    )
