"""What is wrong with a mesh as a template: errors that stop, warnings that say what will follow."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import MeshInvalid, MeshIsEmpty
from dp3d_data.geometry.geodesics import component_labels

MOST_VERTICES = 60_000
MANY_VERTICES = 12_000


def check_mesh(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> list[str]:
    """Refuse what cannot be a surface; return a sentence for each thing that makes a poor one.

    Raises:
        MeshIsEmpty: no vertices, or all in one point, as in the published CSE mesh files.
        MeshInvalid: coordinates that are not finite, faces that name vertices that do not exist, vertices without a
            face, no faces, or more vertices than pairwise distances fit in memory for.
    """
    _check_vertices(vertices)
    _check_faces(vertices, faces)
    return [*_surface_warnings(vertices, faces), *_edge_warnings(vertices, faces)]


def _check_vertices(vertices: np.ndarray) -> None:
    if len(vertices) == 0:
        raise MeshIsEmpty("the mesh has no vertices", got="0 vertices", expected="a surface")
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        got = f"{int((~finite).sum())} vertices, the first is {first}: {vertices[first].tolist()}"
        raise MeshInvalid("some vertex coordinates are not finite numbers", got=got)
    if not vertices.any():
        raise MeshIsEmpty("all vertices are zero", got=f"{len(vertices)} vertices at (0, 0, 0)", expected="a surface")
    if not np.ptp(vertices, axis=0).max() > 0:
        got = f"{len(vertices)} vertices at {vertices[0].tolist()}"
        raise MeshIsEmpty("all vertices lie in one point", got=got, expected="a surface")
    if len(vertices) > MOST_VERTICES:
        hint = "decimate it to a few thousand vertices in a mesh editor"
        raise MeshInvalid(
            "too many vertices for a template", got=len(vertices), expected=f"at most {MOST_VERTICES}", hint=hint
        )


def _check_faces(vertices: np.ndarray, faces: np.ndarray) -> None:
    if len(faces) == 0:
        got = f"{len(vertices)} vertices, 0 faces"
        raise MeshInvalid("the mesh has no faces; a cloud of points is no template", got=got, expected="a surface")
    outside = (faces < 0) | (faces >= len(vertices))
    if outside.any():
        face = int(np.argmax(outside.any(axis=1)))
        got = f"{int(outside.any(axis=1).sum())} faces, the first is {face}: {faces[face].tolist()}"
        raise MeshInvalid("some faces name vertices that do not exist", got=got, expected=f"0 to {len(vertices) - 1}")
    lone = np.setdiff1d(np.arange(len(vertices)), faces)
    if len(lone):
        got = f"{len(lone)} of {len(vertices)}, the first is {lone[0]}"
        hint = "drop them, which renumbers the vertices: dp3d-data template import MESH --name NAME --clean"
        raise MeshInvalid("some vertices belong to no face", got=got, expected="a face at every vertex", hint=hint)


def _surface_warnings(vertices: np.ndarray, faces: np.ndarray) -> list[str]:
    warnings = []
    parts = np.unique(component_labels(len(vertices), faces), return_counts=True)[1]
    if len(parts) > 1:
        sizes = ", ".join(str(size) for size in sorted(parts.tolist(), reverse=True)[:5])
        warnings.append(
            f"{len(parts)} separate parts (vertices: {sizes}): nothing smooth or geodesic links them; "
            "keep the largest with --clean, or join seams with --weld"
        )
    repeated = len(vertices) - len(np.unique(vertices, axis=0))
    if repeated:
        warnings.append(
            f"{repeated} vertices repeat the position of another: seams cut the surface there; join them with --weld"
        )
    corners = vertices[faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    flat = int((areas <= 1e-12 * np.ptp(vertices, axis=0).max() ** 2).sum())
    if flat:
        warnings.append(f"{flat} faces have no area: harmless in small numbers, else repair the mesh")
    if len(vertices) > MANY_VERTICES:
        gigabytes = 4e-9 * len(vertices) ** 2
        warnings.append(
            f"{len(vertices)} vertices: their pairwise distances take {gigabytes:.1f} GB; a few thousand do as well"
        )
    return warnings


def _edge_warnings(vertices: np.ndarray, faces: np.ndarray) -> list[str]:
    warnings = []
    directed = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges, inverse, count = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    balance = np.bincount(inverse.ravel(), weights=np.where(directed[:, 0] < directed[:, 1], 1, -1))
    if (count > 2).any():
        warnings.append(
            f"{int((count > 2).sum())} edges belong to more than two faces: inside and outside are not defined there"
        )
    if (count == 1).any():
        warnings.append(
            f"{int((count == 1).sum())} border edges: the surface has holes, through which its back is seen"
        )
    if ((count == 2) & (balance != 0)).any():
        warnings.append(
            f"{int(((count == 2) & (balance != 0)).sum())} edges join faces of opposite winding: some normals point"
            " inwards"
        )
    elif (count == 2).all() and _volume(vertices, faces) < 0:
        warnings.append("the faces wind clockwise: all normals point inwards; turn them with --flip")
    return warnings


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = vertices[faces].astype(np.float64).transpose(1, 0, 2)
    return float(np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6)
