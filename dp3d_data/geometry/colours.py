"""Colours of template vertices: by their place, by soft parts, and by values."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import hsv_to_rgb

from dp3d_data.geometry.template import Template

VALUES = "Spectral_r"  # matplotlib's map of colours for values on a body: light enough at 0 to show its shading


def colour_by_vertex(template: Template) -> UInt8[np.ndarray, "K 3"]:
    """RGB 0..255 of each vertex, from its place in the template (ours); see colour_by_position."""
    return colour_by_position(template.vertices)


def colour_by_position(points: Float[np.ndarray, "K 3"]) -> UInt8[np.ndarray, "K 3"]:
    """Hue along the long axis, lightness with height, a shift of hue between the two sides (ours).

    Each coordinate is replaced by its place between the extremes, 0..1, so that any template uses the whole range.

    Args:
        points: template frame: x forward, y left, z up.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    along, side, height = ((points - low) / np.maximum(high - low, 1e-9)).astype(np.float64).T
    hue = 0.78 * along + 0.14 * (side - 0.5)
    saturation = 0.95 - 0.35 * np.abs(side - 0.5)
    return _bytes(hsv_to_rgb(np.stack([hue % 1.0, saturation, 0.55 + 0.45 * height], axis=1)))


def colour_by_part(weights: Float[np.ndarray, "K M"]) -> UInt8[np.ndarray, "K 3"]:
    """The colour of each vertex, mixed by its assignment to M parts: hues by the golden ratio, two brightnesses."""
    part = np.arange(weights.shape[1])
    palette = np.stack([(0.03 + 0.618034 * part) % 1.0, np.full(len(part), 0.8), np.where(part % 2, 0.9, 0.75)], axis=1)
    return _bytes(weights @ hsv_to_rgb(palette))


def colour_by_value(values: Float[np.ndarray, "K"]) -> UInt8[np.ndarray, "K 3"]:
    """Blue at 0, yellow between, red at 1; values outside are clipped, NaN counts as 0."""
    return colormaps[VALUES](np.nan_to_num(values), bytes=True)[:, :3]


def _bytes(colours: Float[np.ndarray, "K 3"]) -> UInt8[np.ndarray, "K 3"]:
    return (255 * colours).round().clip(0, 255).astype(np.uint8)
