"""A colour for every template vertex: smooth over the surface, distinct between distant places."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from dp3d_data.geometry.template import Template


def colour_by_vertex(template: Template) -> UInt8[np.ndarray, "K 3"]:
    """RGB 0..255 of each vertex, from its place in the template (ours); see colour_by_position."""
    return colour_by_position(template.vertices)


def colour_by_position(points: Float[np.ndarray, "K 3"]) -> UInt8[np.ndarray, "K 3"]:
    """Hue along the long axis, lightness with height, a turn of hue between the two sides (ours).

    Each coordinate is replaced by its place between the extremes, 0..1, so that any template uses the whole range.

    Args:
        points: template frame: x forward, y left, z up.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    along, side, height = ((points - low) / np.maximum(high - low, 1e-9)).astype(np.float64).T
    hue = 0.78 * along + 0.14 * (side - 0.5)
    saturation = 0.95 - 0.35 * np.abs(side - 0.5)
    value = 0.55 + 0.45 * height
    return np.round(255 * hsv_to_rgb(hue % 1.0, saturation, value)).astype(np.uint8)


def hsv_to_rgb(
    hue: Float[np.ndarray, "K"], saturation: Float[np.ndarray, "K"], value: Float[np.ndarray, "K"]
) -> Float[np.ndarray, "K 3"]:
    """Hexcone colours, all values 0..1: channel n is v - v s max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6, n = 5, 3, 1."""
    k = (np.array([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * np.clip(np.minimum(k, 4 - k), 0, 1))
