"""Poses of a body whose joints say what they are: automatic rigs, within the limits of their hinges."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from dp3d_data.geometry import Skeleton

KINDS = {"stand": 0.25, "walk": 0.35, "graze": 0.12, "look": 0.1, "lie": 0.06, "free": 0.12}
ENDINGS = ("_tilt", "_swing", "_turn")


def is_free(skeleton: Skeleton) -> bool:
    """Whether the hinges are named as `dp3d_data.geometry.rigging` names them."""
    return skeleton.num_hinges > 0 and all(name.endswith(ENDINGS) for name in skeleton.hinge_names)


def free_angles(
    rng: np.random.Generator, skeleton: Skeleton, kind: str
) -> tuple[Float[np.ndarray, "H"], tuple[float, float]]:
    """Angles of the hinges of a pose of one of KINDS, and pitch and roll of the whole body, radians.

    A chain bends as one: the joints of a neck, a spine or a tail turn to the same side, each with a little of its own.
    """
    chains, low, high = _chains(skeleton.hinge_names), *np.asarray(skeleton.hinge_range, dtype=np.float64).T
    share = np.zeros(skeleton.num_hinges)  # of the way from rest to a limit, -1..1
    for word, hinges in chains:
        share[hinges] = rng.normal(0, _spread(kind, word)) + rng.normal(0, 0.12, len(hinges))
    if kind == "walk":
        _gait(rng, skeleton.hinge_names, share)
    if kind == "graze":
        share[_named(skeleton.hinge_names, ("neck", "head"), "_swing")] = rng.uniform(0.5, 1.1)
    if kind == "look":
        share[_named(skeleton.hinge_names, ("neck", "head"), "_turn")] = rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
    share = np.clip(share, -1, 1)
    angles = np.where(share < 0, -share * low, share * high)
    roll = rng.choice([-1, 1]) * rng.uniform(1.1, 1.6) if kind == "lie" else rng.normal(0, 0.05)
    return angles, (float(rng.normal(0, 0.2 if kind == "free" else 0.06)), float(roll))


def _spread(kind: str, word: str) -> float:
    """Standard deviation of how far a chain bends, of its limits."""
    if kind == "free":
        return 0.6
    if word.startswith("leg"):
        return {"lie": 0.5, "walk": 0.1}.get(kind, 0.22)
    return 0.25 if word.startswith(("trunk", "spine")) else 0.4


def _gait(rng: np.random.Generator, names: tuple[str, ...], share: np.ndarray) -> None:
    """Legs in a cycle: the two of a row half a turn apart, each row a quarter or a half turn after the one before
    it."""
    start, reach, lag = rng.random(), rng.uniform(0.35, 0.9), rng.choice([0.25, 0.5])
    rows = sorted({_limb(name).rstrip("LR") for name in names if name.startswith("leg")})
    for hinge, name in enumerate(names):
        if not name.startswith("leg") or not name.endswith("_swing"):
            continue
        limb = _limb(name)
        phase = 2 * np.pi * (start + 0.5 * limb.endswith("R") + lag * rows.index(limb.rstrip("LR")))
        inner = _is_first(name)
        share[hinge] += reach * np.sin(phase) if inner else reach * max(0.0, np.cos(phase))


def _limb(hinge: str) -> str:
    """leg_front_L_2_swing -> leg_front_L."""
    return hinge.rpartition("_")[0].rstrip("0123456789").rstrip("_")


def _is_first(hinge: str) -> bool:
    number = hinge.rpartition("_")[0].rpartition("_")[2]
    return not number.isdigit() or int(number) == 1


def _named(names: tuple[str, ...], words: tuple[str, ...], ending: str) -> np.ndarray:
    return np.array([i for i, name in enumerate(names) if name.startswith(words) and name.endswith(ending)], dtype=int)


@lru_cache(maxsize=64)
def _chains(names: tuple[str, ...]) -> tuple[tuple[str, np.ndarray], ...]:
    """Limb and axis -> its hinges, from the inner joint outwards; a head belongs to its neck."""
    found: dict[tuple[str, str], list[int]] = {}
    for hinge, name in enumerate(names):
        limb = _limb(name).replace("head", "neck")
        found.setdefault((limb, name.rpartition("_")[2]), []).append(hinge)
    return tuple((limb, np.array(hinges)) for (limb, _), hinges in found.items())
