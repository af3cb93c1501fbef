"""A mesh with every edge split at its midpoint: ids, faces, and the order that somebody else's features tell.

The published CSE mesh for people, smpl_27554, is SMPL's (6,890 vertices, 20,664 edges) split so: ids 0..6889 are
SMPL's, and each of the others lies on one edge. Which id lies on which edge was never published with a mesh. Programs
number edges in few ways; here the way is confirmed by the embedder's features, which are smooth functions on the mesh:
those of a midpoint are nearly the mean of those of its edge's ends. Where they confirm none, none is guessed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import TemplateError
from dp3d_data.geometry.template import Template, make_template

# The share of extra ids whose features must fit their edges: nearly all do in the right order, hardly any in a wrong
# one.
SURE = 0.9


def mesh_edges(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "E 2"]:
    """Every edge once, its smaller end first, in ascending order."""
    return np.unique(np.sort(_sides(faces).reshape(-1, 2), axis=1), axis=0).astype(np.int32)


def subdivide(template: Template, edges: Int[np.ndarray, "E 2"], name: str) -> Template:
    """The template with its edges split; edge e gets the id K + e.

    Args:
        edges: every edge of the template once, in the order of the new ids.

    Returns:
        A template of K + E vertices and 4 F faces, in the unit of the first.

    Raises:
        TemplateError: other edges than the template's.
    """
    count = template.num_vertices
    expected = mesh_edges(template.faces)
    ordered = np.sort(edges, axis=1)
    order = np.lexsort((ordered[:, 1], ordered[:, 0]))
    if not np.array_equal(ordered[order], expected):
        got, wanted = f"{len(edges)} edges", f"its {len(expected)} edges"
        raise TemplateError("these are not the edges of the mesh", got=got, expected=wanted)
    keys = expected[:, 0].astype(np.int64) * count + expected[:, 1]
    sides = np.sort(_sides(template.faces), axis=2).astype(np.int64)
    middle = np.searchsorted(keys, sides[..., 0] * count + sides[..., 1])
    a, b, c = template.faces.T
    ab, bc, ca = (count + order[middle[:, side]] for side in range(3))
    faces = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    points = template.vertices.astype(np.float64) * template.factor + template.center
    points = np.concatenate([points, points[ordered].mean(axis=1)])
    return make_template(name, points, faces.astype(np.int32), unit=template.unit)


def _sides(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3 2"]:
    """The sides of each face: from corner 0 to 1, 1 to 2, 2 to 0."""
    return np.stack([faces, np.roll(faces, -1, axis=1)], axis=2)


def edge_orders(faces: Int[np.ndarray, "F 3"]) -> dict[str, Int[np.ndarray, "E 2"]]:
    """The orders in which programs number the edges of a mesh: each edge once, its smaller end first."""
    edges = mesh_edges(faces)
    by_face = _sides(faces)
    return {
        "by smaller end, then larger": edges,
        "by larger end, then smaller": edges[np.lexsort((edges[:, 0], edges[:, 1]))],
        "as the faces name them, face by face": _first_named(by_face.reshape(-1, 2)),
        "as the faces name them, side by side": _first_named(by_face.transpose(1, 0, 2).reshape(-1, 2)),
    }


def _first_named(pairs: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, "E 2"]:
    ordered = np.sort(pairs, axis=1).astype(np.int32)
    return ordered[np.sort(np.unique(ordered, axis=0, return_index=True)[1])]


def agreement(features: Float[np.ndarray, "V n"], edges: Int[np.ndarray, "E 2"]) -> float:
    """Share 0..1 of extra ids whose features are nearer to the mean of their edge's ends than half the way."""
    extra = features[len(features) - len(edges) :]
    ends = features[edges].astype(np.float64)
    off = np.linalg.norm(extra - ends.mean(axis=1), axis=1)
    return float((off < np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) / 2).mean())


def edges_in_order(features: Float[np.ndarray, "V n"], faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "E 2"]:
    """The edge of each extra id of a subdivided mesh: of the known orders the one that smooth functions on it confirm.

    Args:
        features: Laplace-Beltrami eigenfunctions of the subdivided mesh, as they come with a network.
        faces: of the mesh before.

    Returns:
        [E, 2]: id K + e lies on edge e.

    Raises:
        TemplateError: the features are of another mesh, or confirm none of the orders.
    """
    orders, count = edge_orders(faces), int(faces.max()) + 1
    number = len(next(iter(orders.values())))
    if len(features) != count + number:
        got, expected = f"{len(features)} vertices", f"{count} + {number} = {count + number}"
        raise TemplateError("these features belong to another mesh", got=got, expected=expected)
    shares = {name: agreement(features, edges) for name, edges in orders.items()}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] < SURE:
        got = f"{shares[best]:.1%} at best"
        expected = f"{SURE:.0%}: SMPL's own mesh, and features in one of the orders {'; '.join(orders)}"
        raise TemplateError("the features confirm no order of the edges", got=got, expected=expected)
    return orders[best]
