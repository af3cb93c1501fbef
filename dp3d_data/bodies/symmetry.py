"""Left and right: the vertex that mirrors each vertex of a template."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


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
