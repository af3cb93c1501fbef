"""Another meshing of a model's template: its functions, carried over from the nearest points of the model's own
surface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from dp3d_data.errors import TemplateMismatch
from dp3d_data.geometry.template import Template
from dp3d_model.geometry.surface import Surface, surface_of
from dp3d_model.lifting.model_file import check_template
from dp3d_model.networks.lifter import Lifter

# Mean distance between two meshings of one surface, template units.
APART = 0.02
NEIGHBOURS = 4


def lifter_for(lifter: Lifter, template: Template, remeshed: bool, path: str | Path | None = None) -> Lifter:
    """The model on the template of some shards: its own, or, where that is asked for, another meshing of it.

    Raises:
        TemplateMismatch: another template.
    """
    if not remeshed or template.content_hash == lifter.surface.content_hash:
        check_template(lifter, str(template.name), str(template.content_hash), path)
        return lifter
    return lifter.on(carried(lifter.surface, template, path))


def carried(surface: Surface, template: Template, path: str | Path | None = None) -> Surface:
    """The template with the functions of a surface that has the same shape (ours): linear inside the nearest triangle.

    Raises:
        TemplateMismatch: the two surfaces lie apart.
    """
    blank = np.zeros((len(template.vertices), 1), dtype=np.float32)
    found = surface_of(template, blank, 1)
    corners, weights, there = nearest_points(surface, found.vertices.numpy())
    back = nearest_points(found, surface.vertices.numpy())[2]
    apart = max(float(there.mean()), float(back.mean()))
    if apart > APART:
        raise TemplateMismatch(
            "the shards' template is no other meshing of the model's",
            got=f"{template.name}, on average {apart:.3f} of the extent away",
            expected=f"{surface.name}, at most {APART}",
            path=path,
        )
    functions = (torch.tensor(weights, dtype=torch.float32)[..., None] * surface.functions[torch.tensor(corners)]).sum(
        1
    )
    return replace(found, functions=functions)


def nearest_points(
    surface: Surface, points: Float[np.ndarray, "q 3"]
) -> tuple[Int[np.ndarray, "q 3"], Float[np.ndarray, "q 3"], Float[np.ndarray, "q"]]:
    """The point of a surface near each point: corners of its triangle, barycentric weights, and distance.

    Candidates are the triangles around the nearest vertices; on each the foot of the perpendicular, its weights clipped
    to the triangle.
    """
    vertices, faces = surface.vertices.double().numpy(), surface.faces.long().numpy()
    around = _faces_around(faces, len(vertices))
    _, near = cKDTree(vertices).query(points, k=min(NEIGHBOURS, len(vertices)))
    triangles = faces[around[near.reshape(len(points), -1)].reshape(len(points), -1)]
    weights = _weights(vertices[triangles], np.asarray(points, dtype=np.float64)[:, None])
    feet = (weights[..., None] * vertices[triangles]).sum(2)
    distance = np.linalg.norm(feet - points[:, None], axis=2)
    best = distance.argmin(1)
    rows = np.arange(len(points))
    return triangles[rows, best], weights[rows, best], distance[rows, best]


def _faces_around(faces: Int[np.ndarray, "f 3"], count: int) -> Int[np.ndarray, "k most"]:
    """Faces at each vertex, the last one repeated; face 0 where a vertex has none."""
    owners, order = np.sort(faces, axis=None, kind="stable"), np.argsort(faces, axis=None, kind="stable")
    degree = np.bincount(owners, minlength=count)
    first = np.cumsum(degree) - degree
    slots = np.minimum(np.arange(degree.max())[None], np.maximum(degree - 1, 0)[:, None])
    return np.where(degree[:, None] > 0, order[np.minimum(first[:, None] + slots, len(order) - 1)] // 3, 0)


def _weights(corners: Float[np.ndarray, "q t 3 3"], points: Float[np.ndarray, "q 1 3"]) -> Float[np.ndarray, "q t 3"]:
    a, b, c = corners[:, :, 0], corners[:, :, 1], corners[:, :, 2]
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = (u * u).sum(2), (u * v).sum(2), (v * v).sum(2)
    wu, wv = (w * u).sum(2), (w * v).sum(2)
    area = np.maximum(uu * vv - uv**2, 1e-18)
    second, third = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    weights = np.clip(np.stack([1.0 - second - third, second, third], axis=2), 0.0, None)
    return weights / weights.sum(2, keepdims=True)
