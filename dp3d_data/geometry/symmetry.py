"""Left and right: the vertex that mirrors each vertex of a template."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

# Faces from which the mirror map is tried, those nearest to a mirror image first.
SEEDS = 20


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


def detect_symmetry(vertices: Float[np.ndarray, "K 3"], tolerance: float = 0.01) -> Int[np.ndarray, "K"] | None:
    """The left-right map of vertices in template units, or None where a mirror image is off by more than tolerance."""
    index, distance = mirror_map(vertices)
    return index if len(index) and distance.max() <= tolerance else None


def mirrored_vertices(
    vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], axis: int = 1, tolerance: float = 0.05
) -> Int[np.ndarray, "K"] | None:
    """The vertex on the other side of each vertex of a closed surface, by its faces: the sides may differ a little.

    Args:
        vertices: any unit; the mirror lies in the middle of their extent along the axis.
        tolerance: how far a vertex may lie from its counterpart's mirror image, as a share of the largest extent.

    Returns:
        Indices that map twice to the same vertex; None where the faces have no such map near the mirror image.
    """
    centred = np.array(vertices, dtype=np.float64)
    centred[:, axis] -= (centred[:, axis].min() + centred[:, axis].max()) / 2
    nearest, distance = mirror_map(centred, axis)
    beyond = {(int(a), int(b)): int(c) for face in faces for a, b, c in (face, np.roll(face, 1), np.roll(face, 2))}
    for face in faces[np.argsort(distance[faces].sum(axis=1), kind="stable")[:SEEDS]]:
        found = _walked(beyond, [int(k) for k in face], [int(k) for k in nearest[face]])
        if found is None or len(found) != len(centred):
            continue
        mirror = np.array([found[k] for k in range(len(centred))], dtype=np.int32)
        image = centred[mirror] * np.where(np.arange(3) == axis, -1, 1)
        off = np.linalg.norm(image - centred, axis=1).max()
        if off <= tolerance * np.ptp(centred, axis=0).max() and np.array_equal(mirror[mirror], np.arange(len(mirror))):
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
