"""Bones inside the limbs of a bare surface: paths through their middles, and what each bone moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.geometry.laplacian import laplacian_matrices
from dp3d_data.geometry.limbs import Limb

SLICES = 12
BONE = 0.13  # usual length of a bone, template units
MOST_BONES = 5
REACH = 0.022  # how far skin around a joint is shared, template units
SMALLEST_WEIGHT = 0.02
MIRROR = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Chain:
    """The bones of one limb: joints [n, 3] from its inner end outwards, the end of the last bone, and n + 1 falling levels.

    Bone i moves the limb's vertices whose remoteness lies between levels[i] and levels[i + 1].
    """

    joints: Float[np.ndarray, "n 3"]
    end: Float[np.ndarray, "3"]
    levels: Float[np.ndarray, "m"]


def middle_path(limb: Limb, points: Float[np.ndarray, "K 3"], values: Float[np.ndarray, "K"], areas: Float[np.ndarray, "K"]) -> np.ndarray:
    """SLICES + 1 points [S, 3] through a limb from its inner end outwards: middles of its slices of equal remoteness."""
    own, height = limb.vertices, values[limb.vertices]
    levels = np.linspace(limb.bottom, limb.top, SLICES + 1)
    width = max((limb.top - limb.bottom) / SLICES, 1e-9)
    near = np.exp(-(((height[None] - levels[:, None]) / width) ** 2)) * areas[own] + 1e-30
    return (near / near.sum(axis=1, keepdims=True)) @ points[own]


def partners(limbs: list[Limb], symmetry: Int[np.ndarray, "K"] | None) -> Int[np.ndarray, "limbs"]:
    """The limb on the other side of each limb: itself in the middle of the body, and where no symmetry is known."""
    own = np.arange(len(limbs))
    if symmetry is None:
        return own
    label = np.zeros(len(symmetry), dtype=int)
    for place, limb in enumerate(limbs):
        label[limb.vertices] = place
    other = np.array([np.bincount(label[symmetry[limb.vertices]], minlength=len(limbs)).argmax() if len(limb.vertices) else place
                      for place, limb in enumerate(limbs)])
    return np.where(other[other] == own, other, own)


def chains_of(
    limbs: list[Limb],
    points: Float[np.ndarray, "K 3"],
    values: Float[np.ndarray, "K"],
    areas: Float[np.ndarray, "K"],
    other: Int[np.ndarray, "limbs"],
    symmetric: bool,
) -> list[Chain]:
    """The bones of every limb, mirror images of each other on both sides of a symmetric body; the trunk has one joint."""
    paths = [middle_path(limb, points, values, areas) for limb in limbs]
    if symmetric:
        paths = [(path + MIRROR * paths[other[place]]) / 2 for place, path in enumerate(paths)]
    found = []
    for place, limb in enumerate(limbs):
        twin = limbs[other[place]]
        bottom, top = (limb.bottom + twin.bottom) / 2, (limb.top + twin.top) / 2
        path = paths[place]
        if limb.inner < 0:
            path = np.repeat(path.mean(axis=0, keepdims=True), len(path), axis=0)
        found.append(_chain(path, bottom, top))
    return found


def _chain(path: np.ndarray, bottom: float, top: float) -> Chain:
    """Joints at equal distances along a path."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    count = int(np.clip(round(along[-1] / BONE), 1, MOST_BONES))
    wanted = along[-1] * np.arange(count + 1) / count
    places = np.interp(wanted, along, np.arange(len(path))) if along[-1] > 0 else np.linspace(0, len(path) - 1, count + 1)
    spots = np.stack([np.interp(places, np.arange(len(path)), path[:, axis]) for axis in range(3)], axis=1)
    return Chain(spots[:-1], spots[-1], bottom + (top - bottom) * places / (len(path) - 1))


def skin_weights(
    limbs: list[Limb],
    chains: list[Chain],
    vertices: Float[np.ndarray, "K 3"],
    faces: Int[np.ndarray, "F 3"],
    values: Float[np.ndarray, "K"],
) -> Float[np.ndarray, "K J"]:
    """Each vertex belongs to one bone, then the bones' shares spread like heat over the surface (ours).

    Two implicit steps of (M + REACH^2 L)^-1 M keep the shares of a vertex between 0 and 1 with sum 1. Columns are the
    bones, limb after limb.
    """
    from scipy.sparse.linalg import splu

    first = np.cumsum([0, *(len(chain.joints) for chain in chains)])
    shares = np.zeros((len(vertices), first[-1]))
    for place, (limb, chain) in enumerate(zip(limbs, chains, strict=True)):
        bone = np.clip(np.searchsorted(chain.levels, values[limb.vertices], side="right") - 1, 0, len(chain.joints) - 1)
        shares[limb.vertices, first[place] + bone] = 1
    laplacian, mass = laplacian_matrices(vertices, faces)
    heat = splu((mass + REACH**2 * laplacian).tocsc())
    for _ in range(2):
        shares = heat.solve(mass @ shares)
    return shares


def pruned(weights: Float[np.ndarray, "K J"]) -> Float[np.ndarray, "K J"]:
    """Without shares below SMALLEST_WEIGHT; rows sum to 1."""
    kept = np.where(weights >= SMALLEST_WEIGHT, weights, 0)
    return (kept / kept.sum(axis=1, keepdims=True)).astype(np.float32)
