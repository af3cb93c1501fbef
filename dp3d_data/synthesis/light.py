"""Light of the synthetic world, and the colours of a surface under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.geometry.renderer import TOWARD
from dp3d_data.geometry.visibility import RayScene, vertex_normals
from dp3d_data.synthesis.environments import GAMMA, Panorama

FLASHES = 0.08  # of the images without a place


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
    return Light(
        turned @ place.sun, place.sun_colour, frame @ place.ambient @ frame.T, view @ np.array([0.0, 0, 1]), 1 / GAMMA
    )


def vertex_shading(
    points: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"], scene: RayScene, light: Light
) -> Float[np.ndarray, "K 5"]:
    """Columns: the normal (3), whether the sun arrives, and the share of the surroundings that is open."""
    normals = vertex_normals(points, faces).astype(np.float32)
    lift = 6e-3 * np.ptp(points, axis=0).max()
    starts = points + lift * normals
    lit = ~scene.blocked(starts, light.sun)
    openness = np.zeros(len(points), dtype=np.float32)
    directions = (
        light.up,
        light.up + TOWARD,
        0.6 * light.up + np.array([1, 0, 0]),
        0.6 * light.up - np.array([1, 0, 0]),
    )
    for direction in directions:
        facing = np.clip(normals @ direction / np.linalg.norm(direction) + 0.6, 0, 1)
        openness += 0.25 * np.where(scene.blocked(starts, direction), 0.35, 1.0) * (0.5 + 0.5 * facing)
    return np.column_stack([normals, lit, openness]).astype(np.float32)


def shaded(
    colours: Float[np.ndarray, "N 3"], shading: Float[np.ndarray, "N 5"], light: Light, gloss: float
) -> Float[np.ndarray, "N 3"]:
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
