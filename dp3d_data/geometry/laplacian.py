"""The Laplace-Beltrami basis of a template, and distances along its surface; both kept between runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.config import cache_dir
from dp3d_data.errors import DiskFull, InputCorrupt, InputMissing, PathUnusable, UsageError
from dp3d_data.files import write_arrays
from dp3d_data.geometry.subdivision import mesh_edges
from dp3d_data.geometry.template import Template
from dp3d_data.limits import read_arrays

VERSION = 2
SPARE = 4


def laplace_beltrami(template: Template, count: int) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "K count"]]:
    """The first eigenvalues and eigenfunctions of the template, cached by its content hash.

    Same template and machine, same bytes. Another machine may mix nearly equal pairs: keep the basis with what was
    learned on it.

    Returns:
        eigenvalues [count], ascending, per square template unit, and functions [K, count], orthonormal under the
        mass matrix: functions.T @ diag(mass) @ functions = identity.

    Raises:
        UsageError: count is not in 1..K-1.
    """
    shapes = {"eigenvalues": (count,), "functions": (template.num_vertices, count)}

    def compute() -> dict[str, np.ndarray]:
        eigenvalues, functions = laplacian_basis(template.vertices, template.faces, count)
        return {"eigenvalues": eigenvalues, "functions": functions}

    arrays = cached_arrays(f"laplacian-{template.content_hash}-{count}-v{VERSION}", shapes, compute)
    return arrays["eigenvalues"], arrays["functions"]


def laplacian_matrices(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]):
    """The tufted intrinsic Laplacian (Sharp and Crane 2020) and its diagonal mass matrix, both sparse [K, K]."""
    import robust_laplacian

    return robust_laplacian.mesh_laplacian(np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64))


def laplacian_basis(
    vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], count: int
) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "K count"]]:
    """Solve L f = lambda M f by shift-invert from a fixed start, with fixed signs.

    The sign of each function makes its mean product with the fixed start positive: unlike "the largest entry is
    positive" this is not a tie on mirror-symmetric bodies.

    Raises:
        UsageError: count is not in 1..K-1.
    """
    from scipy.linalg import eigh
    from scipy.sparse.linalg import eigsh

    if not 1 <= count < len(vertices):
        expected = f"1 to {len(vertices) - 1}, below the number of vertices"
        raise UsageError("the basis cannot have that many functions", got=count, expected=expected)
    laplacian, mass = laplacian_matrices(vertices, faces)
    start = np.random.default_rng(0).standard_normal(len(vertices))
    if count > len(vertices) // 2:
        values, functions = eigh(laplacian.toarray(), mass.toarray(), subset_by_index=(0, count - 1))
    else:
        shift = -0.01 / mass.diagonal().sum()
        # A looser tolerance, or none to spare, can lose one of several equal eigenvalues (seen on the sphere).
        wanted = min(count + SPARE, len(vertices) - 1)
        values, functions = eigsh(laplacian, k=wanted, M=mass, sigma=shift, which="LM", v0=start, tol=0)
    order = np.argsort(values, kind="stable")[:count]
    values, functions = np.maximum(values[order], 0), functions[:, order]
    functions /= np.sqrt(np.einsum("kj,k,kj->j", functions, mass.diagonal(), functions))
    signs = np.where((mass.diagonal() * start) @ functions < 0, -1.0, 1.0)
    return values, (functions * signs).astype(np.float32)


GEODESICS_VERSION = 2
ROWS = 512


def geodesic_distances(template: Template) -> Float[np.ndarray, "K K"]:
    """All pairs of distances along the surface, template units, float32, cached by the template's content hash."""
    size = template.num_vertices
    name = f"geodesics-{template.content_hash}-v{GEODESICS_VERSION}"
    arrays = cached_arrays(
        name, {"distances": (size, size)}, lambda: {"distances": surface_distances(template.vertices, template.faces)}
    )
    return arrays["distances"]


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
    pairs = mesh_edges(np.asarray(faces))
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


Arrays = dict[str, np.ndarray]


def cached_arrays(name: str, shapes: Mapping[str, tuple[int, ...]], compute: Callable[[], Arrays]) -> Arrays:
    """The arrays stored under that name if they are whole and of these shapes, else computed and stored.

    Readers and writers may run at once: a file appears under its name complete, by renaming. A cache folder that
    cannot be written costs time, never the result.
    """
    path = cache_dir() / f"{name}.npz"
    try:
        arrays = read_arrays(path)
        whole = not any(np.isnan(value).any() for value in arrays.values())
        if whole and {key: value.shape for key, value in arrays.items()} == shapes:
            return arrays
    except (InputMissing, InputCorrupt):
        pass
    arrays = compute()
    with contextlib.suppress(DiskFull, PathUnusable):  # a cache that cannot be written costs time, and nothing else
        write_arrays(path, compressed=False, **arrays)
    return arrays
