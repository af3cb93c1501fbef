"""Obvious twins of the world's kernels."""

import numpy as np


def first_hit_slow(vertices, faces, x, y):
    """Every triangle in turn: the nearest one over a pixel (largest depth is farthest), with its barycentric
    weights."""
    best, weights, depth = -1, np.zeros(3), np.inf
    for number, face in enumerate(faces):
        a, b, c = vertices[face]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if abs(area) < 1e-12:
            continue
        v = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
        w = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
        z = (1 - v - w) * a[2] + v * b[2] + w * c[2]
        if min(v, w, 1 - v - w) >= 0 and z < depth:
            best, weights, depth = number, np.array([1 - v - w, v, w]), z
    return best, weights, depth


def visible_slow(vertices, faces, normals, tolerance):
    """A vertex that faces the viewer, and no triangle before the point lifted off it."""
    lift = tolerance * np.ptp(vertices, axis=0).max()
    visible = []
    for vertex, normal in zip(vertices, normals, strict=True):
        start = vertex + lift * (normal + np.array([0, 0, -1.0]))
        _, _, depth = first_hit_slow(vertices, faces, start[0], start[1])
        visible.append(bool(normal[2] < 0 and not depth < start[2]))
    return np.array(visible)
