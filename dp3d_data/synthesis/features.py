"""Features of breeds that bones cannot make: ears that fold, muzzles, bellies. Changes of the rest template's vertices."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dp3d_data.geometry import Template
from dp3d_data.synthesis.proportions import Proportions
from dp3d_data.synthesis.roles import role_weights

EYES = 0.5  # of the head's length, from the nose: where the muzzle begins


def featured(template: Template, proportions: Proportions) -> Float[np.ndarray, "K 3"]:
    """The rest vertices with the features of one animal."""
    points, share = template.vertices.astype(np.float64), role_weights(template.skeleton)
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


def _folded(points: Float[np.ndarray, "K 3"], ear: Float[np.ndarray, "K"], side: int, proportions: Proportions) -> Float[np.ndarray, "K 3"]:
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
    low = np.array([0.0, 0, -0.6]) * length * proportions.floppy * np.clip(0.3 - start, 0, 0.4)  # ears that hang start lower
    hung = middle + low + np.outer(forth, axis) + np.outer(over, aside) + turned
    return points + np.clip(2 * ear, 0, 1)[:, None] * (hung - points)
