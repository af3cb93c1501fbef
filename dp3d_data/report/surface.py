"""A picture of a template with a colour for each vertex: far faces first, near faces over them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from dp3d_data.bodies.template import Template

# Rows are the image's right, down and away-from-the-viewer directions in the template frame (x forward, y left, z up).
VIEWS = {
    "left side": np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]),
    "right side": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
}
_STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float64)


def paint(template: Template, colours: UInt8[np.ndarray, "K 3"], view: Float[np.ndarray, "3 3"], width: int = 420) -> Image.Image:
    """The template seen from far away along view[2], lit a little from above, on white; orthographic.

    Args:
        colours: RGB of each vertex; a face has the mean of its corners.
        view: rows are the image's right, down and away directions in the template frame.
        width: pixels; the height follows from the template.
    """
    points = template.vertices.astype(np.float64) @ view.T
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 2 * width * 0.94 / max(high[0] - low[0], 1e-9)
    height = int(round(scale * (high[1] - low[1]) / 0.94)) + 2
    flat = (points[:, :2] - (low + high)[:2] / 2) * scale + np.array([width, height / 2])
    corners = points[template.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    light = 0.62 + 0.38 * np.abs(normal @ np.array([0.2, -0.6, -0.77]))
    fill = (colours[template.faces].mean(axis=1) * light[:, None]).clip(0, 255).astype(np.uint8)
    canvas = Image.new("RGB", (2 * width, height), "white")
    draw = ImageDraw.Draw(canvas)
    for face in np.argsort(-corners[:, :, 2].mean(axis=1), kind="stable"):
        draw.polygon([tuple(point) for point in flat[template.faces[face]]], fill=tuple(int(value) for value in fill[face]))
    return canvas.resize((width, max(height // 2, 1)), Image.Resampling.LANCZOS)


def heat(values: Float[np.ndarray, "K"]) -> UInt8[np.ndarray, "K 3"]:
    """Dark violet at 0 to yellow at 1, RGB; values outside are clipped."""
    place = np.clip(np.nan_to_num(values), 0, 1) * (len(_STOPS) - 1)
    index = np.minimum(place.astype(int), len(_STOPS) - 2)
    share = (place - index)[:, None]
    return np.round(_STOPS[index] * (1 - share) + _STOPS[index + 1] * share).astype(np.uint8)
