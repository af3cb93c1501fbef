"""A picture of a template from several sides, coloured by place, without a renderer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

from dp3d_data.geometry.colours import colour_by_position


def turntable(
    vertices: Float[np.ndarray, "K 3"],
    faces: Int[np.ndarray, "F 3"],
    *,
    views: int = 6,
    size: int = 256,
    elevation: float = 15.0,
    colors: Float[np.ndarray, "K 3"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Orthographic views side by side, the first along the template's x axis (the nose towards the viewer).

    Triangles are painted from back to front, so deeply interlocking ones may show through; good enough to look at.
    elevation is in degrees; colors [K, 3] in 0..1, those of the overlays (colour_by_position) where not given.
    """
    from PIL import Image, ImageDraw

    low, high = vertices.min(axis=0), vertices.max(axis=0)
    if colors is None:
        colors = colour_by_position(vertices) / 255
    tint = colors[faces].mean(axis=1)
    scale = 0.94 * 2 * size / max(float(np.linalg.norm(high - low)), 1e-9)
    strip = Image.new("RGB", (2 * size * views, 2 * size), "white")
    draw = ImageDraw.Draw(strip)
    for view in range(views):
        camera = _camera(2 * np.pi * view / views, np.deg2rad(elevation))
        seen = (vertices - (low + high) / 2) @ camera.T
        flat = seen[:, :2] * scale + [2 * size * (view + 0.5), size]
        normals = np.cross(seen[faces[:, 1]] - seen[faces[:, 0]], seen[faces[:, 2]] - seen[faces[:, 0]])
        light = np.abs(normals[:, 2]) / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
        shade = (255 * tint * (0.35 + 0.65 * light[:, None])).astype(int)
        for face in np.argsort(-seen[faces, 2].mean(axis=1), kind="stable"):
            draw.polygon([tuple(corner) for corner in flat[faces[face]].tolist()], fill=tuple(shade[face].tolist()))
    return np.asarray(strip.resize((size * views, size), Image.Resampling.BOX))


def _camera(azimuth: float, elevation: float) -> Float[np.ndarray, "3 3"]:
    """camera_from_template (x right, y down, z away) of a viewer at that azimuth, from the x axis towards y."""
    away = -np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.cross(away, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(away, right), away])
