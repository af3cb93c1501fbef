"""Panoramas of real places, and the light that falls on an animal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from dp3d_data.datasets.images import open_image
from dp3d_data.errors import DependencyMissing
from dp3d_data.geometry.renderer import TOWARD
from dp3d_data.geometry.visibility import RayScene, vertex_normals
from dp3d_data.synthesis.effects import Picture, blurred, paths_below, pixel_octaves

FLASHES = 0.08  # of the images without a place


@dataclass(frozen=True)
class Light:
    """A sun and what comes from all around, in the camera's frame or a panorama's; colours RGB, about 0..1.

    sun, up: unit vectors, to the strongest light and away from the ground; ambient: light of colour c on a unit normal
    n is [n, 1] ambient[c] [n, 1]; gamma: what turns light to the values of a picture.
    """

    sun: Float[np.ndarray, "3"]
    sun_colour: Float[np.ndarray, "3"]
    ambient: Float[np.ndarray, "3 4 4"]
    up: Float[np.ndarray, "3"]
    gamma: float = 1.0

    def turned(self, rotation: Float[np.ndarray, "3 3"]) -> Light:
        """The same light in the frame to which a rotation brings its own."""
        lifted = np.eye(4)
        lifted[:3, :3] = rotation
        ambient = lifted @ self.ambient @ lifted.T
        return replace(self, sun=rotation @ self.sun, ambient=ambient, up=rotation @ self.up)


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


def vertex_shading(scene: RayScene, light: Light) -> Float[np.ndarray, "K 5"]:
    """Columns: the normal (3), whether the sun arrives, and the share of the surroundings that is open."""
    points = scene.vertices
    normals = vertex_normals(points, scene.faces).astype(np.float32)
    lift = 6e-3 * np.ptp(points, axis=0).max()
    starts = points + lift * normals
    lit = ~scene.blocked(starts, light.sun)
    openness = np.zeros(len(points), dtype=np.float32)
    right = np.array([1, 0, 0])
    for direction in (light.up, light.up + TOWARD, 0.6 * light.up + right, 0.6 * light.up - right):
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
    lifted = np.column_stack([normals, np.ones(len(normals))]).astype(np.float32)
    around = [((lifted @ form) * lifted).sum(axis=1) for form in light.ambient.astype(np.float32)]
    ambient = openness * np.clip(np.stack(around, axis=1), 0, None)
    half = light.sun + TOWARD
    half = half / max(np.linalg.norm(half), 1e-6)
    highlight = gloss * lit * np.clip(normals @ half, 0, 1)[:, None] ** 12
    return colours * (toward_sun * light.sun_colour + ambient) ** light.gamma + highlight * light.sun_colour


SHARE = 0.55  # of the images
SUFFIXES = {".exr", ".jpg", ".jpeg", ".png", ".webp"}
WIDEST = 1024  # columns that are kept of a panorama
MAX_PIXELS = 1 << 27  # of a panorama: 16,384 x 8,192
BRIGHT = 6.0  # times the mean: what is brighter belongs to the sun
SUNNIEST = 3.5  # times the light from all around
EXPOSURE = 0.6  # light on the animal
BALANCE = 0.75  # share of the light's tint that the camera takes out
GAMMA = 2.2


# A place in exposed linear light, and the light there. Its frame: x at the middle column, y to the left of it, z up.
Panorama = tuple[Float[np.ndarray, "H W 3"], Light]


@lru_cache(maxsize=8)
def panorama_paths(folder: str) -> tuple[Path, ...]:
    """The panoramas of a folder and its subfolders, in order.

    Raises:
        InputMissing, NothingToDo: see `paths_below`.
        DependencyMissing: some are EXR, and OpenEXR is not installed.
    """
    paths = paths_below(folder, SUFFIXES, "panoramas", "environments")
    if any(path.suffix.lower() == ".exr" for path in paths):
        try:
            import OpenEXR  # noqa: F401
        except ImportError as error:
            hint = "pip install 'dp3d[synth]'"
            raise DependencyMissing("panoramas in EXR need OpenEXR", got=error, hint=hint) from error
    return paths


@lru_cache(maxsize=64)
def panorama(path: Path) -> Panorama | None:
    """A panorama with its light; None if the file is no picture."""
    try:
        picture = _exr(path) if path.suffix.lower() == ".exr" else _plain(path)
    except (OSError, ValueError, RuntimeError, KeyError):  # those of ours are OSErrors and ValueErrors
        return None
    height, width = picture.shape[:2]
    if width > WIDEST:
        factor = -(-width // WIDEST)
        rows, columns = height // factor, width // factor
        blocks = picture[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
        picture = blocks.mean(axis=(1, 3))
    return _lit(np.clip(np.nan_to_num(picture, posinf=6e4), 0, 6e4))


def _exr(path: Path) -> Float[np.ndarray, "H W 3"]:
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name.rpartition(".")[2]: channel.pixels for name, channel in file.channels().items()}
    grey = channels.get("Y")
    return np.stack([np.asarray(channels[name] if grey is None else grey, dtype=np.float32) for name in "RGB"], axis=2)


def _plain(path: Path) -> Float[np.ndarray, "H W 3"]:
    with open_image(path, MAX_PIXELS) as image:
        image.draft("RGB", (WIDEST, WIDEST // 2))
        return (np.asarray(image.convert("RGB"), dtype=np.float32) / 255) ** GAMMA


def _lit(picture: Float[np.ndarray, "H W 3"]) -> Panorama:
    """Part the light into what comes from everywhere and what from its brightest place; expose both well."""
    directions, area = _sphere(*picture.shape[:2])
    grey = picture.mean(axis=2)
    ceiling = BRIGHT * max(float((np.minimum(grey, np.quantile(grey, 0.98)) * area).sum() / area.sum()), 1e-6)
    picture = np.where(grey[:, :, None] > ceiling, grey[:, :, None], picture)  # what outshines the sensor has no hue
    soft = picture * np.minimum(1, ceiling / np.maximum(grey, 1e-9))[:, :, None]
    sharp = ((picture - soft) * area[:, :, None]).reshape(-1, 3)
    toward = directions.reshape(-1, 3).T @ sharp.sum(axis=1)
    length = float(np.linalg.norm(toward))
    sun = toward / length if length > 1e-6 else np.array([0.0, 0, 1])
    agreement = length / max(float(sharp.sum()), 1e-6)  # 1: one lamp; 0: lamps all around
    sun_colour = sharp.sum(axis=0) / np.pi * agreement
    ambient = irradiance(soft, directions, area)
    balance = (ambient[:, 3, 3] / max(float(ambient[:, 3, 3].mean()), 1e-6)) ** -BALANCE  # as cameras do
    picture, ambient, sun_colour = picture * balance, ambient * balance[:, None, None], sun_colour * balance
    around = max(float(ambient[:, 3, 3].mean()), 1e-6)
    sun_colour *= min(1.0, SUNNIEST * around / max(float(sun_colour.mean()), 1e-6))
    exposure = EXPOSURE / (around + 0.3 * float(sun_colour.mean()))
    light = Light(sun, sun_colour * exposure, ambient * exposure, np.array([0.0, 0, 1]), 1 / GAMMA)
    return (picture * exposure).astype(np.float32), light


def _sphere(height: int, width: int) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
    """The direction of each pixel of a panorama and its solid angle."""
    polar = (np.arange(height) + 0.5) * np.pi / height
    azimuth = np.pi - (np.arange(width) + 0.5) * 2 * np.pi / width
    flat, up = np.sin(polar)[:, None], np.broadcast_to(np.cos(polar)[:, None], (height, width))
    directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up], axis=2)
    return directions, np.broadcast_to(flat * (np.pi / height) * (2 * np.pi / width), (height, width))


def irradiance(
    picture: Float[np.ndarray, "H W 3"], directions: Float[np.ndarray, "H W 3"], area: Float[np.ndarray, "H W"]
) -> Float[np.ndarray, "3 4 4"]:
    """Light that arrives at a surface, over pi, as a quadratic form of its normal (Ramamoorthi and Hanrahan 2001)."""
    x, y, z = directions.reshape(-1, 3).T
    light = (picture * area[:, :, None]).reshape(-1, 3)
    # What each harmonic basis function, times its share in the cosine, contributes: constant, linear, quadratic.
    constant, linear = light.sum(axis=0) / (4 * np.pi), light.T @ np.stack([x, y, z], axis=1) / (2 * np.pi)
    flat = directions.reshape(-1, 3)
    moments = np.stack([(flat * channel[:, None]).T @ flat for channel in light.T])
    quadratic = 15 / 32 / np.pi * (moments - np.eye(3) * np.trace(moments, axis1=1, axis2=2)[:, None, None] / 3)
    form = np.zeros((3, 4, 4))
    form[:, :3, :3], form[:, 3, 3] = quadratic, constant
    form[:, :3, 3] = form[:, 3, :3] = linear / 2
    return form


def random_panorama(rng: np.random.Generator, folder: str) -> Panorama | None:
    """One of a folder's panoramas in a share of the images, turned about the vertical by any angle."""
    if not folder or rng.random() >= SHARE:
        return None
    paths = panorama_paths(folder)
    return panorama(paths[rng.integers(len(paths))])


def place_view(
    rng: np.random.Generator, place: Float[np.ndarray, "H W 3"], turned: Float[np.ndarray, "3 3"], size: int
) -> Picture:
    """A panorama as a camera sees it, 0..1, out of focus: `turned` brings its axes to the camera's."""
    field = np.tan(np.deg2rad(rng.uniform(22, 75)) / 2)
    side = min(96, size)
    across = (np.arange(side) + 0.5) / side * 2 - 1
    rays = np.stack([*np.meshgrid(across * field, across * field), np.ones((side, side))], axis=2) @ turned
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    light = np.maximum(_looked_up(place, rays) * np.exp(rng.normal(0, 0.25)), 0)
    picture = np.clip(light * (1 + light / 6) / (1 + 0.6 * light), 0, 1) ** (1 / GAMMA)  # bright places fade to white
    picture = blurred(_enlarged(picture, size), size / 256 * rng.uniform(0.4, 4))
    if rng.random() < 0.6:  # the ground near the animal is in focus
        ground = _enlarged(np.clip(-5 * rays[:, :, 2:], 0, 1), size)
        cells, aspect = size / rng.uniform(5, 16), rng.choice([0.5, 1.0, 2.0])
        fine = pixel_octaves(rng, size, size, cells, 3, fade=0.9, aspect=aspect)
        picture = np.clip(picture * (1 + rng.uniform(0.05, 0.3) * ground * fine[:, :, None]), 0, 1)
    return picture.astype(np.float32)


def _enlarged(picture: Float[np.ndarray, "s s C"], size: int) -> Float[np.ndarray, "S S C"]:
    """Values 0..1 of a small square image, smoothly at another size."""
    bands = [Image.fromarray(band.astype(np.float32)) for band in np.moveaxis(picture, 2, 0)]
    large = [np.asarray(band.resize((size, size), Image.Resampling.BICUBIC)) for band in bands]
    return np.clip(np.stack(large, axis=2), 0, 1)


def _looked_up(picture: Float[np.ndarray, "H W 3"], rays: Float[np.ndarray, "S S 3"]) -> Float[np.ndarray, "S S 3"]:
    """Light along unit rays in the panorama's frame, between four of its pixels."""
    height, width = picture.shape[:2]
    row = np.arccos(np.clip(rays[:, :, 2], -1, 1)) / np.pi * height - 0.5
    column = (np.pi - np.arctan2(rays[:, :, 1], rays[:, :, 0])) / (2 * np.pi) * width - 0.5
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    down, right = (row - top)[:, :, None], (column - left)[:, :, None]
    rows, columns = np.clip([top, top + 1], 0, height - 1), np.stack([left, left + 1]) % width
    first, second = (picture[one, columns[0]] * (1 - right) + picture[one, columns[1]] * right for one in rows)
    return first * (1 - down) + second * down
