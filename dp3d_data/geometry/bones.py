"""Limbs of a bare surface, bones through their middles, what each bone moves, and names of limbs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.geometry.laplacian import laplacian_matrices
from dp3d_data.geometry.skeleton import ancestors

SLICES = 12
BONE = 0.13  # usual length of a bone, template units
MOST_BONES = 5
REACH = 0.022  # how far skin around a joint is shared, template units
SMALLEST_WEIGHT = 0.02
MIRROR = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Limb:
    """A part of a surface between its farthest point, or where others end in it, and where it ends itself.

    vertices: its own, without those of the limbs that end in it. tip: the vertex of it and them that is farthest from
    everything else. top, bottom: the largest and smallest remoteness of its own vertices. inner: the limb that it ends
    in, -1 for the trunk, which comes last.

    Known after `with_bones`: twin, the limb on the other side of the body, itself in the middle of it. joints
    [n + 1, 3]: where its n bones begin, from its inner end outwards, and where the last one ends. levels [n + 1],
    rising: bone i moves the limb's vertices whose remoteness lies between levels[i] and levels[i + 1].
    """

    vertices: Int[np.ndarray, "V"]
    tip: int
    top: float
    bottom: float
    inner: int
    twin: int = -1
    joints: Float[np.ndarray, "m 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    levels: Float[np.ndarray, "m"] = field(default_factory=lambda: np.zeros(0))

    @property
    def bones(self) -> int:
        """How many bones it has."""
        return len(self.joints) - 1


def remoteness(distances: Float[np.ndarray, "K K"], areas: Float[np.ndarray, "K"]) -> Float[np.ndarray, "K"]:
    """Mean distance along the surface to all of it: small in the middle of a body, large at tips of limbs."""
    return distances.astype(np.float64) @ (areas / areas.sum())


def find_limbs(values: Float[np.ndarray, "K"], faces: Int[np.ndarray, "F 3"], shortest: float) -> list[Limb]:
    """The merge tree of the parts where a function exceeds a falling threshold (ours).

    Every peak of the function starts a part; where two parts meet, both end and a new one begins, unless one of them
    has risen by less than `shortest` above the meeting: then it was a bump of the other.

    Args:
        values: remoteness of each vertex of a connected surface.
        faces: its triangles.
        shortest: least rise of a limb above where it ends, in the unit of the values.

    Returns:
        Limbs before those that they end in; the last one is the trunk. Every vertex belongs to one.
    """
    neighbours: list[set[int]] = [set() for _ in values]
    for a, b, c in faces.tolist():
        neighbours[a] |= {b, c}
        neighbours[b] |= {a, c}
        neighbours[c] |= {a, b}
    part_of = [-1] * len(values)  # of each vertex so far
    tips: list[int] = []
    inner: list[int] = []  # the part that a part ended in, -1 while it grows
    members: list[list[int]] = []  # none of what was a bump
    for vertex in np.argsort(-values, kind="stable").tolist():
        parts = {ancestors(part_of[one], inner)[-1] for one in sorted(neighbours[vertex]) if part_of[one] >= 0}
        rise = {part: float(values[tips[part]] - values[vertex]) for part in parts}
        around = sorted(parts, key=lambda part: -rise[part])
        high = [part for part in around if rise[part] >= shortest]
        if around and len(high) < 2:
            home = around[0]
        else:  # a peak, or a meeting
            home = len(tips)
            tips.append(tips[high[0]] if high else vertex)
            inner.append(-1)
            members.append([])
            for part in high:
                inner[part] = home
        for bump in (part for part in around if part not in high and part != home):
            for one in members[bump]:
                part_of[one] = home
            members[home] += members[bump]
            members[bump] = []
        part_of[vertex] = home
        members[home].append(vertex)
    return _collapsed(values, tips, inner, members, shortest)


def _collapsed(
    values: np.ndarray, tips: list[int], ends: list[int], members: list[list[int]], shortest: float
) -> list[Limb]:
    """Limbs: parts that were no bumps, nor lie between two meetings closer than `shortest`."""
    inner = {part: ends[part] for part, own in enumerate(members) if own}
    for part in sorted(inner):
        outer = [one for one in inner if inner[one] == part]
        if not outer or inner[part] < 0:
            continue
        if np.ptp(values[members[part]]) < shortest:
            members[inner[part]] += members[part]
            for one in outer:
                inner[one] = inner[part]
            del inner[part]
    order = {part: place for place, part in enumerate(sorted(inner))}
    limbs = []
    for part in sorted(inner):
        own = np.array(sorted(members[part]), dtype=np.int64)
        top, bottom = float(values[own].max()), float(values[own].min())
        limbs.append(Limb(own, tips[part], top, bottom, order.get(inner[part], -1)))
    return limbs


def partners(limbs: list[Limb], symmetry: Int[np.ndarray, "K"] | None) -> Int[np.ndarray, "limbs"]:
    """The limb on the other side of each limb: itself in the middle of the body, and where no symmetry is known."""
    own = np.arange(len(limbs))
    if symmetry is None:
        return own
    label = np.zeros(len(symmetry), dtype=int)
    for place, limb in enumerate(limbs):
        label[limb.vertices] = place
    other = np.array([np.bincount(label[symmetry[limb.vertices]]).argmax() for limb in limbs])
    return np.where(other[other] == own, other, own)


def with_bones(
    limbs: list[Limb],
    points: Float[np.ndarray, "K 3"],
    values: Float[np.ndarray, "K"],
    areas: Float[np.ndarray, "K"],
    symmetry: Int[np.ndarray, "K"] | None,
) -> list[Limb]:
    """The limbs with bones, mirror images on both sides of a symmetric body; the trunk has one joint."""
    other = partners(limbs, symmetry).tolist()
    paths = [middle_path(limb, points, values, areas) for limb in limbs]
    if symmetry is not None:
        paths = [(path + MIRROR * paths[twin]) / 2 for path, twin in zip(paths, other, strict=True)]
    found = []
    for limb, twin, path in zip(limbs, other, paths, strict=True):
        bottom, top = (limb.bottom + limbs[twin].bottom) / 2, (limb.top + limbs[twin].top) / 2
        if limb.inner < 0:
            path = np.repeat(path.mean(axis=0, keepdims=True), len(path), axis=0)
        joints, places = cut_path(path)
        levels = bottom + (top - bottom) * places / (len(path) - 1)
        found.append(replace(limb, twin=twin, joints=joints, levels=levels))
    return found


def middle_path(
    limb: Limb, points: Float[np.ndarray, "K 3"], values: Float[np.ndarray, "K"], areas: Float[np.ndarray, "K"]
) -> Float[np.ndarray, "P 3"]:
    """SLICES + 1 points through a limb from its inner end outwards: middles of slices of equal remoteness."""
    own, height = limb.vertices, values[limb.vertices]
    levels = np.linspace(limb.bottom, limb.top, SLICES + 1)
    width = max((limb.top - limb.bottom) / SLICES, 1e-9)
    near = np.exp(-(((height[None] - levels[:, None]) / width) ** 2)) * areas[own] + 1e-30
    return (near / near.sum(axis=1, keepdims=True)) @ points[own]


def cut_path(path: Float[np.ndarray, "P 3"]) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m"]]:
    """Joints at equal distances along a path, about BONE apart, and their places between its points, 0..P-1."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    count = int(np.clip(round(along[-1] / BONE), 1, MOST_BONES))
    wanted = along[-1] * np.arange(count + 1) / count
    steps = np.arange(len(path))
    places = np.interp(wanted, along, steps) if along[-1] > 0 else np.linspace(0, steps[-1], count + 1)
    return np.stack([np.interp(places, steps, path[:, axis]) for axis in range(3)], axis=1), places


def skin_weights(
    limbs: list[Limb],
    vertices: Float[np.ndarray, "K 3"],
    faces: Int[np.ndarray, "F 3"],
    values: Float[np.ndarray, "K"],
) -> Float[np.ndarray, "K J"]:
    """Each vertex belongs to one bone, then the bones' shares spread like heat over the surface (ours).

    Two implicit steps of (M + REACH^2 L)^-1 M keep the shares of a vertex between 0 and 1 with sum 1. Columns are the
    bones, limb after limb.
    """
    from scipy.sparse.linalg import splu

    first = np.cumsum([0, *(limb.bones for limb in limbs)])
    shares = np.zeros((len(vertices), first[-1]))
    for start, limb in zip(first, limbs, strict=False):
        bone = np.clip(np.searchsorted(limb.levels, values[limb.vertices], side="right") - 1, 0, limb.bones - 1)
        shares[limb.vertices, start + bone] = 1
    laplacian, mass = laplacian_matrices(vertices, faces)
    heat = splu((mass + REACH**2 * laplacian).tocsc())
    for _ in range(2):
        shares = heat.solve(mass @ shares)
    return shares


def pruned(weights: Float[np.ndarray, "K J"]) -> Float[np.ndarray, "K J"]:
    """Without shares below SMALLEST_WEIGHT; rows sum to 1."""
    kept = np.where(weights >= SMALLEST_WEIGHT, weights, 0)
    return (kept / kept.sum(axis=1, keepdims=True)).astype(np.float32)


GROUND = 0.12  # legs end in the lowest part of the body, of its height
MIDDLE = 0.015  # half the width of what lies in the middle, template units


def name_limbs(limbs: list[Limb], vertices: Float[np.ndarray, "K 3"]) -> list[str]:
    """A name for each limb with bones: leg_front_L, leg_R, trunk, neck, muzzle, ear_L, tail, arm_R, limb_3, ... (ours).

    Legs are limbs without others on them whose tips are low; what lies between them is the trunk. Of what grows out of
    the trunk in the middle of the body, the head is what reaches farthest forward and up, a tail what reaches farthest
    back. Pairs on the head are ears, other pairs arms.

    Args:
        vertices: of the body, template frame.
    """
    tips = vertices[[limb.tip for limb in limbs]].astype(np.float64)
    lowest, highest = float(vertices[:, 2].min()), float(vertices[:, 2].max())
    outer = [[place for place, limb in enumerate(limbs) if limb.inner == one] for one in range(len(limbs))]
    low = lowest + GROUND * (highest - lowest)
    bare = [place for place, limb in enumerate(limbs) if not outer[place] and limb.inner >= 0]
    legs = {place for place in bare if tips[place, 2] <= low}
    names = {place: name for place, name in _leg_names(sorted(legs), limbs).items()}
    trunk = _between(legs, limbs) or {len(limbs) - 1}
    growths = _growths(set(range(len(limbs))) - legs - trunk, limbs)
    _name_growths(names, growths, trunk, limbs, tips)
    for number, place in enumerate(sorted(trunk, reverse=True)):
        names[place] = "trunk" if number == 0 else f"spine_{number}"
    return [names[place] for place in range(len(limbs))]


def _side(place: int, limbs: list[Limb]) -> str:
    across = float(limbs[place].joints[-1, 1] + limbs[place].joints[:-1, 1].mean())
    if limbs[place].twin == place and abs(across) < 2 * MIDDLE:
        return ""
    return "_L" if across > 0 else "_R"


def _leg_names(legs: list[int], limbs: list[Limb]) -> dict[int, str]:
    """Rows of legs from front to hind; the legs of one side are numbered along the body."""
    by_side: dict[str, list[int]] = {}
    for place in legs:
        by_side.setdefault(_side(place, limbs), []).append(place)
    rows = max((len(one) for one in by_side.values()), default=0)
    words = {1: [""], 2: ["_front", "_hind"]}.get(rows, [f"_{row}" for row in range(1, rows + 1)])
    names: dict[int, str] = {}
    for side, own in by_side.items():
        ordered = sorted(own, key=lambda place: -limbs[place].joints[-1, 0])
        here = words if len(own) == rows else [f"_{row}" for row in range(1, len(own) + 1)]
        names |= {place: f"leg{word}{side}" for place, word in zip(ordered, here, strict=True)}
    return names


def _between(legs: set[int], limbs: list[Limb]) -> set[int]:
    """The limbs on the ways between legs: from each leg inwards, as far as not all legs lie outside."""
    inner = [limb.inner for limb in limbs]
    ways = [ancestors(leg, inner)[1:] for leg in legs]
    if not ways:
        return set()
    shared = set(ways[0]).intersection(*ways[1:])
    innermost = min(shared)  # limbs stand before those that they end in
    return {place for way in ways for place in way if place not in shared} | {innermost}


def _growths(rest: set[int], limbs: list[Limb]) -> list[set[int]]:
    """What is left without legs and trunk, in connected groups."""
    group = {place: {place} for place in rest}
    for place in sorted(rest):
        inner = limbs[place].inner
        if inner in rest and group[inner] is not group[place]:
            joined = group[inner] | group[place]
            group |= dict.fromkeys(joined, joined)
    return [own for first, own in sorted(group.items()) if first == min(own)]


def _name_growths(names: dict[int, str], growths, trunk, limbs, tips) -> None:
    """Head, tail, ears, arms; what remains is limb_1, limb_2, ..."""
    centre = np.mean([limbs[place].joints[:-1].mean(axis=0) for place in trunk], axis=0)
    middle = [one for one in growths if all(limbs[place].twin in one for place in one)]
    reach = [max(float((tips[place] - centre) @ [1, 0, 0.5]) for place in one) for one in middle]
    head = middle[int(np.argmax(reach))] if middle and max(reach) > 0.1 else set()
    behind = [one for one in middle if one is not head and min(tips[place, 0] for place in one) < centre[0]]
    rearmost = [min(tips[place, 0] for place in one) for one in behind]
    tail = behind[int(np.argmin(rearmost))] if behind else set()
    for number, one in enumerate(growths):
        if one is head:
            _name_head(names, one, limbs)
            continue
        for place in sorted(one, reverse=True):
            side = _side(place, limbs)
            names[place] = _unused("tail" if one is tail else f"arm{side}" if side else f"limb_{number}", names)


def _name_head(names: dict[int, str], group: set[int], limbs: list[Limb]) -> None:
    """What ears and muzzle grow on is the neck with the head at its end; what else bears limbs, necks."""
    bearing = [place for place in group if any(limb.inner == place for limb in limbs)]
    neck = min(bearing, default=min(group))
    names[neck] = "neck"
    for place in sorted(group - {neck}, reverse=True):
        side = _side(place, limbs)
        names[place] = _unused(f"ear{side}" if side else "neck" if place in bearing else "muzzle", names)


def _unused(name: str, names: dict[int, str]) -> str:
    """The name, or it with a number where it is taken: ear_L, ear2_L."""
    word, _, side = name.partition("_")
    taken, number, free = set(names.values()), 1, name
    while free in taken:
        number += 1
        free = f"{word}{number}" + (f"_{side}" if side else "")
    return free
