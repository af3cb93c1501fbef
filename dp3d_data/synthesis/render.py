"""Rendering: which triangle each pixel shows, and its shaded colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.geometry.visibility import RayScene, vertex_normals
from dp3d_data.synthesis.environments import GAMMA, Panorama

FLASHES = 0.08  # of the images without a place
TOWARD = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Hits:
    """The pixels of an image that show the mesh.

    rows, columns [N]; triangles [N]; weights [N, 3] of the triangle's corners; size of the image (height, width).
    """

    rows: Int[np.ndarray, "N"]
    columns: Int[np.ndarray, "N"]
    triangles: Int[np.ndarray, "N"]
    weights: Float[np.ndarray, "N 3"]
    size: tuple[int, int]

    @property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        mask = np.zeros(self.size, dtype=bool)
        mask[self.rows, self.columns] = True
        return mask

    def nearest_vertices(self, faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "N"]:
        """The corner with the largest weight, as the correspondence of the pixel (ours)."""
        return faces[self.triangles, np.argmax(self.weights, axis=1)]

    def vertex_map(self, faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "H W"]:
        """Template vertex of each pixel, -1 outside."""
        ids = np.full(self.size, -1, dtype=np.int32)
        ids[self.rows, self.columns] = self.nearest_vertices(faces)
        return ids

    def interpolate(self, values: Float[np.ndarray, "K C"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "N C"]:
        """Values at vertices to values at the pixels."""
        corners = faces[self.triangles]
        return sum(self.weights[:, [corner]] * values[corners[:, corner]] for corner in range(3))


def cast_pixels(
    scene: RayScene, points: Float[np.ndarray, "K 3"], size: tuple[int, int], jitter: Float[np.ndarray, "H W 2"] | None = None
) -> Hits:
    """One ray through the centre of each pixel of the projected box.

    Args:
        scene: the mesh of `points`, image x, y in pixels and a depth.
        size: height and width of the image.
        jitter: pixels by which each ray is moved, for the ragged outline of fur.
    """
    height, width = size
    low = np.maximum(np.floor(points[:, :2].min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(points[:, :2].max(axis=0)).astype(int) + 2, [width, height])
    rows, columns = np.mgrid[low[1] : max(high[1], low[1]), low[0] : max(high[0], low[0])]
    rows, columns = rows.ravel(), columns.ravel()
    origins = np.empty((len(rows), 3), dtype=np.float32)
    origins[:, 0], origins[:, 1], origins[:, 2] = columns + 0.5, rows + 0.5, points[:, 2].min() - 10
    if jitter is not None:
        origins[:, :2] += jitter[rows, columns]
    if not len(rows):
        return Hits(rows, columns, rows, np.zeros((0, 3)), size)
    triangles, weights = scene.first_hits(origins, -TOWARD)
    hit = triangles >= 0
    return Hits(rows[hit], columns[hit], triangles[hit], weights[hit], size)


@dataclass(frozen=True)
class Light:
    """A sun and what comes from all around, camera frame; colours RGB, about 0..1.

    sun, up: unit vectors, to the sun and away from the ground; ambient: light of colour c on a unit normal n is
    [n, 1] ambient[c] [n, 1]; gamma: what turns light to the values of a picture.
    """

    sun: Float[np.ndarray, "3"]
    sun_colour: Float[np.ndarray, "3"]
    ambient: Float[np.ndarray, "3 4 4"]
    up: Float[np.ndarray, "3"]
    gamma: float = 1.0


def random_light(rng: np.random.Generator, view: Float[np.ndarray, "3 3"]) -> Light:
    """Sunny, overcast or indoor light from above, or a flash; `view` turns the world's axes (z up) to the camera's."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.triangular(10, 50, 85))
    sun = view @ np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    direct = rng.choice([rng.uniform(0.6, 1.1), rng.uniform(0.0, 0.4)], p=[0.55, 0.45])
    ambient = rng.uniform(0.35, 0.6) + 0.4 * max(0.0, 0.6 - direct)
    if rng.random() < FLASHES:
        sun, direct, ambient = TOWARD + rng.normal(0, 0.08, 3), rng.uniform(0.6, 1.2), rng.uniform(0.1, 0.4)
    warmth = rng.normal(0, 0.06)
    sky = ambient * np.array([1 - 0.5 * warmth, 1.0, 1 + 0.5 * warmth + rng.uniform(0, 0.08)])
    ground = ambient * rng.uniform(0.25, 0.75) * (1 + rng.normal(0, 0.06, 3))
    up = view @ np.array([0.0, 0, 1])
    form = np.zeros((3, 4, 4))
    form[:, :3, 3] = form[:, 3, :3] = np.outer(sky - ground, up) / 4
    form[:, 3, 3] = (sky + ground) / 2
    return Light(sun / np.linalg.norm(sun), direct * np.array([1 + warmth, 1.0, 1 - warmth]), form, up)


def place_light(place: Panorama, turned: Float[np.ndarray, "3 3"], view: Float[np.ndarray, "3 3"]) -> Light:
    """The light of a panorama whose axes `turned` brings to the camera's."""
    frame = np.eye(4)
    frame[:3, :3] = turned
    return Light(turned @ place.sun, place.sun_colour, frame @ place.ambient @ frame.T, view @ np.array([0.0, 0, 1]), 1 / GAMMA)


def vertex_shading(
    points: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], scene: RayScene, light: Light
) -> Float[np.ndarray, "K 5"]:
    """Columns: the normal (3), whether the sun arrives, and the share of the surroundings that is open."""
    normals = vertex_normals(points, faces).astype(np.float32)
    lift = 6e-3 * np.ptp(points, axis=0).max()
    starts = points + lift * normals
    lit = ~scene.blocked(starts, light.sun)
    openness = np.zeros(len(points), dtype=np.float32)
    directions = (light.up, light.up + TOWARD, 0.6 * light.up + np.array([1, 0, 0]), 0.6 * light.up - np.array([1, 0, 0]))
    for direction in directions:
        facing = np.clip(normals @ direction / np.linalg.norm(direction) + 0.6, 0, 1)
        openness += 0.25 * np.where(scene.blocked(starts, direction), 0.35, 1.0) * (0.5 + 0.5 * facing)
    return np.column_stack([normals, lit, openness]).astype(np.float32)


def shaded(colours: Float[np.ndarray, "N 3"], shading: Float[np.ndarray, "N 5"], light: Light, gloss: float) -> Float[np.ndarray, "N 3"]:
    """Light that leaves the surface: wrapped Lambert sun, sky and ground light, a soft highlight (ours)."""
    normals = shading[:, :3] / np.maximum(np.linalg.norm(shading[:, :3], axis=1, keepdims=True), 1e-6)
    lit, openness = shading[:, 3:4], shading[:, 4:5]
    toward_sun = np.clip((normals @ light.sun + 0.25) / 1.25, 0, 1)[:, None] * lit
    ambient = openness * _ambient(normals, light)
    half = light.sun + TOWARD
    half = half / max(np.linalg.norm(half), 1e-6)
    highlight = gloss * lit * np.clip(normals @ half, 0, 1)[:, None] ** 12
    return colours * (toward_sun * light.sun_colour + ambient) ** light.gamma + highlight * light.sun_colour


def _ambient(normals: Float[np.ndarray, "N 3"], light: Light) -> Float[np.ndarray, "N 3"]:
    """What arrives from all around at surfaces with these unit normals."""
    lifted = np.column_stack([normals, np.ones(len(normals))]).astype(np.float32)
    forms = light.ambient.astype(np.float32)
    return np.clip(np.stack([((lifted @ form) * lifted).sum(axis=1) for form in forms], axis=1), 0, None)
