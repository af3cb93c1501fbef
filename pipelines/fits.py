"""Fits to what their cameras see of the posed bodies: keypoints, visibility, areas and truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Bool, Float, Int

from dp3d_data.bodies.files import load_body_model
from dp3d_data.bodies.model import BodyModel, joint_scales
from dp3d_data.bodies.posing import BodyTensors, body_tensors, pose_body
from dp3d_data.datasets.fits import Fit, FitCamera
from dp3d_data.errors import InputCorrupt, ShapeError, UsageError
from dp3d_data.geometry import Template
from dp3d_data.geometry.mesh_files import read_mesh
from dp3d_data.geometry.symmetry import mirrored_vertices
from dp3d_data.geometry.visibility import (
    hide_share,
    inside_mask,
    move_keypoints,
    project_orthographic,
    project_perspective,
    to_camera,
    vertex_areas,
    visible_fraction,
    visible_vertices,
    weak_scale,
)
from dp3d_data.records import Box, VertexView
from dp3d_data.shards.instances import Truth, orthographic_camera, perspective_camera
from pipelines.settings import ProjectConfig

# What a mirrored fit's surface is multiplied by, after left and right have swapped.
MIRROR = np.array([1.0, -1.0, 1.0])
FEWEST_LABELS = 4
# Name of a body, such as smpl-male -> the model of its fits; "" -> the model of all others.
Bodies = Mapping[str, BodyModel]


def model_of(fit: Fit, bodies: Bodies) -> BodyModel:
    """The model of a fit."""
    return bodies.get(fit.body, bodies[""])


def posed_body(fit: Fit, model: BodyModel) -> Float[np.ndarray, "K 3"]:
    """The posed vertices in the fit's world, metres; one fit at a time, so that its bytes depend on no other.

    Raises:
        ShapeError: a fit that does not fit its model.
        InputMissing, InputCorrupt: of the file of a posed surface.
    """
    if fit.mesh_path is not None:
        posed = posed_surface(fit.mesh_path, model)
    else:
        scales = None if fit.joint_scales is None else joint_scales(model, fit.joint_scales[None])
        [tensor] = pose_body(_tensors(model), fit.pose[None], fit.betas[None], None, scales)
        posed = tensor.numpy().astype(np.float64)
    posed = posed + fit.translation
    if not fit.mirrored:
        return posed
    if (mirror := _mirror(model)) is None:
        expected = "one whose left half mirrors its right in y"
        raise ShapeError("a mirrored fit needs a symmetric body model", got=model.name, expected=expected)
    return posed[mirror] * MIRROR


@lru_cache(8)
def _tensors(model: BodyModel) -> BodyTensors:
    return body_tensors(model)


@lru_cache(8)
def _mirror(model: BodyModel) -> Int[np.ndarray, "K"] | None:
    return mirrored_vertices(model.template, model.faces)


def load_bodies(words: Sequence[str]) -> Bodies:
    """Load NAME_OR_FILE for all fits and BODY=NAME_OR_FILE for those of one body.

    Raises:
        UsageError: none or several for all fits, or models that do not share their faces.
        InputMissing, InputCorrupt, UnsafePickle: of the models.
    """
    named = {word.partition("=")[0]: load_body_model(word.partition("=")[2]) for word in words if "=" in word}
    plain = [word for word in words if "=" not in word]
    if len(plain) > 1 or not words:
        told = "dp3d-data body list shows the imported"
        hint = f"dp3d-data project --body NAME_OR_FILE [--body smpl-male=NAME_OR_FILE]; {told}"
        raise UsageError("one body model for all fits is needed", got=", ".join(words) or "none", hint=hint)
    main = load_body_model(plain[0]) if plain else next(iter(named.values()))
    for name, model in named.items():
        if model.num_vertices != main.num_vertices or not np.array_equal(model.faces, main.faces):
            got = f"{main.name} and {name}={model.name}"
            raise UsageError("these body models do not share their faces", got=got, expected="models of one topology")
    return {"": main} | named


def posed_surface(path: Path, model: BodyModel) -> Float[np.ndarray, "K 3"]:
    """The vertices of a posed surface in a file, which must be the model's own surface.

    Raises:
        InputMissing, InputCorrupt: no such file, no mesh, or one of other vertices or faces than the model's.
    """
    vertices, faces = read_mesh(path)
    if len(vertices) != model.num_vertices:
        expected = f"{model.num_vertices}, those of {model.name}"
        raise InputCorrupt("a surface of another number of vertices", got=len(vertices), expected=expected, path=path)
    if not np.array_equal(_rolled(faces), _rolled(model.faces)):
        got, expected = f"{len(faces)} faces", f"the {len(model.faces)} of {model.name}"
        raise InputCorrupt("a surface with other faces than the body model's", got=got, expected=expected, path=path)
    return np.asarray(vertices, dtype=np.float64)


def _rolled(faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "F 3"]:
    """The faces, each from its smallest vertex on, sorted: the same for every order in which they are listed."""
    faces = np.asarray(faces, dtype=np.int64)
    if not len(faces):
        return faces
    first = faces.argmin(axis=1)[:, None]
    turned = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)
    return turned[np.lexsort(turned.T[::-1])]


def check_labels(fit: Fit, model: BodyModel, posed: Float[np.ndarray, "K 3"]) -> None:
    """Compare the joints of the posed body with those that somebody marked in the image, where a fit has them.

    Raises:
        ShapeError: a joint that the model does not have.
        InputCorrupt: half of them lie farther off than a quarter of the marked joints' extent.
    """
    camera = fit.camera
    if fit.labels is None or len(fit.labels) < FEWEST_LABELS or camera.kind != "perspective" or camera.focal is None:
        return
    ids = fit.labels[:, 0].astype(int)
    if ids.min() < 0 or ids.max() >= model.num_joints:
        expected = f"0 to {model.num_joints - 1}"
        raise ShapeError("marked joints that the body does not have", got=ids.tolist(), expected=expected)
    joints = model.joint_regressor[ids] @ posed
    projected = project_perspective(to_camera(joints, camera.rotation, camera.translation), camera.focal, camera.centre)
    off = float(np.median(np.linalg.norm(projected - fit.labels[:, 1:], axis=1)))
    limit = float(np.ptp(fit.labels[:, 1:], axis=0).max()) / 4
    if off > limit:
        got, expected = f"{off:.0f} pixels off (median of {len(fit.labels)})", f"at most {limit:.0f}"
        raise InputCorrupt("the fit lies beside the joints marked in the image", got=got, expected=expected)


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
    points = to_camera(vertices, camera.rotation, camera.translation)
    middle, perspective = points.mean(axis=0), camera.kind == "perspective"
    if perspective:
        focal = cast(tuple[float, float], camera.focal)
        keypoints, scale = project_perspective(points, focal, camera.centre), weak_scale(points, focal)
        known = perspective_camera(focal, camera.centre, template.factor, middle)
    else:
        scale = cast(float, camera.scale)
        keypoints = project_orthographic(points, scale, camera.centre)
        known = orthographic_camera(scale * template.factor, scale * middle[:2] + camera.centre)
    visible = visible_vertices(points, template.faces, perspective=perspective)
    visible &= (keypoints >= 0).all(axis=1) & (keypoints < size).all(axis=1)
    if mask is not None:
        visible &= inside_mask(keypoints, mask)
    truth = Truth((points - middle) / template.factor, scale * template.factor, template.metres, known)
    area = visible_fraction(visible, template.vertex_areas)
    posed_area = visible_fraction(visible, vertex_areas(points, template.faces))
    return FitView(keypoints, visible, area, posed_area, box or _box(keypoints, size), truth)


def _box(keypoints: Float[np.ndarray, "K 2"], size: tuple[int, int]) -> Box:
    low, high = np.clip(keypoints.min(axis=0), 0, size), np.clip(keypoints.max(axis=0), 0, size)
    if not (high > low).all():
        got = f"x, y {keypoints.min(axis=0).round(1).tolist()} to {keypoints.max(axis=0).round(1).tolist()}"
        expected = f"inside {size[0]} x {size[1]} pixels"
        raise InputCorrupt("nothing of the body lies in the image", got=got, expected=expected)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def with_noise(
    view: FitView, below: Bool[np.ndarray, "K"], config: ProjectConfig, index: int
) -> tuple[Float[np.ndarray, "K 2"], Bool[np.ndarray, "K"]]:
    """Keypoints and visibility of fit `index` with the supplement's noise (section E), by the seed and index alone.

    Args:
        below: the lower half of the rest template.
    """
    sequences = np.random.SeedSequence([config.seed, index]).spawn(3)
    moved, hidden, lower = map(np.random.default_rng, sequences)
    keypoints = move_keypoints(view.keypoints, view.box, config.noise, moved) if config.noise else view.keypoints
    lost = config.hide_lower and lower.random() < config.hide_lower
    return keypoints, hide_share(view.visible & ~below if lost else view.visible, config.hide, hidden)


def vertex_view(
    keypoints: Float[np.ndarray, "K 2"], visible: Bool[np.ndarray, "K"], subset: Int[np.ndarray, "V"] | None
) -> VertexView:
    """The visible vertices, of the subset where there is one; each counts as one pixel without spread."""
    if subset is not None:
        kept = np.zeros_like(visible)
        kept[subset] = True
        visible = visible & kept
    ids = np.flatnonzero(visible).astype(np.int32)
    ones, zeros = np.ones(len(ids), np.int32), np.zeros(len(ids), np.float32)
    return VertexView(ids, keypoints[ids].astype(np.float32), ones, zeros)
