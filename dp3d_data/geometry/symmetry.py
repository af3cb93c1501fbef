"""Left and right of a template, and how a bare mesh lies: mirror plane, feet and head tell left, up and forward."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

# Faces from which the mirror map is tried, those nearest to a mirror image first.
SEEDS = 20
TOLERANCE = 0.01  # of the largest extent
OFF = 0.05  # how far the sides of a closed surface may differ, of the largest extent


def mirror_map(
    vertices: Float[np.ndarray, "K 3"], axis: int = 1
) -> tuple[Int[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """The vertex nearest to the mirror image of each vertex, and how far off it is.

    Args:
        vertices: in the template frame.
        axis: the one that changes sign; 1 is left to right in the template frame.

    Returns:
        indices [K] and distances [K] in the unit of the vertices; on an exactly symmetric mesh the distances are 0 and
        mapping twice gives every vertex back.
    """
    from scipy.spatial import cKDTree

    image = np.array(vertices, dtype=np.float64)
    image[:, axis] *= -1
    distance, index = cKDTree(np.asarray(vertices, dtype=np.float64)).query(image)
    return index.astype(np.int32), distance


def detect_symmetry(vertices: Float[np.ndarray, "K 3"]) -> Int[np.ndarray, "K"] | None:
    """The left-right map of vertices in template units, or None where a mirror image is off by more than TOLERANCE."""
    index, distance = mirror_map(vertices)
    return index if len(index) and distance.max() <= TOLERANCE else None


def mirrored_vertices(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "K"] | None:
    """The vertex on the other side of each vertex of a closed surface, by its faces: the sides may differ a little.

    Args:
        vertices: any unit; the mirror lies in the middle of their extent along the second axis.

    Returns:
        Indices that map twice to the same vertex; None where the faces have no such map near the mirror image.
    """
    centred = np.array(vertices, dtype=np.float64)
    centred[:, 1] -= (centred[:, 1].min() + centred[:, 1].max()) / 2
    nearest, distance = mirror_map(centred)
    beyond = {(int(a), int(b)): int(c) for face in faces for a, b, c in (face, np.roll(face, 1), np.roll(face, 2))}
    for face in faces[np.argsort(distance[faces].sum(axis=1), kind="stable")[:SEEDS]]:
        found = _walked(beyond, [int(k) for k in face], [int(k) for k in nearest[face]])
        if found is None or len(found) != len(centred):
            continue
        mirror = np.array([found[k] for k in range(len(centred))], dtype=np.int32)
        image = centred[mirror] * [1, -1, 1]
        off = np.linalg.norm(image - centred, axis=1).max()
        if off <= OFF * np.ptp(centred, axis=0).max() and np.array_equal(mirror[mirror], np.arange(len(mirror))):
            return mirror
    return None


def _walked(beyond: dict[tuple[int, int], int], face: list[int], image: list[int]) -> dict[int, int] | None:
    """The map that a face and its mirror image begin, walked over all neighbours; None where it contradicts itself.

    beyond[a, b] is the third vertex of the face in which b follows a; of a mirrored face the order is reversed.
    """
    a, b, c = face
    if len(set(image)) < 3 or beyond.get((image[1], image[0])) != image[2]:
        return None
    found = dict(zip(face, image, strict=True))
    edges, done = [(a, b), (b, c), (c, a)], set()
    while edges:
        one, two = edges.pop()
        if (one, two) in done:
            continue
        done.add((one, two))
        third, other = beyond.get((two, one)), beyond.get((found[one], found[two]))
        if third is None or other is None or found.setdefault(third, other) != other:
            return None
        edges += [(one, third), (third, two)]
    return found


SLAB = 0.02  # of the extent: feet end this near to the ground


def guessed_axes(vertices: Float[np.ndarray, "K 3"]) -> str:
    """The axes that point forward, left and up, such as "-z-x+y"; empty where the shape does not tell (ours).

    Left is the only axis across which the body is its own mirror image. Of the four ways to stand, that one is taken
    where the few points that touch the ground lie widest apart; the upper half of a body lies before its middle.

    Args:
        vertices: in the file's axes, any unit.
    """
    points = np.asarray(vertices, dtype=np.float64)
    points = (points - (points.min(axis=0) + points.max(axis=0)) / 2) / np.ptp(points, axis=0).max()
    mirrors = [axis for axis in range(3) if mirror_map(points, axis)[1].max() <= TOLERANCE]
    if len(mirrors) != 1:
        return ""
    left = mirrors[0]
    ways = [(axis, sign) for axis in range(3) if axis != left for sign in (1, -1)]
    up, sense = max(ways, key=lambda way: _stands(points, left, *way))
    forward = next(axis for axis in range(3) if axis not in (left, up))
    upper = points[sense * points[:, up] > 0, forward].mean() if (sense * points[:, up] > 0).any() else 0.0
    ahead = 1 if upper >= 0 else -1
    frame = np.zeros((3, 3))
    frame[0, forward], frame[2, up] = ahead, sense
    frame[1] = np.cross(frame[2], frame[0])
    return "".join(("+" if row.sum() > 0 else "-") + "xyz"[int(np.abs(row).argmax())] for row in np.round(frame))


def _stands(points: np.ndarray, left: int, up: int, sense: int) -> float:
    """How well a body stands on its lowest points: their spread over the ground for how few they are."""
    height = sense * points[:, up]
    low = points[height < height.min() + SLAB]
    forward = 3 - left - up
    spread = np.ptp(low[:, left]) * np.ptp(low[:, forward])
    return float(spread / (0.02 + len(low) / len(points)))
