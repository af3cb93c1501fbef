"""Pictures of a coloured mesh: one ray for each pixel, shaded by the angle to the light."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from dp3d_data.errors import DependencyMissing
from dp3d_model.export.texture import Texture

BACKGROUND = 246
AMBIENT, SOFT = 0.35, 0.75
LIGHT = np.array([-0.35, -0.6, -0.72])


def render_orthographic(
    vertices: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    colours: UInt8[np.ndarray, "k 3"],
    width: int,
    height: int,
    texture: Texture | None = None,
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """A picture and the mask of the pixels that show the mesh.

    Args:
        texture: gives the colours in place of `colours`, under softer light, for it has light of its own.
        vertices: camera frame, x and y in pixels of the picture (x right, y down; pixel (0, 0) has its centre at (0.5, 0.5)),
            z away from the viewer in the same unit.

    Raises:
        DependencyMissing: no ray caster (embreex).
    """
    face, x, y = _first_hits(vertices, faces, width, height)
    picture = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    mask = np.zeros((height, width), dtype=bool)
    if len(face):
        weights = _barycentric(vertices[faces[face], :2], np.stack([x + 0.5, y + 0.5], axis=1))
        normals = _smooth_normals(vertices, faces)
        normal = np.einsum("pc,pcd->pd", weights, normals[faces[face]])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-12)
        ambient = AMBIENT if texture is None else SOFT
        light = ambient + (1 - ambient) * (normal @ LIGHT).clip(0)
        if texture is None:
            colour = np.einsum("pc,pcd->pd", weights, colours[faces[face]].astype(np.float64))
        else:
            colour = texture.sample(face, weights)
        picture[y, x] = (colour * light[:, None]).clip(0, 255).astype(np.uint8)
        mask[y, x] = True
    return picture, mask


def silhouette(vertices: Float[np.ndarray, "k 3"], faces: Int[np.ndarray, "f 3"], width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The pixels that show the mesh; vertices as for `render_orthographic`."""
    _, x, y = _first_hits(vertices, faces, width, height)
    mask = np.zeros((height, width), dtype=bool)
    mask[y, x] = True
    return mask


def _first_hits(vertices: np.ndarray, faces: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first face along each pixel's ray, and the pixels that meet one: face, x, y."""
    try:
        import embreex  # noqa: F401
        import trimesh
        from trimesh.ray.ray_pyembree import RayMeshIntersector
    except ImportError as error:
        raise DependencyMissing("no ray caster", got=str(error), expected="trimesh and embreex") from error
    centre = np.array([width / 2, height / 2, float(vertices[:, 2].mean())])
    size = max(width, height)
    mesh = trimesh.Trimesh((vertices - centre) / size, faces, process=False)
    grid_y, grid_x = np.mgrid[0:height, 0:width]
    grid_x, grid_y = grid_x.ravel(), grid_y.ravel()
    near = np.full(grid_x.size, mesh.vertices[:, 2].min() - 1.0)
    origins = np.stack([(grid_x + 0.5 - centre[0]) / size, (grid_y + 0.5 - centre[1]) / size, near], axis=1)
    directions = np.tile([0.0, 0.0, 1.0], (len(origins), 1))
    face = RayMeshIntersector(mesh).intersects_first(origins, directions)
    hit = face >= 0
    return face[hit], grid_x[hit], grid_y[hit]


def _barycentric(corners: Float[np.ndarray, "p 3 2"], points: Float[np.ndarray, "p 2"]) -> Float[np.ndarray, "p 3"]:
    """Barycentric coordinates in the image, clipped to the triangle."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    weights = np.stack([_cross(b - points, c - points), _cross(c - points, a - points), _cross(a - points, b - points)], axis=1)
    weights = (weights / area[:, None]).clip(0.0, 1.0)
    return weights / weights.sum(1, keepdims=True).clip(1e-12)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def _smooth_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted vertex normals; outward for faces wound counter-clockwise in a right-handed frame."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros(vertices.shape)
    for i in range(3):
        np.add.at(total, faces[:, i], normal)
    return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12)
