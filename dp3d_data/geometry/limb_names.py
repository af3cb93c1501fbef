"""What a limb of a bare body is, told by where it lies: legs stand on the ground, the head looks forward."""

from __future__ import annotations

import numpy as np

from dp3d_data.geometry.bones import Chain
from dp3d_data.geometry.limbs import Limb

GROUND = 0.12  # legs end in the lowest part of the body, of its height
MIDDLE = 0.015  # half the width of what lies in the middle, template units


def name_limbs(limbs: list[Limb], chains: list[Chain], other: np.ndarray, tips: np.ndarray, height: tuple[float, float]) -> list[str]:
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
    legs = {place for place in range(len(limbs)) if not outer[place] and limbs[place].inner >= 0 and tips[place, 2] <= low}
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
    ways = []
    for leg in legs:
        way, at = [], limbs[leg].inner
        while at >= 0:
            way.append(at)
            at = limbs[at].inner
        ways.append(way)
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


def _name_head(names: dict[int, str], group: set[int], limbs: list[Limb], other: np.ndarray, chains: list[Chain]) -> None:
    """The limb that ears and muzzle grow on is the neck with the head at its end; what lies between it and the trunk, necks."""
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
