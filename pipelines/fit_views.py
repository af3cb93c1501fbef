"""One fit to what its camera sees of the posed body: keypoints, visibility, areas and truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.datasets.fits import FitCamera
from dp3d_data.errors import InputCorrupt
from dp3d_data.geometry import Template
from dp3d_data.geometry.perturbation import hide_share, lower_half, move_keypoints
from dp3d_data.geometry.projection import project_orthographic, project_perspective, to_camera, weak_scale
from dp3d_data.geometry.visibility import inside_mask, vertex_areas, visible_fraction, visible_vertices
from dp3d_data.records import VertexView
from dp3d_data.shards.instances import Camera, Truth

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class FitView:
    """What a camera sees of a posed body.

    Attributes:
        keypoints: [K, 2] image pixels, of all vertices.
        visible: [K]; inside the image, facing the camera, hidden by nothing.
        area, posed_area: visible share of the rest template's and of the posed surface's area.
        box: xyxy, image pixels, of the fit or of the projection inside the image.
        truth: vertices around their mean in the camera frame, template units, and the scale, pixels per template unit.
    """

    keypoints: Float[np.ndarray, "K 2"]
    visible: Bool[np.ndarray, "K"]
    area: float
    posed_area: float
    box: Box
    truth: Truth


def fit_view(
    vertices: Float[np.ndarray, "K 3"],
    template: Template,
    camera: FitCamera,
    size: tuple[int, int],
    box: Box | None = None,
    mask: Bool[np.ndarray, "H W"] | None = None,
) -> FitView:
    """Project a posed body.

    Args:
        vertices: in the fit's world, metres.
        size: (width, height) of the image, pixels.
        box: xyxy; that of the projection where not given.
        mask: the instance's pixels; vertices that fall elsewhere are hidden.

    Raises:
        ShapeError: a vertex does not lie before a perspective camera.
        InputCorrupt: nothing of the body lies in the image.
    """
    seen = to_camera(vertices, camera.rotation, camera.translation)
    perspective = camera.kind == "perspective"
    if perspective:
        focal = cast(tuple[float, float], camera.focal)
        keypoints, scale = project_perspective(seen, focal, camera.centre), weak_scale(seen, focal)
    else:
        scale = cast(float, camera.scale)
        keypoints = project_orthographic(seen, scale, camera.centre)
    visible = visible_vertices(seen, template.faces, perspective=perspective)
    visible &= (keypoints >= 0).all(axis=1) & (keypoints < size).all(axis=1)
    if mask is not None:
        visible &= inside_mask(keypoints, mask)
    middle = seen.mean(axis=0)
    truth = Truth(
        (seen - middle) / template.factor, scale * template.factor, template.metres, _camera(camera, template, middle)
    )
    areas = (
        visible_fraction(visible, template.vertex_areas),
        visible_fraction(visible, vertex_areas(seen, template.faces)),
    )
    return FitView(keypoints, visible, *areas, box or _box(keypoints, size), truth)


def _camera(camera: FitCamera, template: Template, middle: Float[np.ndarray, "3"]) -> Camera:
    """The camera as it sees the true vertices, which are centred and in template units."""
    if camera.kind == "perspective":
        return Camera.perspective(cast(tuple[float, float], camera.focal), camera.centre, template.factor, middle)
    scale = cast(float, camera.scale)
    return Camera.orthographic(scale * template.factor, scale * middle[:2] + camera.centre)


def _box(keypoints: Float[np.ndarray, "K 2"], size: tuple[int, int]) -> Box:
    low, high = np.clip(keypoints.min(axis=0), 0, size), np.clip(keypoints.max(axis=0), 0, size)
    if not (high > low).all():
        got = f"x, y {keypoints.min(axis=0).round(1).tolist()} to {keypoints.max(axis=0).round(1).tolist()}"
        raise InputCorrupt(
            "nothing of the body lies in the image", got=got, expected=f"inside {size[0]} x {size[1]} pixels"
        )
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


@dataclass(frozen=True)
class Noise:
    """The supplement's section E; `below` marks the lower half of the rest template."""

    sigma: float
    hide: float
    hide_lower: float
    seed: int
    below: Bool[np.ndarray, "K"]

    @staticmethod
    def make(template: Template, up: str, *, sigma: float, hide: float, hide_lower: float, seed: int) -> Noise:
        return Noise(sigma, hide, hide_lower, seed, lower_half(template.vertices, "xyz".index(up)))

    def apply(
        self, keypoints: Float[np.ndarray, "K 2"], visible: Bool[np.ndarray, "K"], box: Box, index: int
    ) -> tuple[Float[np.ndarray, "K 2"], Bool[np.ndarray, "K"]]:
        """Keypoints and visibility of fit `index` with noise, a function of the seed and the index alone."""
        moved, hidden, lower = (
            np.random.default_rng(sequence) for sequence in np.random.SeedSequence([self.seed, index]).spawn(3)
        )
        if self.sigma:
            keypoints = move_keypoints(keypoints, box, self.sigma, moved)
        if self.hide_lower and lower.random() < self.hide_lower:
            visible = visible & ~self.below
        return keypoints, hide_share(visible, self.hide, hidden)


def vertex_view(
    keypoints: Float[np.ndarray, "K 2"], visible: Bool[np.ndarray, "K"], subset: Int[np.ndarray, "V"] | None
) -> VertexView:
    """The visible vertices, of the subset where there is one; each counts as one pixel without spread."""
    if subset is not None:
        kept = np.zeros_like(visible)
        kept[subset] = True
        visible = visible & kept
    ids = np.flatnonzero(visible).astype(np.int32)
    return VertexView(
        ids, keypoints[ids].astype(np.float32), np.ones(len(ids), np.int32), np.zeros(len(ids), np.float32)
    )
