"""Cameras: where the viewer stands, how large the animal is, and where it lies in the image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dp3d_data.geometry.renderer import view_rotation

FILLS = ((0.6, 0.97), (0.35, 0.6), (0.2, 0.35))  # of the image's side: most animals fill it
CUT = 1.6
FARTHEST = 10.0  # body lengths from the animal's nearest point


def project(
    points: Float[np.ndarray, "K 3"], scale: float, translation: Float[np.ndarray, "2"], strength: float
) -> Float[np.ndarray, "K 3"]:
    """Image x, y in pixels, and a depth in pixels that keeps the order: scale * points / (1 + strength * z), moved.

    Args:
        points: camera frame (x right, y down, z away from the viewer), template units.
        scale: pixels per template unit where z is 0.
        translation: pixels.
        strength: one over the camera's distance from z = 0, in template units; 0 is orthographic.
    """
    projected = scale * points / (1 + strength * points[:, 2:])
    projected[:, :2] += translation
    return projected


def random_view(rng: np.random.Generator) -> tuple[Float[np.ndarray, "3 3"], tuple[float, float]]:
    """Where the viewer stands, as view_rotation, and the azimuth (-pi..pi) and elevation of it.

    A third see the animal from any side, a third from its flank, a third from before, half of these as a person who
    stands near it.
    """
    kind = rng.choice(("any", "flank", "front"), p=(0.32, 0.33, 0.35))
    low, mode, high = np.deg2rad([-10, 8, 45])
    elevation = rng.triangular(low, mode, high)
    if kind == "any":
        azimuth = rng.uniform(-np.pi, np.pi)
    elif kind == "flank":
        azimuth = rng.choice([-1, 1]) * np.deg2rad(rng.normal(65, 25))
    else:
        azimuth = np.deg2rad(rng.normal(0, 28))
        elevation = elevation if rng.random() < 0.5 else np.deg2rad(rng.uniform(20, 65))
    return view_rotation(azimuth, elevation, np.deg2rad(rng.normal(0, 6))), (float(azimuth), float(elevation))


def random_strength(rng: np.random.Generator, perspective: float, depth: float) -> float:
    """One over the camera's distance from the animal's centre, in template units.

    Args:
        perspective: strongest body length over the distance to the nearest point; the distance itself is drawn on a
            logarithmic scale up to FARTHEST body lengths.
        depth: from the centre to the nearest point, template units.
    """
    if perspective <= 0:
        return 0.0
    part = rng.random() ** rng.choice([1.0, 2.0])  # half of the photographs are taken near
    distance = np.exp(np.log(1 / perspective) + part * (np.log(FARTHEST) - np.log(1 / perspective)))
    return float(1 / (distance + depth))


def placed_camera(
    rng: np.random.Generator,
    points: Float[np.ndarray, "K 3"],
    focus: Float[np.ndarray, "3"],
    size: int,
    *,
    truncated: float,
    perspective: float,
) -> tuple[float, Float[np.ndarray, "2"], float]:
    """Scale, translation and strength with which `project` puts points in a square image, cut by its border in some.

    Args:
        points: camera frame, template units.
        focus: what half of the cut images are centred on: the head. Camera frame, template units.
        truncated: share of the images that are cut.
        perspective: strongest body length over the distance to the nearest point; 0 is orthographic.
    """
    strength = random_strength(rng, perspective, float(-points[:, 2].min()))
    cut = rng.random() < truncated
    flat = points[:, :2] / (1 + strength * points[:, 2:])
    low, high = flat.min(axis=0), flat.max(axis=0)
    extent = float((high - low).max())
    small, large = FILLS[int(rng.choice(len(FILLS), p=[0.76, 0.16, 0.08]))]
    fill = rng.uniform(0.8, CUT) if cut else rng.uniform(small, large)
    scale = fill * size / extent
    spare = size - scale * (high - low)
    place = rng.uniform(-0.15, 1.15, 2) if cut else rng.uniform(0.02, 0.98, 2)
    if cut and rng.random() < 0.5:
        scale *= np.exp(rng.uniform(0, np.log(2.4)))
        aim = scale * focus[:2] / (1 + strength * focus[2])
        return scale, size * rng.uniform(0.25, 0.75, 2) - aim, strength
    if cut:
        spare = np.where(np.abs(spare) < 0.2 * size, np.sign(spare) * 0.2 * size, spare)
    return scale, place * spare - scale * low, strength
