"""The limbs of a bare surface: how the parts farthest from everything else grow together into one body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


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
    """Mean distance along the surface to all of it: smallest in the middle of the body, largest at the tips of
    limbs."""
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
    neighbours = _neighbours(len(values), faces)
    for vertex in np.argsort(-values, kind="stable").tolist():
        parts.add(vertex, neighbours[vertex])
    return _collapsed(parts.finished(), values, shortest)


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
        around = sorted(
            {self.find(self.of[one]) for one in neighbours if self.of[one] >= 0}, key=lambda p: -self.rise(p, vertex)
        )
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

    def finished(self) -> dict[int, tuple[list[int], int, int]]:
        """Part -> members, tip and the part it ends in; those that were bumps are gone."""
        kept = {part for part in range(len(self.follows)) if self.inner[part] >= 0 or self.follows[part] == part}
        return {part: (self.members[part], self.tips[part], self.inner[part]) for part in sorted(kept)}


def _collapsed(parts: dict[int, tuple[list[int], int, int]], values: np.ndarray, shortest: float) -> list[Limb]:
    """Parts between two meetings that lie closer than `shortest` are no limbs: several limbs meet in one place
    there."""
    members = {part: list(own) for part, (own, _, _) in parts.items()}
    inner = {part: end for part, (_, _, end) in parts.items()}
    for part in sorted(parts):
        outer = [one for one in inner if inner[one] == part]
        if not outer or inner[part] < 0:
            continue
        span = np.ptp(values[members[part]]) if members[part] else 0.0
        if span < shortest:
            members[inner[part]] += members.pop(part)
            for one in outer:
                inner[one] = inner[part]
            del inner[part]
    order = {part: place for place, part in enumerate(sorted(inner))}
    limbs = []
    for part in sorted(inner):
        own = np.array(sorted(members[part]), dtype=np.int64)
        top, bottom = (float(values[own].max()), float(values[own].min())) if len(own) else (0.0, 0.0)
        limbs.append(Limb(own, parts[part][1], top, bottom, order.get(inner[part], -1)))
    return limbs


def _neighbours(count: int, faces: np.ndarray) -> list[list[int]]:
    found: list[set[int]] = [set() for _ in range(count)]
    for a, b, c in faces.tolist():
        found[a] |= {b, c}
        found[b] |= {a, c}
        found[c] |= {a, b}
    return [sorted(one) for one in found]
