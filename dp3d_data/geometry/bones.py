"""Bones inside the limbs of a bare surface: paths through their middles, what each moves, and names of limbs."""

from __future__ import annotations

from dataclasses import dataclass

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
class Chain:
    """The bones of one limb: joints [n, 3] from its inner end outwards, the last end, and n + 1 rising levels.

    Bone i moves the limb's vertices whose remoteness lies between levels[i] and levels[i + 1].
    """

    joints: Float[np.ndarray, "n 3"]
    end: Float[np.ndarray, "3"]
    levels: Float[np.ndarray, "m"]


def middle_path(
    limb: Limb, points: Float[np.ndarray, "K 3"], values: Float[np.ndarray, "K"], areas: Float[np.ndarray, "K"]
) -> np.ndarray:
    """SLICES + 1 points through a limb from its inner end outwards: middles of slices of equal remoteness."""
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
    other = own.copy()
    for place, limb in enumerate(limbs):
        if len(limb.vertices):
            other[place] = np.bincount(label[symmetry[limb.vertices]]).argmax()
    return np.where(other[other] == own, other, own)


def chains_of(
    limbs: list[Limb],
    points: Float[np.ndarray, "K 3"],
    values: Float[np.ndarray, "K"],
    areas: Float[np.ndarray, "K"],
    other: Int[np.ndarray, "limbs"],
    symmetric: bool,
) -> list[Chain]:
    """The bones of every limb, mirror images on both sides of a symmetric body; the trunk has one joint."""
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
    steps = np.arange(len(path))
    places = np.interp(wanted, along, steps) if along[-1] > 0 else np.linspace(0, steps[-1], count + 1)
    spots = np.stack([np.interp(places, steps, path[:, axis]) for axis in range(3)], axis=1)
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


GROUND = 0.12  # legs end in the lowest part of the body, of its height
MIDDLE = 0.015  # half the width of what lies in the middle, template units


def name_limbs(
    limbs: list[Limb], chains: list[Chain], other: np.ndarray, tips: np.ndarray, height: tuple[float, float]
) -> list[str]:
    """A name for each limb: leg_front_L, leg_R, trunk, neck, muzzle, ear_L, tail, arm_R, limb_3, ... (ours).

    Legs are limbs without others on them whose tips are low; what lies between them is the trunk. Of what grows out of
    the trunk in the middle of the body, the head is what reaches farthest forward and up, a tail what reaches farthest
    back. Pairs on the head are ears, other pairs arms.

    Args:
        other: the limb on the other side of each.
        tips: [limbs, 3] farthest point of each, template frame.
        height: lowest and highest z of the body.
    """
    outer = [[place for place, limb in enumerate(limbs) if limb.inner == one] for one in range(len(limbs))]
    low = height[0] + GROUND * (height[1] - height[0])
    bare = [place for place, limb in enumerate(limbs) if not outer[place] and limb.inner >= 0]
    legs = {place for place in bare if tips[place, 2] <= low}
    names = {place: name for place, name in _leg_names(sorted(legs), chains, other).items()}
    trunk = _between(legs, limbs) or {len(limbs) - 1}
    growths = _growths(set(range(len(limbs))) - legs - trunk, limbs)
    _name_growths(names, growths, trunk, limbs, other, tips, chains)
    for number, place in enumerate(sorted(trunk, reverse=True)):
        names[place] = "trunk" if number == 0 else f"spine_{number}"
    return [names[place] for place in range(len(limbs))]


def _side(place: int, chains: list[Chain], other: np.ndarray) -> str:
    across = float(chains[place].end[1] + chains[place].joints[:, 1].mean())
    if other[place] == place and abs(across) < 2 * MIDDLE:
        return ""
    return "_L" if across > 0 else "_R"


def _leg_names(legs: list[int], chains: list[Chain], other: np.ndarray) -> dict[int, str]:
    """Rows of legs from front to hind; the legs of one side are numbered along the body."""
    by_side: dict[str, list[int]] = {}
    for place in legs:
        by_side.setdefault(_side(place, chains, other), []).append(place)
    rows = max((len(one) for one in by_side.values()), default=0)
    words = {1: [""], 2: ["_front", "_hind"]}.get(rows, [f"_{row}" for row in range(1, rows + 1)])
    names: dict[int, str] = {}
    for side, own in by_side.items():
        ordered = sorted(own, key=lambda place: -chains[place].end[0])
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


def _name_growths(names: dict[int, str], growths, trunk, limbs, other, tips, chains) -> None:
    """Head, tail, ears, arms; what remains is limb_1, limb_2, ..."""
    centre = np.mean([chains[place].joints.mean(axis=0) for place in trunk], axis=0)
    middle = [one for one in growths if all(other[place] in one for place in one)]
    reach = [max(float((tips[place] - centre) @ [1, 0, 0.5]) for place in one) for one in middle]
    head = middle[int(np.argmax(reach))] if middle and max(reach) > 0.1 else set()
    behind = [one for one in middle if one is not head and min(tips[place, 0] for place in one) < centre[0]]
    rearmost = [min(tips[place, 0] for place in one) for one in behind]
    tail = behind[int(np.argmin(rearmost))] if behind else set()
    for number, one in enumerate(growths):
        if one is head:
            _name_head(names, one, limbs, other, chains)
            continue
        for place in sorted(one, reverse=True):
            side = _side(place, chains, other)
            names[place] = _unused("tail" if one is tail else f"arm{side}" if side else f"limb_{number}", names)


def _name_head(
    names: dict[int, str], group: set[int], limbs: list[Limb], other: np.ndarray, chains: list[Chain]
) -> None:
    """What ears and muzzle grow on is the neck with the head at its end; what else bears limbs, necks."""
    bearing = [place for place in group if any(limb.inner == place for limb in limbs)]
    neck = min(bearing, default=min(group))
    names[neck] = "neck"
    for place in sorted(group - {neck}, reverse=True):
        side = _side(place, chains, other)
        names[place] = _unused(f"ear{side}" if side else "neck" if place in bearing else "muzzle", names)


def _unused(name: str, names: dict[int, str]) -> str:
    """The name, or it with a number where it is taken: ear_L, ear2_L."""
    word, _, side = name.partition("_")
    taken, number, free = set(names.values()), 1, name
    while free in taken:
        number += 1
        free = f"{word}{number}" + (f"_{side}" if side else "")
    return free


@dataclass(frozen=True)
class Limb:
    """A part of a surface between its farthest point, or where others end in it, and where it ends itself.

    vertices: its own, without those of the limbs that end in it. tip: the vertex of it and them that is farthest from
    everything else. top, bottom: the largest and smallest remoteness of its own vertices. inner: the limb that it ends
    in, -1 for the trunk, which comes last.
    """

    vertices: Int[np.ndarray, "V"]
    tip: int
    top: float
    bottom: float
    inner: int


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
    parts = _Parts(values, shortest)
    neighbours: list[set[int]] = [set() for _ in values]
    for a, b, c in faces.tolist():
        neighbours[a] |= {b, c}
        neighbours[b] |= {a, c}
        neighbours[c] |= {a, b}
    for vertex in np.argsort(-values, kind="stable").tolist():
        parts.add(vertex, sorted(neighbours[vertex]))
    return _collapsed(parts)


class _Parts:
    """Growing parts: which part each vertex seen so far lies in, and what every part holds."""

    def __init__(self, values: np.ndarray, shortest: float) -> None:
        self.values, self.shortest = values, shortest
        self.of = [-1] * len(values)
        self.follows: list[int] = []  # the part that a part went into, or itself
        self.inner: list[int] = []
        self.tips: list[int] = []
        self.members: list[list[int]] = []

    def find(self, part: int) -> int:
        while self.follows[part] != part:
            self.follows[part] = self.follows[self.follows[part]]
            part = self.follows[part]
        return part

    def open(self, tip: int) -> int:
        self.follows.append(len(self.follows))
        self.inner.append(-1)
        self.tips.append(tip)
        self.members.append([])
        return len(self.follows) - 1

    def add(self, vertex: int, neighbours: list[int]) -> None:
        """Put a vertex, lower than all before it, into the part around it, which may first be made of several."""
        parts = {self.find(self.of[one]) for one in neighbours if self.of[one] >= 0}
        around = sorted(parts, key=lambda part: -self.rise(part, vertex))
        high = [part for part in around if self.rise(part, vertex) >= self.shortest]
        if len(high) > 1:
            home = self.open(self.tips[high[0]])
            for part in high:
                self.inner[part], self.follows[part] = home, home
        else:
            home = around[0] if around else self.open(vertex)
        for part in around:
            if part not in high and part != home:
                self.members[home] += self.members[part]
                self.members[part], self.follows[part] = [], home
        self.of[vertex] = home
        self.members[home].append(vertex)

    def rise(self, part: int, vertex: int) -> float:
        return float(self.values[self.tips[part]] - self.values[vertex])


def _collapsed(parts: _Parts) -> list[Limb]:
    """Limbs: parts that were no bumps, nor lie between two meetings closer than `shortest`."""
    values, members = parts.values, parts.members
    inner = {part: end for part, end in enumerate(parts.inner) if end >= 0 or parts.follows[part] == part}
    for part in sorted(inner):
        outer = [one for one in inner if inner[one] == part]
        if not outer or inner[part] < 0:
            continue
        span = np.ptp(values[members[part]]) if members[part] else 0.0
        if span < parts.shortest:
            members[inner[part]] += members[part]
            for one in outer:
                inner[one] = inner[part]
            del inner[part]
    order = {part: place for place, part in enumerate(sorted(inner))}
    limbs = []
    for part in sorted(inner):
        own = np.array(sorted(members[part]), dtype=np.int64)
        top, bottom = (float(values[own].max()), float(values[own].min())) if len(own) else (0.0, 0.0)
        limbs.append(Limb(own, parts.tips[part], top, bottom, order.get(inner[part], -1)))
    return limbs
