"""Even out a decimated triangle mesh: split long edges, flip towards Delaunay, slide vertices over the true surface."""

from __future__ import annotations

import numpy as np
import trimesh
from scipy.spatial import cKDTree


class Surface:
    """A dense mesh to project onto."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.faces = faces
        self.triangles = vertices[faces]
        self.tree = cKDTree(self.triangles.mean(axis=1))

    def closest(self, points: np.ndarray, candidates: int = 24) -> tuple[np.ndarray, np.ndarray]:
        """Closest surface points [N, 3] and their triangles [N], among the triangles with the nearest centres."""
        _, near = self.tree.query(points, k=candidates)
        repeated = np.repeat(points, candidates, axis=0)
        feet = trimesh.triangles.closest_point(self.triangles[near.ravel()], repeated).reshape(-1, candidates, 3)
        best = np.linalg.norm(feet - points[:, None], axis=2).argmin(axis=1)
        rows = np.arange(len(points))
        return feet[rows, best], near[rows, best]

    def interpolate(self, points: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values of the dense vertices [V, C] at the surface points nearest to points [N, 3]."""
        feet, face = self.closest(points)
        shares = trimesh.triangles.points_to_barycentric(self.triangles[face], feet)
        return np.einsum("nc,ncv->nv", np.clip(shares, 0, 1), values[self.faces[face]])


def refine(vertices: np.ndarray, faces: np.ndarray, surface: Surface, longest: float, smoothing: int):
    """Split edges over `longest` and flip until nothing changes, then smooth; border vertices (y = 0) stay on y = 0."""
    for _ in range(40):
        faces, flips = flip_edges(vertices, faces)
        before = len(vertices)
        vertices, faces = split_edges(vertices, faces, longest)
        vertices[before:] = on_surface(vertices[before:], surface)
        if len(vertices) == before and not flips:
            break
    for _ in range(smoothing):
        vertices = slide(vertices, faces, surface)
        faces, _ = flip_edges(vertices, faces)
    return vertices, faces


def on_surface(points: np.ndarray, surface: Surface) -> np.ndarray:
    if len(points) == 0:
        return points
    flat = points[:, 1] == 0
    feet, _ = surface.closest(points)
    feet[flat, 1] = 0
    return feet


def edge_table(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [E, 2] and their one or two faces [E, 2], -1 where there is no second."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, inverse, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    start = np.cumsum(count) - count
    face = order // 3
    second = np.where(count == 2, face[np.minimum(start + 1, len(face) - 1)], -1)
    return edges, np.stack([face[start], second], axis=1)


def split_edges(vertices: np.ndarray, faces: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Halve edges longer than `longest`, the longest first, each face at most once."""
    edges, sides = edge_table(faces)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    used = np.zeros(len(faces), dtype=bool)
    middles: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    for edge in np.argsort(-length, kind="stable"):
        owners = [face for face in sides[edge] if face >= 0]
        if length[edge] <= longest:
            break
        if used[owners].any():
            continue
        used[owners] = True
        a, b = edges[edge]
        middle = len(vertices) + len(middles)
        middles.append((vertices[a] + vertices[b]) / 2)
        for face in owners:
            parts += [np.where(faces[face] == b, middle, faces[face]), np.where(faces[face] == a, middle, faces[face])]
    if not middles:
        return vertices, faces
    return np.concatenate([vertices, middles]), np.concatenate([faces[~used], parts])


def flip_edges(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, int]:
    """Flip edges whose opposite angles sum to more than pi, where the surface stays flat enough."""
    faces = faces.copy()
    edges, sides = edge_table(faces)
    known = set(map(tuple, edges.tolist()))
    used = np.zeros(len(faces), dtype=bool)
    flips = 0
    for (a, b), (left, right) in zip(edges.tolist(), sides.tolist(), strict=True):
        if right < 0 or used[left] or used[right]:
            continue
        corners = faces[left].tolist()
        if corners[(corners.index(a) + 1) % 3] != b:
            left, right = right, left
        c, d = int(faces[left].sum()) - a - b, int(faces[right].sum()) - a - b
        if (min(c, d), max(c, d)) in known or not _better(*vertices[[a, b, c, d]]):
            continue
        faces[left], faces[right] = (a, d, c), (d, b, c)
        used[[left, right]] = True
        known.discard((a, b))
        known.add((min(c, d), max(c, d)))
        flips += 1
    return faces, flips


def _better(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    if _angle(c, a, b) + _angle(d, a, b) <= np.pi + 1e-6:
        return False
    before = _normal(a, b, c), _normal(b, a, d)
    after = _normal(a, d, c), _normal(d, b, c)
    return min(old @ new for old in before for new in after) > 0.8


def _angle(at: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return np.arctan2(np.linalg.norm(np.cross(a - at, b - at)), (a - at) @ (b - at))


def _normal(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    normal = np.cross(b - a, c - a)
    return normal / max(np.linalg.norm(normal), 1e-30)


def slide(vertices: np.ndarray, faces: np.ndarray, surface: Surface, step: float = 0.4) -> np.ndarray:
    """Move each vertex towards the mean of its neighbours, within the tangent plane, then back onto the surface."""
    edges, _ = edge_table(faces)
    total = np.zeros_like(vertices)
    for near, far in (edges.T, edges.T[::-1]):
        np.add.at(total, near, vertices[far])
    move = total / np.bincount(edges.ravel(), minlength=len(vertices))[:, None] - vertices
    normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals
    move -= normals * np.sum(move * normals, axis=1, keepdims=True)
    border = vertices[:, 1] == 0
    move[border] = 0
    moved = vertices + step * move
    moved[~border] = on_surface(moved[~border], surface)
    return moved
