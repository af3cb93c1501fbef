"""A skeleton for a bare mesh: limbs found on its surface, bones in their middles, soft skin."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.geometry.bones import (
    Limb,
    find_limbs,
    name_limbs,
    pruned,
    remoteness,
    skin_weights,
    with_bones,
)
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.geometry.skeleton import Skeleton, ancestors
from dp3d_data.geometry.template import Template, component_labels

SHORTEST = 0.03  # least rise of a limb, template units
AXES = {"tilt": (1.0, 0, 0), "swing": (0, 1.0, 0), "turn": (0, 0, 1.0)}
# Limits of the hinges in radians by the kind of limb (ours): (tilt, swing, turn) of the first joint and of those after
# it. A positive swing moves a hanging limb back and a forward one down.
Limits = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
LIMITS: dict[str, tuple[Limits, Limits]] = {
    "leg": (((-0.2, 0.2), (-0.7, 0.7), (-0.15, 0.15)), ((0, 0), (-0.25, 0.9), (0, 0))),
    "arm": (((-0.7, 0.7), (-0.7, 0.7), (-0.7, 0.7)), ((-0.4, 0.4), (-0.5, 0.5), (-0.4, 0.4))),
    "trunk": (((-0.1, 0.1), (-0.2, 0.2), (-0.25, 0.25)), ((-0.1, 0.1), (-0.15, 0.15), (-0.2, 0.2))),
    "spine": (((-0.1, 0.1), (-0.2, 0.2), (-0.25, 0.25)), ((-0.1, 0.1), (-0.15, 0.15), (-0.2, 0.2))),
    "neck": (((-0.25, 0.25), (-0.35, 0.5), (-0.5, 0.5)), ((-0.2, 0.2), (-0.3, 0.4), (-0.35, 0.35))),
    "muzzle": (((0, 0), (-0.1, 0.1), (0, 0)), ((0, 0), (0, 0), (0, 0))),
    "ear": (((-0.3, 0.3), (-0.3, 0.3), (-0.3, 0.3)), ((-0.2, 0.2), (-0.2, 0.2), (-0.2, 0.2))),
    "tail": (((-0.3, 0.3), (-0.5, 0.5), (-0.5, 0.5)), ((-0.2, 0.2), (-0.4, 0.4), (-0.4, 0.4))),
    "limb": (((-0.4, 0.4), (-0.4, 0.4), (-0.4, 0.4)), ((-0.3, 0.3), (-0.3, 0.3), (-0.3, 0.3))),
}


def rigged(template: Template) -> Template:
    """The template with a skeleton of its own; one that has a skeleton is returned as it is.

    The limbs are those parts of the surface that are far from all of it (see `find_limbs`), their bones run through the
    middles of their slices, and skin weights spread from bone to bone like heat. Where the template knows its symmetry,
    left and right are mirror images. Joints are named for what they are (leg_front_L_1, neck_2, tail_1), which the
    poses, proportions and coats of the synthetic world read, and carry hinges with limits named *_tilt (about x),
    *_swing (y), *_turn (z). The template should lie in its frame: x forward, y left, z up. The mesh, and so the vertex
    ids, stay.

    Returns:
        The same mesh with joints; parts that are not connected to the largest follow its nearest bones.
    """
    from scipy.spatial import cKDTree

    if template.skeleton is not None:
        return template
    labels = component_labels(template.num_vertices, template.faces)
    kept = np.flatnonzero(labels == np.bincount(labels).argmax()) if labels.max() > 0 else None
    body = template if kept is None else _part(template, kept)
    points, areas = body.vertices.astype(np.float64), body.vertex_areas
    values = remoteness(geodesic_distances(body), areas)
    if body.symmetry is not None:
        values = (values + values[body.symmetry]) / 2
    limbs = with_bones(find_limbs(values, body.faces, SHORTEST), points, values, areas, body.symmetry)
    weights = skin_weights(limbs, points, body.faces, values)
    names, parents, heads, partner = _joints(limbs, body.vertices)
    if body.symmetry is not None:
        weights = (weights + weights[body.symmetry][:, partner]) / 2
    trunk = [joint for joint, name in enumerate(names) if name.startswith(("trunk", "spine"))]
    parents, heads = rerooted(parents, heads, _middle(weights[:, trunk], body, trunk))
    order = sorted(range(len(parents)), key=lambda joint: (len(ancestors(joint, parents)), joint))
    place = np.argsort(order)
    parents = np.array([place[parents[joint]] if parents[joint] >= 0 else -1 for joint in order], dtype=np.int32)
    weights = pruned(weights[:, order])
    if kept is not None:
        weights = weights[cKDTree(body.vertices).query(template.vertices)[1]]
    rest = np.tile(np.eye(4, dtype=np.float32), (len(order), 1, 1))
    rest[:, :3, 3] = heads[order]
    joint_names = tuple(names[joint] for joint in order)
    return replace(template, skeleton=Skeleton(joint_names, parents, rest, weights, **hinges_of(joint_names, parents)))


def _joints(limbs: list[Limb], vertices: Float[np.ndarray, "K 3"]):
    """Names, parents, places and mirrored joints of all joints, limb after limb."""
    first = np.cumsum([0, *(limb.bones for limb in limbs)])
    names, parents, partner = [], [], []
    for place, (limb, name) in enumerate(zip(limbs, name_limbs(limbs, vertices), strict=True)):
        names += [f"{name}_{number}" if limb.bones > 1 else name for number in range(1, limb.bones + 1)]
        inner = int(first[limb.inner + 1]) - 1 if limb.inner >= 0 else -1
        parents += [inner, *range(int(first[place]), int(first[place + 1]) - 1)]
        partner += list(range(first[limb.twin], first[limb.twin] + limb.bones))
        if name == "neck":
            names[-1] = "head"
    return names, parents, np.concatenate([limb.joints[:-1] for limb in limbs]), partner


def _middle(weights: np.ndarray, body: Template, joints: list[int]) -> int:
    """The joint whose skin lies nearest to the middle of the skin of all of them."""
    mass = weights * body.vertex_areas[:, None]
    centres = mass.T @ body.vertices / np.maximum(mass.sum(axis=0), 1e-12)[:, None]
    middle = mass.sum(axis=1) @ body.vertices / mass.sum()
    return joints[int(np.linalg.norm(centres - middle, axis=1).argmin())]


def rerooted(
    parents: list[int], heads: Float[np.ndarray, "J 3"], root: int
) -> tuple[list[int], Float[np.ndarray, "J 3"]]:
    """The tree of joints hung up at another one: a link that turns round keeps its place."""
    turned, moved = list(parents), heads.copy()
    for joint, inner in pairwise(ancestors(root, parents)):
        turned[inner], moved[inner] = joint, heads[joint]
    turned[root] = -1
    return turned, moved


def hinges_of(names: tuple[str, ...], parents: Int[np.ndarray, "J"]) -> dict[str, Any]:
    """The hinges of joints named as `rigged` names them: fields of a Skeleton. The root has none."""
    joints, axes, ranges, hinge_names = [], [], [], []
    for joint, name in enumerate(names):
        for word, limits in zip(AXES, limits_of(name), strict=True):
            if parents[joint] >= 0 and limits[1] > limits[0]:
                joints.append(joint)
                axes.append(AXES[word])
                ranges.append(limits)
                hinge_names.append(f"{name}_{word}")
    return {
        "hinge_joint": np.array(joints, dtype=np.int32),
        "hinge_axis": np.array(axes, dtype=np.float32).reshape(-1, 3),
        "hinge_range": np.array(ranges, dtype=np.float32).reshape(-1, 2),
        "hinge_names": tuple(hinge_names),
    }


def limits_of(name: str) -> Limits:
    """The limits of tilt, swing and turn of a joint, from its name."""
    word = "neck" if name == "head" else name.partition("_")[0].rstrip("0123456789")
    number = name.rpartition("_")[2]
    inner, outer = LIMITS.get(word, LIMITS["limb"])
    later = name == "head" or (number.isdigit() and int(number) > 1)
    tilt, swing, turn = outer if later else inner
    if word == "leg" and "hind" in name and number.isdigit() and int(number) > 2:
        swing = -swing[1], -swing[0]  # a hock folds forward
    return tilt, swing, turn


def _part(template: Template, kept: np.ndarray) -> Template:
    place = np.full(template.num_vertices, -1)
    place[kept] = np.arange(len(kept))
    faces = place[template.faces[(place[template.faces] >= 0).all(axis=1)]]
    symmetry = None if template.symmetry is None else place[template.symmetry[kept]]
    if symmetry is not None and (symmetry < 0).any():
        symmetry = None
    return Template(template.name, template.vertices[kept], faces, symmetry=symmetry)
