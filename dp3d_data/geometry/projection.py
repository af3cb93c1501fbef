"""Cameras of fits (x right, y down, z away from the viewer), and noise on keypoints (supplement, section E)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from dp3d_data.errors import ShapeError


def to_camera(
    points: Float[np.ndarray, "*n 3"], rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "*n 3"]:
    """Points of the world in the camera frame: rotation @ point + translation, in the same unit."""
    return np.asarray(points, dtype=np.float64) @ np.asarray(rotation).T + translation


def project_perspective(
    points: Float[np.ndarray, "*n 3"], focal: tuple[float, float], centre: tuple[float, float]
) -> Float[np.ndarray, "*n 2"]:
    """Pixels of points under a pinhole: focal * (x, y) / z + centre.

    Args:
        points: camera frame, any unit.
        focal: (fx, fy) pixels.
        centre: (cx, cy), the principal point, pixels.

    Raises:
        ShapeError: a point does not lie before the camera.
    """
    points = np.asarray(points, dtype=np.float64)
    require_before_camera(points)
    return points[..., :2] / points[..., 2:] * focal + np.asarray(centre)


def project_orthographic(
    points: Float[np.ndarray, "*n 3"], scale: float, centre: tuple[float, float]
) -> Float[np.ndarray, "*n 2"]:
    """Pixels of points under parallel rays: scale * (x, y) + centre, scale in pixels per unit of the points."""
    return scale * np.asarray(points, dtype=np.float64)[..., :2] + np.asarray(centre)


def weak_scale(points: Float[np.ndarray, "K 3"], focal: tuple[float, float]) -> float:
    """The weak perspective scale nearest to a pinhole (ours): sqrt(fx fy) over the mean depth, pixels per unit.

    Raises:
        ShapeError: a point does not lie before the camera.
    """
    require_before_camera(points)
    return float(np.sqrt(focal[0] * focal[1]) / np.asarray(points, dtype=np.float64)[:, 2].mean())


def require_before_camera(points: Float[np.ndarray, "*n 3"]) -> None:
    """Refuse points that a pinhole at the origin cannot see.

    Raises:
        ShapeError: a point does not lie before the camera.
    """
    nearest = float(np.min(points[..., 2])) if points.size else 1.0
    if not nearest > 0:
        got = f"depth {nearest:.4g}"
        raise ShapeError("a point does not lie before the camera", got=got, expected="depths above 0")


def move_keypoints(
    keypoints: Float[np.ndarray, "K 2"], box: tuple[float, float, float, float], sigma: float, rng: np.random.Generator
) -> Float[np.ndarray, "K 2"]:
    """Independent Gaussian noise on x and y; sigma is a share of the box's longer side."""
    side = max(box[2] - box[0], box[3] - box[1])
    return keypoints + sigma * side * rng.standard_normal(np.shape(keypoints))


def hide_share(visible: Bool[np.ndarray, "K"], share: float, rng: np.random.Generator) -> Bool[np.ndarray, "K"]:
    """Hide that share of the visible vertices, to the nearest whole number, drawn at random.

    The vertices are hidden in one random order whatever the share, so that a larger share hides those of a smaller one
    too.

    Raises:
        ShapeError: share is not in 0..1.
    """
    if not 0 <= share <= 1:
        raise ShapeError("not a share", got=share, expected="0..1")
    seen = np.flatnonzero(visible)
    hidden = seen[np.argsort(rng.random(len(visible))[seen], kind="stable")[: int(round(share * len(seen)))]]
    result = np.array(visible)
    result[hidden] = False
    return result


def lower_half(rest: Float[np.ndarray, "K 3"], up: int) -> Bool[np.ndarray, "K"]:
    """Vertices below the middle of the rest template's height: the lower half in canonical orientation.

    Args:
        rest: the template's vertices.
        up: its axis that points up: 0, 1 or 2.
    """
    height = np.asarray(rest)[:, up]
    return height < (height.min() + height.max()) / 2
