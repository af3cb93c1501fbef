"""Bodies in the proportions and features of breeds: scales of bones, and changes of the rest template."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from dp3d_data.geometry import Skeleton, Template
from dp3d_data.synthesis.effects import SolidNoise

# The first pattern that is found in the lower-case name decides.
PATTERNS = (
    ("ear", r"\bear|ear\d|_ear|^ear"),
    ("tail", r"tail|^ca_\d"),
    ("jaw", r"jaw|mandible"),
    ("head", r"head|skull"),
    ("neck", r"neck|^c_\d"),
    ("leg", r"leg|arm|hand|foot|paw|upper_|lower_|^ff|shin|thigh|calf"),
    ("toe", r"toe|finger"),
    ("shoulder", r"shoulder|scapula|clavicle"),
    ("trunk", r"torso|spine|pelvis|hip|body|back|chest|^l_\d|root"),
)


@lru_cache(maxsize=4096)
def joint_role(name: str) -> str:
    """ear, tail, jaw, head, neck, leg, toe, shoulder, trunk, or "other"."""
    text = name.lower()
    return next((role for role, pattern in PATTERNS if re.search(pattern, text)), "other")


def joint_roles(skeleton: Skeleton) -> tuple[str, ...]:
    """The role of every joint; names that say nothing inherit their parent's."""
    roles: list[str] = []
    for name, parent in zip(skeleton.names, skeleton.parents, strict=True):
        role = joint_role(name)
        roles.append(roles[parent] if role == "other" and parent >= 0 else role)
    return tuple(roles)


def role_weights(skeleton: Skeleton) -> dict[str, Float[np.ndarray, "K"]]:
    """How far each vertex belongs to each role, 0..1; zero for roles that the skeleton has not."""
    weights, roles = np.asarray(skeleton.weights, dtype=np.float64), np.array(joint_roles(skeleton))
    known = {role: weights[:, roles == role].sum(axis=1) for role in set(roles.tolist())}
    return defaultdict(lambda: np.zeros(len(weights)), known)


EYES = 0.5  # of the head's length, from the nose: where the muzzle begins


def featured(template: Template, proportions: Proportions) -> Float[np.ndarray, "K 3"]:
    """The rest vertices with the features of one animal."""
    points, share = template.vertices.astype(np.float64), role_weights(template.require_skeleton())
    head = share["head"] + share["jaw"]
    points = _muzzled(points, head, proportions.muzzle)
    points = _bellied(points, share["trunk"], proportions.waist)
    if proportions.floppy > 0:
        for side in (1, -1):
            points = _folded(points, share["ear"] * (side * template.vertices[:, 1] > 0), side, proportions)
    return points


def _muzzled(points: Float[np.ndarray, "K 3"], head: Float[np.ndarray, "K"], length: float) -> Float[np.ndarray, "K 3"]:
    """The face before the eyes longer or shorter; short ones are broad and turned up."""
    if not (head > 0.5).any() or length == 1:
        return points
    rear, front = points[head > 0.5, 0].min(), points[head > 0.5, 0].max()
    start = front - EYES * (front - rear)
    before = np.clip(points[:, 0] - start, 0, None) * head
    part = before / (front - start)
    broad = 1 + part * np.clip(0.5 * (1 - length), -0.15, 0.4)
    moved = points - np.outer(before * (1 - length), [1.0, 0, 0])
    moved[:, 1] *= broad
    moved[:, 2] += 0.25 * before * max(0.0, 0.8 - length)
    return moved


def _bellied(points: Float[np.ndarray, "K 3"], trunk: Float[np.ndarray, "K"], depth: float) -> Float[np.ndarray, "K 3"]:
    """The waist behind the ribs deeper and broader."""
    if not (trunk > 0.5).any() or depth == 1:
        return points
    low, high = np.quantile(points[trunk > 0.5, 0], [0.0, 1.0])
    back = points[trunk > 0.5, 2].max()
    along = (points[:, 0] - low) / (high - low)
    more = (depth - 1) * trunk * np.exp(-(((along - 0.42) / 0.22) ** 2))
    moved = points.copy()
    moved[:, 1] *= 1 + 0.6 * more
    moved[:, 2] += more * (points[:, 2] - back) * 0.8
    return moved


def _folded(
    points: Float[np.ndarray, "K 3"], ear: Float[np.ndarray, "K"], side: int, proportions: Proportions
) -> Float[np.ndarray, "K 3"]:
    """One ear bent over until its tip hangs: its cross-sections turn along an arc that starts at the crease."""
    if ear.sum() < 3 or ear.max() < 0.5:
        return points
    middle = np.average(points, axis=0, weights=1e-9 + (ear < 0.75) * (ear > 0.05) * ear)
    tip = points[np.argmax(np.linalg.norm(points - middle, axis=1) * (ear > 0.5))]
    length = np.linalg.norm(tip - middle)
    axis = (tip - middle) / length
    aside = np.array([0.9 * proportions.ear_forward, side * (1 - 0.7 * proportions.ear_forward), -1.0])
    aside -= (aside @ axis) * axis
    aside /= np.linalg.norm(aside)
    bend = proportions.floppy * 0.97 * np.arccos(np.clip(-axis[2], -1, 1))
    start, end = proportions.ear_crease, min(proportions.ear_crease + 0.35, 1.0)
    along = (points - middle) @ axis / length
    steps = np.linspace(0, 1, 33)
    angles = bend * np.clip((steps - start) / (end - start), 0, 1)
    path = length / 32 * np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
    path -= path[0]
    inside = np.clip(along, 0, 1)
    angle, forth, over = (np.interp(inside, steps, value) for value in (angles, *path.T))
    rest = points - middle - np.outer(inside * length, axis)
    along_axis, along_aside = rest @ axis, rest @ aside
    turned = rest + np.outer(along_axis * (np.cos(angle) - 1) - along_aside * np.sin(angle), axis)
    turned += np.outer(along_axis * np.sin(angle) + along_aside * (np.cos(angle) - 1), aside)
    # Ears that hang start lower.
    low = np.array([0.0, 0, -0.6]) * length * proportions.floppy * np.clip(0.3 - start, 0, 0.4)
    hung = middle + low + np.outer(forth, axis) + np.outer(over, aside) + turned
    return points + np.clip(2 * ear, 0, 1)[:, None] * (hung - points)


@dataclass(frozen=True)
class Proportions:
    """Lengths and girths of body parts relative to the template: (along, across) for each role.

    floppy: 0 for ears that stand, 1 for ears that hang; ear_crease: where they fold, 0 at their roots (below it: within
    the head), 1 at their tips; ear_forward: towards the side (0) or the eyes (1). tail_curl: carried low (-1), high
    (1), curled over the back (2). muzzle, waist: length of the muzzle and depth of the belly, relative. fluff: how far
    long hair stands off, template units; fur: the share of it on each role; sag: the share that hangs.
    """

    parts: dict[str, tuple[float, float]]
    floppy: float = 0.0
    ear_crease: float = 0.0
    ear_forward: float = 0.0
    tail_curl: float = 0.0
    muzzle: float = 1.0
    waist: float = 1.0
    fluff: float = 0.0
    fur: dict[str, float] = field(default_factory=dict)
    sag: float = 0.0


# Rough anchors of breeds (ours): leg length, body length, body girth, neck, head, muzzle, ear, tail.
BREEDS = {
    "dachshund": (0.50, 1.30, 1.05, 0.9, 1.05, 1.05, 1.3, 0.9),
    "corgi": (0.55, 1.15, 1.15, 0.9, 1.20, 0.85, 1.4, 0.5),
    "terrier": (0.80, 0.95, 1.10, 0.9, 1.25, 0.85, 0.9, 0.6),
    "pug": (0.72, 0.85, 1.30, 0.75, 1.30, 0.50, 0.8, 0.4),
    "bulldog": (0.68, 0.95, 1.40, 0.75, 1.35, 0.55, 0.8, 0.35),
    "chihuahua": (0.80, 0.85, 1.00, 0.9, 1.45, 0.65, 1.7, 0.7),
    "spitz": (0.85, 0.90, 1.25, 0.9, 1.15, 0.85, 0.9, 0.8),
    "hound": (0.95, 1.00, 1.00, 1.0, 1.00, 1.05, 1.6, 0.95),
    "retriever": (0.95, 1.00, 1.15, 1.0, 1.10, 0.90, 1.2, 0.95),
    "shepherd": (1.00, 1.05, 1.05, 1.05, 1.00, 1.00, 1.2, 1.0),
    "greyhound": (1.12, 1.00, 0.85, 1.15, 0.85, 1.15, 0.8, 1.0),
    "dane": (1.15, 0.95, 1.00, 1.15, 0.95, 0.95, 1.1, 0.9),
}


def random_proportions(rng: np.random.Generator, strength: float = 1.0) -> Proportions:
    """Between two breeds, with changes of every part of its own; strength 0 is the template's body."""
    anchors = np.array(list(BREEDS.values()))
    first, second = rng.integers(len(anchors), size=2)
    mix = rng.random()
    values = np.log(anchors[first]) * (1 - mix) + np.log(anchors[second]) * mix + rng.normal(0, 0.07, anchors.shape[1])
    leg, body, girth, neck, head, muzzle, ear, tail = np.exp(strength * values)
    thick = np.exp(strength * rng.normal(0.06, 0.15, 6))
    long_hair = max(0.0, rng.normal(0.2, 0.5))
    docked = strength if rng.random() < 0.12 else 0.0
    plume = abs(rng.normal(0, 0.35)) + 0.8 * min(long_hair, 1.0)
    parts = {
        "leg": (leg, girth**0.5 * thick[0]),
        "toe": (leg**0.3, girth**0.5 * thick[0]),
        "shoulder": (leg**0.5, girth),
        "trunk": (body, girth),
        "neck": (neck, girth**0.7 * thick[1]),
        "head": (head, head * thick[2] ** 0.5),
        "jaw": (head, head * thick[2] ** 0.5),
        "ear": (ear * thick[3], ear**0.7 * thick[4]),
        "tail": (tail * np.exp(strength * rng.normal(0, 0.2) - docked * rng.uniform(0.9, 2)), np.exp(strength * plume)),
    }
    ears = _random_ears(rng, strength)
    parts["ear"] = (parts["ear"][0] * (1 + 0.3 * ears["floppy"]), parts["ear"][1] * (1 + 0.15 * ears["floppy"]))
    return Proportions(
        parts,
        **ears,
        tail_curl=strength * float(rng.choice([rng.uniform(-1, 1), rng.uniform(1.3, 2.1)], p=[0.75, 0.25])),
        muzzle=float(muzzle),
        waist=float(np.exp(strength * rng.uniform(0, 0.5))),
        fluff=strength * 0.05 * min(long_hair, 1.0),
        fur={  # feathered legs and tails, ruffs, fringes
            "trunk": 1.0,
            "shoulder": 1.0,
            "neck": rng.uniform(0.6, 1.5),
            "tail": rng.uniform(0.3, 1.3),
            "leg": rng.uniform(0.1, 0.7),
            "head": rng.uniform(0.0, 0.4),
            "jaw": rng.uniform(0, 0.3),
            "ear": rng.uniform(0, 0.35),
        },
        sag=float(rng.uniform(0, 1)),
    )


def _random_ears(rng: np.random.Generator, strength: float) -> dict[str, float]:
    """Ears that stand, fold at their middle (button), or hang from their roots."""
    kind = rng.choice(("pricked", "button", "hanging", "between"), p=(0.27, 0.2, 0.38, 0.15))
    floppy = {
        "pricked": 0.0,
        "button": rng.uniform(0.75, 1),
        "hanging": rng.uniform(0.85, 1),
        "between": rng.uniform(0.2, 0.9),
    }[kind]
    crease = rng.uniform(0.3, 0.6) if kind == "button" else rng.uniform(-0.3, 0.15)
    forward = rng.uniform(0.5, 1) if kind == "button" else rng.uniform(0, 0.4)
    return {"floppy": strength * float(floppy), "ear_crease": float(crease), "ear_forward": float(forward)}


def joint_scales(skeleton: Skeleton, proportions: Proportions) -> Float[np.ndarray, "J 3"]:
    """The scales of every joint along its rest axes, for pose_vertices.

    A trunk and a head lie along the body (x of the template); the other parts along their bones: to the joint's
    children, at tips from its parent.
    """
    heads = np.asarray(skeleton.rest, dtype=np.float64)[:, :3, 3]
    directions = np.zeros_like(heads)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            directions[parent] += heads[joint] - heads[parent]
    for joint, parent in enumerate(skeleton.parents):
        if np.linalg.norm(directions[joint]) < 1e-6 and parent >= 0:
            directions[joint] = heads[joint] - heads[parent]
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
    scales = np.ones((skeleton.num_joints, 3))
    for joint, role in enumerate(joint_roles(skeleton)):
        along, across = proportions.parts.get(role, (1.0, 1.0))
        direction = np.array([1.0, 0, 0]) if role in ("trunk", "head", "jaw", "shoulder") else directions[joint]
        share = (np.asarray(skeleton.rest)[joint, :3, :3].T @ direction) ** 2
        scales[joint] = across + (along - across) * share
    return scales


def fur_offset(
    template: Template,
    vertices: Float[np.ndarray, "K 3"],
    normals: Float[np.ndarray, "K 3"],
    proportions: Proportions,
    noise: SolidNoise,
) -> Float[np.ndarray, "K 3"]:
    """The body with its long hair: vertices moved along their normals by lumps, and down where it hangs."""
    if proportions.fluff <= 0:
        return vertices
    lumps = 0.7 + 0.3 * noise(template.vertices, 14.0) + 0.2 * noise(template.vertices, 37.0)
    skeleton = template.require_skeleton()
    longest = np.array([proportions.fur.get(role, 0.25) for role in joint_roles(skeleton)])
    length = proportions.fluff * lumps * (np.asarray(skeleton.weights) @ longest)
    hanging = np.clip(0.4 - normals[:, 2], 0, 1) * proportions.sag
    moved = normals * (1 - 0.5 * hanging)[:, None] - np.array([0.5, 0, 1.0]) * hanging[:, None]
    return (vertices + length[:, None] * moved).astype(np.float32)
