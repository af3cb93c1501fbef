"""Distances between vertices along the surface of a template."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.geometry.cache import cached_arrays
from dp3d_data.geometry.template import Template

VERSION = 2
ROWS = 512


def geodesic_distances(template: Template) -> Float[np.ndarray, "K K"]:
    """All pairs of distances along the surface, template units, float32, cached by the template's content hash."""
    size = template.num_vertices
    name = f"geodesics-{template.content_hash}-v{VERSION}"
    shapes = {"distances": (size, size)}
    return cached_arrays(name, shapes, lambda: {"distances": surface_distances(template.vertices, template.faces)})[
        "distances"
    ]


def surface_distances(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "K K"]:
    """Shortest paths over edges and over straight lines across two neighbouring triangles (ours).

    A metric: symmetric, zero on the diagonal, the triangle inequality holds; never shorter than the exact surface
    distance and at most about 5 % longer on well-shaped triangles (2 % in the mean on a sphere); infinite between
    separate components. The heat method errs by as much, to both sides, and by half between the sides of thin ears.
    """
    from scipy.sparse.csgraph import dijkstra

    graph = surface_graph(vertices, faces)
    distances = np.empty((len(vertices), len(vertices)), dtype=np.float32)
    for start in range(0, len(vertices), ROWS):
        rows = np.arange(start, min(start + ROWS, len(vertices)))
        distances[rows] = dijkstra(graph, directed=False, indices=rows)
    for start in range(0, len(vertices), ROWS):
        block = slice(start, start + ROWS)
        distances[block] = np.minimum(distances[block], distances[:, block].T)
        distances[:, block] = distances[block].T
    return distances


def surface_graph(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]):
    """A sparse matrix [K, K] of the lengths of edges and of unfolded lines across pairs of triangles."""
    from scipy.sparse import coo_matrix

    points = np.asarray(vertices, dtype=np.float64)
    pairs = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    across, unfolded = _unfolded_lines(points, np.asarray(faces))
    rows, columns = np.sort(np.concatenate([pairs, across]), axis=1).T
    values = np.concatenate([length, unfolded])
    order = np.lexsort((values, columns, rows))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(rows[order]) != 0) | (np.diff(columns[order]) != 0)
    keep = order[first]
    shape = (len(points), len(points))
    return coo_matrix((values[keep], (rows[keep], columns[keep])), shape=shape).tocsr()


def component_labels(num_vertices: int, faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "K"]:
    """The connected component of each vertex."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = faces[:, [0, 1]].ravel("F"), faces[:, [1, 2]].ravel("F")
    links = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(num_vertices, num_vertices))
    return connected_components(links, directed=False)[1]


def _unfolded_lines(points: np.ndarray, faces: np.ndarray) -> tuple[Int[np.ndarray, "N 2"], Float[np.ndarray, "N"]]:
    """Opposite corners of two triangles that share an edge, where the straight line between them crosses that edge."""
    sides = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    corners = faces[:, [2, 0, 1]].reshape(-1)
    keys = np.sort(sides, axis=1)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    twin = np.flatnonzero((keys[order[1:]] == keys[order[:-1]]).all(axis=1))
    left, right = order[twin], order[twin + 1]
    start, end = points[keys[left, 0]], points[keys[left, 1]]
    length = np.linalg.norm(end - start, axis=1)
    along = (end - start) / np.maximum(length, 1e-30)[:, None]
    x, y = zip(*(_flattened(points[corners[side]] - start, along) for side in (left, right)), strict=True)
    crossing = (x[0] * y[1] + x[1] * y[0]) / np.maximum(y[0] + y[1], 1e-30)
    straight = (crossing > 0) & (crossing < length)
    pairs = np.stack([corners[left], corners[right]], axis=1)
    return pairs[straight], np.hypot(x[0] - x[1], y[0] + y[1])[straight]


def _flattened(offset: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along the shared edge and away from it."""
    x = np.sum(offset * along, axis=1)
    return x, np.linalg.norm(offset - x[:, None] * along, axis=1)
