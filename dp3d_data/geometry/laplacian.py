"""The Laplace-Beltrami basis of a template: smooth functions on its surface, low frequencies first."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import UsageError
from dp3d_data.geometry.cache import cached_arrays
from dp3d_data.geometry.template import Template

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
    _check_count(count, template.num_vertices)
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

    _check_count(count, len(vertices))
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


def _check_count(count: int, num_vertices: int) -> None:
    if not 1 <= count < num_vertices:
        expected = f"1 to {num_vertices - 1}, below the number of vertices"
        raise UsageError("the basis cannot have that many functions", got=count, expected=expected)
