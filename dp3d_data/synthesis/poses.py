"""Poses of an animal: gaits, sitting, lying, looking around, within the limits of its joints; and of automatic rigs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dp3d_data.geometry import Skeleton, hinges_to_rotations
from dp3d_data.geometry.skeleton import axis_angle_matrices
from dp3d_data.synthesis.proportions import Proportions

LUMBAR = ("L_1", "L_3", "L_5", "L_7")
WATCHING = 0.55  # of the animals turn the head to the viewer, where the neck allows it


def random_pose(
    rng: np.random.Generator,
    skeleton: Skeleton,
    proportions: Proportions,
    kinds: tuple[str, ...] = (),
    strength: float = 1.0,
    toward: tuple[float, float] = (0.0, 0.0),
) -> tuple[Float[np.ndarray, "J 3 3"], Float[np.ndarray, "3 3"], str]:
    """A pose from the skeleton's hinges, else a frame of its clips a little changed, else small turns.

    Args:
        kinds: of those in pose_kinds to draw from; none: all.
        strength: the share of every turn that is made; 0 is the rest pose.
        toward: azimuth (0 before the nose, towards the left side) and elevation of the viewer, radians.

    Returns:
        Rotations of the joints relative to rest, how the body stands in the template frame, and the kind of the pose.
    """
    shares = {kind: share for kind, share in pose_kinds(skeleton).items() if not kinds or kind in kinds}
    kind = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    stance = np.eye(3)
    if skeleton.num_hinges:
        if is_free(skeleton):
            angles, stance = free_angles(rng, skeleton, kind)
        else:
            angles, stance = hinge_angles(rng, skeleton, proportions, kind, toward)
        rotations = hinges_to_rotations(skeleton, angles)
    elif skeleton.clips:
        clip = skeleton.clips[kind]
        frame = clip.local_rotations[rng.integers(len(clip.times))]
        rotations = frame @ small_turns(rng, skeleton.num_joints, 0.04)
    else:
        rotations = small_turns(rng, skeleton.num_joints, 0.12)
    if strength != 1.0:
        rotations, stance = weakened(rotations, strength), weakened(stance, strength)
    return rotations, stance, kind


def pose_kinds(skeleton: Skeleton) -> dict[str, float]:
    """The kinds of poses of a skeleton and how often each is drawn: of its hinges, else its clips."""
    if is_free(skeleton):
        return FREE_KINDS
    if skeleton.num_hinges:
        return {kind: share for kind, (share, _) in POSES.items()}
    return dict.fromkeys(sorted(skeleton.clips), 1.0) or {"free": 1.0}


def weakened(rotations: Float[np.ndarray, "*N 3 3"], strength: float) -> Float[np.ndarray, "*N 3 3"]:
    """Rotations about the same axes by a share of their angles."""
    vectors = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec()
    return Rotation.from_rotvec(strength * vectors).as_matrix().reshape(rotations.shape)


def hinge_angles(
    rng: np.random.Generator, skeleton: Skeleton, proportions: Proportions, kind: str, toward: tuple[float, float]
) -> tuple[Float[np.ndarray, "H"], Float[np.ndarray, "3 3"]]:
    """Angles of the hinges of a pose of one of POSES, within their limits, and the stance; head, tail and ears vary."""
    angles = Angles(skeleton)
    pitch, roll = POSES[kind][1](rng, angles)
    _trunk(rng, angles)
    _head(rng, angles, toward, pitch)
    _tail(rng, angles, proportions.tail_curl, pitch)
    _ears(rng, angles)
    angles.add("", rng.normal(0, 0.04, skeleton.num_hinges))
    return np.clip(angles.values, *angles.range.T), stance_of(pitch, roll)


def stance_of(pitch: float, roll: float) -> Float[np.ndarray, "3 3"]:
    """How a body stands: nose up by pitch, then over to its side by roll, radians."""
    turns = axis_angle_matrices(np.array([[0.0, -1, 0], [1, 0, 0]]), np.array([pitch, roll]))
    return turns[0] @ turns[1]


class Angles:
    """Hinge angles, addressed by parts of the hinges' names."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.names, self.range = skeleton.hinge_names, np.asarray(skeleton.hinge_range, dtype=np.float64)
        self.values = np.zeros(len(self.names))

    def find(self, *words: str) -> np.ndarray:
        """Indices of the hinges whose names hold all the words."""
        return _hinges_with(self.names, words)

    def add(self, words: str, value) -> None:
        """Turn the hinges that hold all the words, separated by spaces, by a value each or all."""
        self.values[self.find(*words.split())] += value


@lru_cache(maxsize=1024)
def _hinges_with(names: tuple[str, ...], words: tuple[str, ...]) -> np.ndarray:
    return np.array([i for i, name in enumerate(names) if all(word in name for word in words)], dtype=int)


def hind_leg(angles: Angles, side: str, hip: float, knee: float, ankle: float) -> None:
    """Hip forward, knee folded, heel folded: radians, all positive."""
    angles.add(f"hip_{side}_extend", -hip)
    angles.add(f"knee_{side}", -knee)
    angles.add(f"ankle_{side}", -ankle)


def fore_leg(angles: Angles, side: str, shoulder: float, elbow: float, wrist: float) -> None:
    """Shoulder forward, elbow folded, wrist folded: radians, all positive."""
    angles.add(f"scapula_{side}_extend", -0.3 * shoulder)
    angles.add(f"shoulder_{side}_extend", -0.7 * shoulder)
    angles.add(f"elbow_{side}", -elbow)
    angles.add(f"wrist_{side}", -wrist)


def _stand(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    for side in "LR":
        bend = abs(rng.normal(0, 0.2))
        hind_leg(angles, side, rng.normal(0.1, 0.2) + bend, 0.8 * bend, 0.6 * bend)
        fore_leg(angles, side, rng.normal(0, 0.15), abs(rng.normal(0, 0.1)), 0.0)
        angles.add(f"hip_{side}_abduct", rng.normal(0.03, 0.06))
        angles.add(f"scapula_{side}_abduct", rng.normal(0.02, 0.06))
    return rng.normal(0, 0.05), rng.normal(0, 0.03)


def _gait(rng: np.random.Generator, angles: Angles, swing: float, lag: float) -> tuple[float, float]:
    """Legs in a cycle: left and right half a turn apart, fore legs `lag` turns after the hind legs."""
    start, swing = rng.random(), swing * rng.uniform(0.6, 1.3)
    for offset, side in ((0.0, "L"), (0.5, "R")):
        phase = 2 * np.pi * (start + offset)
        lifted = max(0.0, np.cos(phase))
        hind_leg(angles, side, 0.12 + swing * np.sin(phase), 0.15 + 1.2 * swing * lifted, 0.1 + swing * lifted)
        phase += 2 * np.pi * lag
        lifted = max(0.0, np.cos(phase))
        fore_leg(angles, side, swing * np.sin(phase), 1.5 * swing * lifted, 1.6 * swing * lifted)
    return rng.normal(0, 0.05), rng.normal(0, 0.03)


def _sit(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    pitch = rng.uniform(0.6, 0.95)
    bend, spread = rng.uniform(0.85, 1.05), abs(rng.normal(0.15, 0.15))
    for part in LUMBAR:
        angles.add(f"{part}_extend", -rng.uniform(0.02, 0.16))
    for side in "LR":
        hind_leg(angles, side, 1.3 * bend, 1.65 * bend, 0.7 * bend)
        angles.add(f"hip_{side}_abduct", spread + rng.normal(0, 0.08))
        fore_leg(angles, side, -0.8 * pitch + rng.normal(0, 0.08), rng.uniform(0, 0.12), 0.0)
    for number in (1, 3, 5, 7, 9):
        angles.add(f"Ca_{number}_extend", 0.25 * pitch)
    return pitch, rng.normal(0, 0.06)


def _lie(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    """As a sphinx, on the side, or curled up."""
    how = rng.choice(("sphinx", "side", "curled"), p=(0.6, 0.25, 0.15))
    bend = rng.uniform(0.3, 1.0) if how == "side" else rng.uniform(0.9, 1.05)
    reach = rng.uniform(0, 0.7) if how == "sphinx" else 0.0  # fore legs stretched forward
    for side in "LR":
        own = bend * rng.uniform(0.85, 1.1)
        hind_leg(angles, side, 1.5 * own, 2.0 * own, 1.5 * own)
        fore_leg(angles, side, 0.1 + reach + rng.normal(0, 0.15), (1.45 - 0.8 * reach) * own, rng.uniform(0, 0.2))
        angles.add(f"hip_{side}_abduct", abs(rng.normal(0.2, 0.2)))
    side = rng.choice([-1, 1])
    if how == "curled":
        for part in LUMBAR:
            angles.add(f"{part}_bend", side * rng.uniform(0.25, 0.37))
        angles.add("C_5_bend", -side * 0.5)
    rolls = {
        "sphinx": rng.normal(0, 0.12),
        "side": side * rng.uniform(1.2, 1.6),
        "curled": side * rng.uniform(0.3, 1.3),
    }
    return rng.normal(0, 0.06), rolls[str(how)]


def _bow(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    pitch = -rng.uniform(0.2, 0.5)
    for side in "LR":
        hind_leg(angles, side, -pitch + rng.normal(0.1, 0.1), rng.uniform(0, 0.3), 0.1)
        fore_leg(angles, side, -pitch + rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.9), 0.0)
    return pitch, rng.normal(0, 0.04)


def _jump(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    """Taking off with the hind legs stretched back, or landing with all four before the body."""
    rising = rng.random() < 0.5
    pitch = rng.uniform(0.1, 0.6) if rising else rng.uniform(-0.5, 0.1)
    for side in "LR":
        own = rng.normal(0, 0.1)
        hind = (-0.5, 0.1, 0.1) if rising else (0.9, 0.8, 0.5)
        hind_leg(angles, side, hind[0] + own, hind[1] + abs(own), hind[2])
        reach, fold = (0.9, 0.9) if rising else (1.0, 0.2)
        fore_leg(angles, side, reach + rng.normal(0, 0.15), fold * rng.uniform(0.3, 1.3), rng.uniform(0, 0.8) * fold)
    return pitch, rng.normal(0, 0.1)


def _rear(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    """On the hind legs, as a dog that begs or leans on something."""
    pitch = rng.uniform(0.8, 1.3)
    for side in "LR":
        hip, knee, ankle = 0.75 * pitch + rng.normal(0, 0.12), *0.5 * np.abs(rng.normal(1, 0.4, 2))
        hind_leg(angles, side, hip, knee, ankle)
        fore_leg(angles, side, rng.uniform(0.2, 1.1), rng.uniform(0.1, 1.4), rng.uniform(0, 1.0))
        angles.add(f"hip_{side}_abduct", abs(rng.normal(0.08, 0.08)))
    return pitch, rng.normal(0, 0.08)


def _beg(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    """Sitting upright, the fore legs folded before the chest."""
    pitch, spread = rng.uniform(0.95, 1.3), abs(rng.normal(0.2, 0.15))
    for side in "LR":
        hind_leg(angles, side, 1.5 + rng.normal(0, 0.1), 1.8, 0.8)
        angles.add(f"hip_{side}_abduct", spread)
        fore_leg(angles, side, rng.uniform(-0.2, 0.9), rng.uniform(0.6, 1.7), rng.uniform(0.3, 1.5))
    for number in (1, 3, 5, 7, 9):
        angles.add(f"Ca_{number}_extend", 0.25 * pitch)
    return pitch, rng.normal(0, 0.06)


def _free(rng: np.random.Generator, angles: Angles) -> tuple[float, float]:
    """A few hinges of the legs strongly, the rest weakly."""
    legs = angles.find("_L") if rng.random() < 0.5 else angles.find("_R")
    chosen = rng.choice(legs, size=min(4, len(legs)), replace=False)
    low, high = angles.range[chosen].T
    _gait(rng, angles, 0.4, rng.random())
    angles.values[chosen] += 0.6 * rng.uniform(low, high)
    return rng.normal(0, 0.3), rng.normal(0, 0.25)


# Kind -> how often it is drawn, and what places the legs.
POSES: dict[str, tuple[float, Callable[[np.random.Generator, Angles], tuple[float, float]]]] = {
    "stand": (0.24, _stand),
    "walk": (0.13, partial(_gait, swing=0.38, lag=0.25)),
    "trot": (0.08, partial(_gait, swing=0.55, lag=0.5)),
    "sit": (0.2, _sit),
    "lie": (0.18, _lie),
    "bow": (0.03, _bow),
    "jump": (0.03, _jump),
    "rear": (0.03, _rear),
    "beg": (0.03, _beg),
    "free": (0.05, _free),
}


def _trunk(rng: np.random.Generator, angles: Angles) -> None:
    for part in LUMBAR:
        angles.add(f"{part}_bend", rng.normal(0, 0.06))
        angles.add(f"{part}_extend", rng.normal(0, 0.05))
    bend = rng.normal(0, 0.1)
    for part in LUMBAR:
        angles.add(f"{part}_bend", bend)


def _head(rng: np.random.Generator, angles: Angles, toward: tuple[float, float], pitch: float) -> None:
    """The neck's turns: to the viewer, or anywhere; the head of a body that is pitched stays about level."""
    azimuth, elevation = toward
    lower = rng.choice([rng.normal(0.25, 0.4), rng.uniform(0.5, 2.4)], p=[0.85, 0.15]) + 0.9 * pitch
    turn = rng.normal(0, 0.6)
    if abs(azimuth) < 2.2 and rng.random() < WATCHING:
        turn, lower = azimuth + rng.normal(0, 0.2), pitch - elevation + rng.normal(0.1, 0.2)
    base = rng.uniform(0.3, 1) if lower < 0 else rng.uniform(0, 0.6)  # the share of the neck's root in it
    for part, share in (("C_7", base), ("C_5", base), ("C_3", 2 - base), ("C_1", 2 - base)):
        angles.add(f"{part}_extend", share * lower / 4)
    for part in ("C_7_bend", "C_5_bend", "C_6_twist", "C_4_twist", "C_2_twist"):
        share = 0.12 if part == "C_5_bend" else 0.3
        angles.add(part, share * turn + rng.normal(0, 0.05))  # an upright neck turns the head by its twist
    angles.add("C_1_bend", rng.normal(0, 0.15))
    angles.add("atlas", rng.normal(0.05, 0.15))
    angles.add("mandible", rng.choice([-0.05, rng.uniform(0.03, 0.26)], p=[0.55, 0.45]))


def _tail(rng: np.random.Generator, angles: Angles, curl: float, pitch: float) -> None:
    lift, wag = 0.12 * curl + rng.normal(0.02, 0.05), rng.normal(0, 0.07)
    if pitch > 0.4:  # the ground bears it
        lift, wag = max(lift, 0.03), 2 * wag
    extend = angles.find("Ca_", "extend")
    angles.values[extend] += lift * np.linspace(1.2, 0.8, len(extend))
    angles.add("Ca_ bend", wag)


def _ears(rng: np.random.Generator, angles: Angles) -> None:
    laid_back = rng.choice([0.0, rng.uniform(0, 0.6)], p=[0.7, 0.3])
    for side in "LR":
        angles.add(f"ear_{side}_droop", laid_back + rng.normal(0, 0.1))
        angles.add(f"ear_{side}_fold", rng.normal(0, 0.15))


def small_turns(rng: np.random.Generator, joints: int, spread: float) -> Float[np.ndarray, "J 3 3"]:
    """Random rotations about random axes; `spread` is the standard deviation of the angle, radians."""
    axes = rng.normal(size=(joints, 3))
    axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-9)
    return axis_angle_matrices(axes, rng.normal(0, spread, joints))


FREE_KINDS = {"stand": 0.25, "walk": 0.35, "graze": 0.12, "look": 0.1, "lie": 0.06, "free": 0.12}
ENDINGS = ("_tilt", "_swing", "_turn")


def is_free(skeleton: Skeleton) -> bool:
    """Whether the hinges are named as `dp3d_data.geometry.rigging` names them."""
    return skeleton.num_hinges > 0 and all(name.endswith(ENDINGS) for name in skeleton.hinge_names)


def free_angles(
    rng: np.random.Generator, skeleton: Skeleton, kind: str
) -> tuple[Float[np.ndarray, "H"], Float[np.ndarray, "3 3"]]:
    """Angles of the hinges of a pose of one of FREE_KINDS, radians, and the stance.

    A chain bends as one: the joints of a neck, a spine or a tail turn to the same side, each with a little of its own.
    """
    chains, low, high = _chains(skeleton.hinge_names), *np.asarray(skeleton.hinge_range, dtype=np.float64).T
    share = np.zeros(skeleton.num_hinges)  # of the way from rest to a limit, -1..1
    for word, hinges in chains:
        share[hinges] = rng.normal(0, _spread(kind, word)) + rng.normal(0, 0.12, len(hinges))
    if kind == "walk":
        _free_gait(rng, skeleton.hinge_names, share)
    if kind == "graze":
        share[_named(skeleton.hinge_names, ("neck", "head"), "_swing")] = rng.uniform(0.5, 1.1)
    if kind == "look":
        share[_named(skeleton.hinge_names, ("neck", "head"), "_turn")] = rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
    share = np.clip(share, -1, 1)
    angles = np.where(share < 0, -share * low, share * high)
    roll = rng.choice([-1, 1]) * rng.uniform(1.1, 1.6) if kind == "lie" else rng.normal(0, 0.05)
    return angles, stance_of(rng.normal(0, 0.2 if kind == "free" else 0.06), roll)


def _spread(kind: str, word: str) -> float:
    """Standard deviation of how far a chain bends, of its limits."""
    if kind == "free":
        return 0.6
    if word.startswith("leg"):
        return {"lie": 0.5, "walk": 0.1}.get(kind, 0.22)
    return 0.25 if word.startswith(("trunk", "spine")) else 0.4


def _free_gait(rng: np.random.Generator, names: tuple[str, ...], share: np.ndarray) -> None:
    """Legs in a cycle: two of a row half a turn apart, each row a quarter or half turn after the last."""
    start, reach, lag = rng.random(), rng.uniform(0.35, 0.9), rng.choice([0.25, 0.5])
    rows = sorted({_limb(name).rstrip("LR") for name in names if name.startswith("leg")})
    for hinge, name in enumerate(names):
        if not name.startswith("leg") or not name.endswith("_swing"):
            continue
        limb = _limb(name)
        phase = 2 * np.pi * (start + 0.5 * limb.endswith("R") + lag * rows.index(limb.rstrip("LR")))
        number = name.rpartition("_")[0].rpartition("_")[2]
        inner = not number.isdigit() or int(number) == 1
        share[hinge] += reach * np.sin(phase) if inner else reach * max(0.0, np.cos(phase))


def _limb(hinge: str) -> str:
    """leg_front_L_2_swing -> leg_front_L."""
    return hinge.rpartition("_")[0].rstrip("0123456789").rstrip("_")


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
