"""Obvious twin of what a pinhole sees."""

import numpy as np


def visible_slow(vertices, faces, normals, tolerance):
    """A vertex that faces the origin, and no triangle between it, lifted off its surface, and the viewer (Cramer's
    rule)."""
    lift = tolerance * np.ptp(vertices, axis=0).max()
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    visible = []
    for vertex, normal in zip(vertices, normals, strict=True):
        toward = -vertex / np.linalg.norm(vertex)
        start = vertex + lift * (normal + toward)
        hidden = False
        for p, q, r in zip(a, b, c, strict=True):
            matrix = np.stack([q - p, r - p, -toward], axis=1)
            if abs(np.linalg.det(matrix)) < 1e-14:
                continue
            u, v, distance = np.linalg.solve(matrix, start - p)
            hidden |= bool(u >= 0 and v >= 0 and u + v <= 1 and distance > 0)
        visible.append(bool(normal @ toward > 0 and not hidden))
    return np.array(visible)
