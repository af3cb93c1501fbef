"""A body model: a surface that betas shape and joints pose by linear blend skinning; families and mirrors of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import InputCorrupt, ShapeError
from dp3d_data.geometry.symmetry import mirrored_vertices
from dp3d_data.geometry.template import Template, make_template
from dp3d_data.unpickling import read_pickle

KINDS = ("smpl", "smal")
NUMBERS = ("template", "shape_basis", "pose_basis", "joint_regressor", "weights", "scale_basis")
# What the dogs' limb scales move: name, joints of the 35-joint SMAL dog, axes of the model frame (x along the body, z
# up). WLDO's six and BITE's seventh.
_LEGS = (*range(7, 15), *range(17, 25))
_TAIL = tuple(range(25, 32))
DOG_SCALES = (
    ("legs length", _LEGS, (2,)),
    ("legs thickness", _LEGS, (0, 1)),
    ("tail length", _TAIL, (0,)),
    ("tail thickness", _TAIL, (1, 2)),
    ("ears width", (33, 34), (1,)),
    ("ears length", (33, 34), (2,)),
    ("head length", (16, 32), (0,)),
)
DOG_JOINTS = 35


@dataclass(frozen=True, eq=False)
class BodyModel:
    """The arrays of a body model, float64, in the model's own frame, metres.

    template [K, 3]: the surface at zero betas in the rest pose. faces [F, 3]. shape_basis [K, 3, B]: displacement of
    each vertex per unit of each beta. pose_basis [K, 3, 9 (J - 1)]: displacement per element of (rotation - identity)
    of the joints without the root, row by row; None for a model without. joint_regressor [J, K]: joints from the shaped
    surface. parents [J]: -1 for the root, which is joint 0; parents stand before children. weights [K, J]: rows sum to
    1. scale_basis [J, 3, L]: what each limb-scale parameter adds to the logarithm of a joint's scale along each axis;
    scale_joints names the parameters; both None where the model has none.
    """

    name: str
    kind: str
    template: Float[np.ndarray, "K 3"]
    faces: Int[np.ndarray, "F 3"]
    shape_basis: Float[np.ndarray, "K 3 B"]
    pose_basis: Float[np.ndarray, "K 3 P"] | None
    joint_regressor: Float[np.ndarray, "J K"]
    parents: Int[np.ndarray, "J"]
    weights: Float[np.ndarray, "K J"]
    scale_joints: tuple[str, ...] | None = None
    scale_basis: Float[np.ndarray, "J 3 L"] | None = None

    def __post_init__(self) -> None:
        for name in NUMBERS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        for name in ("faces", "parents"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.int32))
        _check_shapes(self)
        _check_values(self)

    @property
    def num_vertices(self) -> int:
        return len(self.template)

    @property
    def num_joints(self) -> int:
        return len(self.parents)

    @property
    def num_betas(self) -> int:
        return self.shape_basis.shape[2]

    @property
    def num_scales(self) -> int:
        return 0 if self.scale_basis is None else self.scale_basis.shape[2]


def rest_template(model: BodyModel) -> Template:
    """The surface at zero betas in the rest pose as a template of the model's name, in metres.

    Its axes are the model's own: a point of the model frame is factor * point + center. No symmetry, no skeleton.
    """
    return make_template(model.name, model.template, model.faces, unit="m")


def joint_scales(model: BodyModel, log_scales: Float[np.ndarray, "N L"]) -> Float[np.ndarray, "N J 3"]:
    """The scale of each joint along each axis from the limb-scale parameters that fits of dogs carry.

    Args:
        model: one with limb scales.
        log_scales: natural logarithms, in the order of model.scale_joints; fewer than the model has stand for zeros
            behind.

    Raises:
        ShapeError: the model has no limb scales, or fewer than are given.
    """
    values = np.asarray(log_scales, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] > model.num_scales:
        expected = f"[N, at most {model.num_scales}]: {', '.join(model.scale_joints or ('this model has none',))}"
        raise ShapeError("limb scales do not fit the model", got=values.shape, expected=expected)
    if model.scale_basis is None:
        return np.ones((len(values), model.num_joints, 3))
    return np.exp(np.einsum("jal,nl->nja", model.scale_basis[:, :, : values.shape[1]], values))


def dog_scale_basis() -> Float[np.ndarray, "J 3 L"]:
    """The limb scales of the 35-joint SMAL dog: WLDO's six (legs, tail, ears) and BITE's seventh (head)."""
    basis = np.zeros((DOG_JOINTS, 3, len(DOG_SCALES)))
    for number, (_, joints, axes) in enumerate(DOG_SCALES):
        basis[np.ix_(joints, axes, [number])] = 1
    return basis


def _check_shapes(model: BodyModel) -> None:
    vertices, joints = len(model.template), len(model.parents)
    wanted = {
        "template": (vertices, 3),
        "faces": (len(model.faces), 3),
        "shape_basis": (vertices, 3, *model.shape_basis.shape[2:3]),
        "pose_basis": (vertices, 3, 9 * (joints - 1)),
        "joint_regressor": (joints, vertices),
        "parents": (joints,),
        "weights": (vertices, joints),
        "scale_basis": (joints, 3, len(model.scale_joints or ())),
    }
    for name, shape in wanted.items():
        value = getattr(model, name)
        if value is not None and (value.shape != shape or (name == "shape_basis" and value.ndim != 3)):
            raise ShapeError(f"a body model's {name} does not fit its other arrays", got=value.shape, expected=shape)
    if (model.scale_joints is None) != (model.scale_basis is None):
        raise ShapeError("limb scales need names and a basis", got=model.scale_joints)


def _check_values(model: BodyModel) -> None:
    parents = model.parents
    if model.kind not in KINDS:
        raise ShapeError("no such kind of body model", got=repr(model.kind), expected=" or ".join(KINDS))
    later = parents[1:]
    if not len(parents) or parents[0] != -1 or not ((later >= 0) & (later < np.arange(1, len(parents)))).all():
        expected = "-1 for joint 0, then parents before children"
        raise ShapeError("the joints are no tree", got=parents.tolist(), expected=expected)
    if len(model.faces) and not 0 <= model.faces.min() <= model.faces.max() < model.num_vertices:
        got = f"{model.faces.min()} to {model.faces.max()}"
        raise ShapeError("a face names no vertex", got=got, expected=model.num_vertices)
    for name in NUMBERS:
        value = getattr(model, name)
        if value is not None and not np.isfinite(value).all():
            raise ShapeError(f"a body model's {name} holds NaN or infinity")
    sums = model.weights.sum(axis=1)
    if not np.allclose(sums, 1, atol=1e-2):
        raise ShapeError("the rows of the skin weights do not sum to 1", got=f"{sums.min():.4g} to {sums.max():.4g}")


MEANS = "cluster_means"


def family_model(model: BodyModel, path: str | Path, family: int) -> BodyModel:
    """The model with the mean figure of a family as its surface at zero betas, as SMALify has it.

    Args:
        path: the pickle of SMAL's families: my_smpl_data_00781_4_all.pkl.
        family: 0 cats, 1 dogs, 2 horses, 3 cows, 4 hippos.

    Raises:
        InputMissing, InputCorrupt, UnsafePickle, CheckpointError: no such file, or without families.
        ShapeError: no such family, or means of another number of betas than the model's.
    """
    content = read_pickle(path)
    means = content.get(MEANS) if isinstance(content, dict) else None
    if not isinstance(means, np.ndarray) or means.ndim != 2 or means.dtype.kind != "f":
        got = ", ".join(map(str, content))[:200] if isinstance(content, dict) else type(content).__name__
        raise InputCorrupt("no families of shapes", got=got, expected=f"{MEANS} [families, betas]", path=path)
    if not 0 <= family < len(means) or means.shape[1] > model.num_betas:
        got = f"family {family} of {means.shape[1]} betas"
        expected = f"family 0 to {len(means) - 1} of at most {model.num_betas} betas"
        raise ShapeError("a family that does not fit the model", got=got, expected=expected)
    return replace(model, template=model.template + model.shape_basis[..., : means.shape[1]] @ means[family])


def symmetric_model(model: BodyModel) -> BodyModel:
    """The model with an exactly symmetric surface at zero betas, as SMALify and WLDO make it.

    The mean of all coordinates is taken from each of them; the middle line is moved to y = 0; what lies beyond it
    becomes the mirror image of what lies at negative y. So the surface moves, too: fits place the moved one.

    Raises:
        ShapeError: the surface has no left and right.
    """
    mirror = mirrored_vertices(model.template, model.faces)
    if mirror is None:
        raise ShapeError("this body model has no left and right to make symmetric", got=model.name)
    surface = model.template - model.template.mean()
    middle = mirror == np.arange(len(mirror))
    surface[:, 1] -= surface[middle, 1].mean() if middle.any() else 0.0
    surface[middle, 1] = 0
    copied = surface[mirror] * (1, -1, 1)
    beyond = surface[:, 1] > surface[mirror, 1]
    return replace(model, template=np.where(beyond[:, None], copied, surface))
