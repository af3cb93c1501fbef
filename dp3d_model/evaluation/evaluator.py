"""How good lifted shapes are: models against the rigid template, by view, visible share and group."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_data.errors import NothingToDo, TemplateError
from dp3d_data.geometry.rigid_camera import view_angles
from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.config import preset
from dp3d_model.evaluation.quality import FIGURES, calibrate, features, rank_correlation, reliability, spread_of
from dp3d_model.geometry.camera import nearest_rotation
from dp3d_model.geometry.perspective import align_translation, visible_mean
from dp3d_model.geometry.surface import Surface, farthest_points
from dp3d_model.lifting.prediction import Prediction, predict
from dp3d_model.lifting.test_time import refined
from dp3d_model.networks.lifter import Lifted, Lifter

STRESS_POINTS = 500
VIEWS = 8
RIGID = "rigid template"
METRICS = ("mpjpe", "mpjpe_flip", "pa_mpjpe", "stress", "mpjpe_replaced", "mpjpe_flip_replaced")
LISTED_GROUPS, EXTREME_GROUPS = 12, 5
SPREAD = {"lowest": 0.0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "highest": 1.0}


@dataclass(frozen=True)
class Scores:
    """Errors of one model on N instances, template units: metric -> [N]; "scale given" and "scale estimated" apart.

    Attributes:
        given: the reconstruction in pixels divided by the true scale.
        estimated: the reconstruction in the model's own template units.
        vertex_errors: [N, S] distance of well-spread vertices to the truth, scale given.
        noise: [N, S] what the model expects of it; None where it expects nothing.
    """

    given: dict[str, Float[Tensor, "n"]] = field(default_factory=dict)
    estimated: dict[str, Float[Tensor, "n"]] = field(default_factory=dict)
    vertex_errors: Float[Tensor, "n s"] | None = None
    noise: Float[Tensor, "n s"] | None = None

    def means(self, chosen: Tensor | None = None) -> dict[str, dict[str, float]]:
        """The mean of every metric, over all instances or the chosen ones."""
        pick = slice(None) if chosen is None else chosen
        return {
            kind: {name: round(float(values[pick].double().mean()), 6) for name, values in getattr(self, kind).items()}
            for kind in ("given", "estimated")
        }


def lift(lifter: Lifter, instances: KeypointBatch) -> tuple[KeypointBatch, Lifted]:
    """Normalise and lift a batch, refined as the model's settings say: what the network reads, and its answer."""
    lifter.eval()
    with torch.no_grad():
        inputs = lifter.normalise(instances)
    return inputs, refined(lifter, inputs, instances)


def score_model(
    lifter: Lifter, instances: KeypointBatch, batch: int = 256, measured: KeypointBatch | None = None
) -> Scores:
    """Scores of a model on instances with truth.

    Args:
        measured: the same instances with the keypoints to measure with, where those to lift were made worse on purpose.
    """
    points = farthest_points(lifter.surface.vertices, STRESS_POINTS)
    parts = []
    for i in range(0, len(instances), batch):
        chosen = range(i, min(i + batch, len(instances)))
        some = instances.take(chosen)
        inputs, lifted = lift(lifter, some)
        truth = some if measured is None else measured.take(chosen)
        score = score_shapes(lifted.in_camera().cpu(), lifted.scale(inputs).cpu(), truth, points)
        with torch.no_grad():
            noise = lifter.predicted_noise(lifted)
        parts.append(replace(score, noise=None if noise is None else noise[:, points].cpu()))
    given, estimated = (
        {name: torch.cat([getattr(part, kind)[name] for part in parts]) for name in METRICS}
        for kind in ("given", "estimated")
    )
    found = [part.noise for part in parts if part.noise is not None]
    errors = torch.cat([present(part.vertex_errors) for part in parts])
    return Scores(given, estimated, errors, torch.cat(found) if found else None)


def score_rigid(surface: Surface, instances: KeypointBatch) -> Scores:
    """Scores of the rigid template under its closed-form camera, the baseline that every model must beat."""
    return score_model(Lifter(surface, preset("rigid")), instances)


def score_shapes(
    shape: Float[Tensor, "n k 3"], scale: Float[Tensor, "n"], truth: KeypointBatch, points: Int[Tensor, "s"]
) -> Scores:
    """Scores of shapes in the camera frame, one unit of which is `scale` pixels; stress, single errors at `points`."""
    true = align_translation(present(truth.true_vertices), truth.visible)
    shown = torch.where(truth.visible[..., None], truth.keypoints, 0.0)
    pixels = shown - visible_mean(shown, truth.visible)[:, None]
    result: dict[str, Any] = {}
    for kind, unit in (("given", present(truth.true_scale)), ("estimated", scale)):
        predicted = align_translation(shape * (scale / unit)[:, None, None], truth.visible)
        keypoints = pixels / unit[:, None, None]
        result[kind] = _errors(predicted, true, keypoints, truth.visible, points)
        if kind == "given":
            vertex_errors = (predicted - true)[:, points].norm(dim=2)
    return Scores(**result, vertex_errors=vertex_errors)


def _errors(predicted: Tensor, true: Tensor, keypoints: Tensor, visible: Tensor, points: Tensor) -> dict[str, Tensor]:
    """Every metric; the flip is an oracle, the better of the shape and its mirror image in depth."""
    shapes = predicted, flip_depth(predicted)
    plain, flipped = (position_error(shape, true) for shape in shapes)
    replaced, replaced_flipped = (position_error(replace_visible(one, keypoints, visible), true) for one in shapes)
    return {
        "mpjpe": plain,
        "mpjpe_flip": torch.minimum(plain, flipped),
        "pa_mpjpe": similarity_error(predicted, true),
        "stress": stress(predicted[:, points], true[:, points]),
        "mpjpe_replaced": replaced,
        "mpjpe_flip_replaced": torch.minimum(replaced, replaced_flipped),
    }


def view_of(surface: Surface, true_vertices: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """Azimuth of the viewer around the template's z axis in degrees, 0..360: 0 in front (+x), 90 at its left (+y).

    The true camera is the rotation that fits the template to the true shape best.
    """
    centred = true_vertices - true_vertices.mean(1, keepdim=True)
    rotation = nearest_rotation(centred.transpose(1, 2) @ (surface.vertices - surface.vertices.mean(0)))
    return view_angles(rotation)[0] % 360.0


def evaluate(lifters: Mapping[str, Lifter], instances: KeypointBatch) -> dict[str, Any]:
    """The whole evaluation as plain numbers: every model beside the rigid template; by view, visible share and group.

    Raises:
        NothingToDo: no instance carries its true shape.
        TemplateError: the models belong to different templates.
    """
    truth, surface = instances.with_truth(), common_surface(lifters)
    scores = {name: score_model(lifter, truth) for name, lifter in lifters.items()}
    return summary({RIGID: score_rigid(surface, truth), **scores}, truth, surface)


def common_surface(lifters: Mapping[str, Lifter]) -> Surface:
    """The template that all models share.

    Raises:
        TemplateError: they belong to different templates.
    """
    surfaces = {name: lifter.surface for name, lifter in lifters.items()}
    found = {surface.content_hash for surface in surfaces.values()}
    if len(found) > 1:
        got = ", ".join(f"{name}: {surface.name} {surface.content_hash}" for name, surface in surfaces.items())
        raise TemplateError("models of different templates cannot be compared", got=got, expected="one template")
    return next(iter(surfaces.values()))


def summary(models: Mapping[str, Scores], truth: KeypointBatch, surface: Surface) -> dict[str, Any]:
    """The scores of models on the same instances as plain numbers."""
    view = (view_of(surface, present(truth.true_vertices)) + 180.0 / VIEWS).div(360.0 / VIEWS).long() % VIEWS
    share = (truth.visible.float() @ surface.vertex_areas) / surface.vertex_areas.sum()
    bins = (share * 20).long().clamp(0, 19)
    return {
        "instances": len(truth),
        "vertices": len(surface.vertices),
        "visible_share": round(float(truth.visible.double().mean()), 4),
        "unit": "extent of the template",
        "millimetres_per_unit": surface.millimetres,
        "stress_points": min(STRESS_POINTS, len(surface.vertices)),
        "models": {name: scores.means() for name, scores in models.items()},
        "by_view": {f"{360 // VIEWS * v}": _row(models, view == v) for v in range(VIEWS) if bool((view == v).any())},
        "by_visible_share": {
            f"{5 * b}-{5 * b + 5} %": _row(models, bins == b) for b in range(20) if bool((bins == b).any())
        },
        "by_group": _by_group(models, truth.groups),
        "uncertainty": {
            name: reliability(scores.noise, scores.vertex_errors, scores.given["mpjpe"])
            for name, scores in models.items()
            if scores.noise is not None and scores.vertex_errors is not None
        },
    }


def _row(models: Mapping[str, Scores], chosen: Tensor) -> dict[str, Any]:
    return {"instances": int(chosen.sum())} | {name: scores.means(chosen) for name, scores in models.items()}


def _by_group(models: Mapping[str, Scores], groups: tuple[str, ...]) -> dict[str, Any] | None:
    """MPJPE, scale given: the spread over groups, and each, or those that the last model finds hardest and easiest."""
    names = sorted(set(groups) - {""})
    if not names:
        return None
    place = {name: i for i, name in enumerate(names)}
    owner = torch.tensor([place.get(name, len(names)) for name in groups])
    count = torch.bincount(owner, minlength=len(names) + 1)[:-1]
    means = {
        model: torch.zeros(len(names) + 1).double().index_add_(0, owner, scores.given["mpjpe"].double())[:-1] / count
        for model, scores in models.items()
    }
    order = list(means.values())[-1].argsort(descending=True, stable=True).tolist()
    listed = order if len(order) <= LISTED_GROUPS else order[:EXTREME_GROUPS] + order[-EXTREME_GROUPS:]
    return {
        "groups": len(names),
        "spread": {
            model: {name: round(float(values.quantile(at)), 6) for name, at in SPREAD.items()}
            for model, values in means.items()
        },
        "listed": {
            names[i]: {"instances": int(count[i])}
            | {model: round(float(values[i]), 6) for model, values in means.items()}
            for i in listed
        },
    }


def evaluate_unknown(lifters: Mapping[str, Lifter], instances: KeypointBatch) -> dict[str, Any]:
    """Median, mean and worst of every figure that needs no truth, of every model and the rigid template.

    Raises:
        NothingToDo: no instance.
        TemplateError: the models belong to different templates.
    """
    if not len(instances):
        raise NothingToDo("no instance to measure", hint="name another split: --set split=all")
    surface = common_surface(lifters)
    models = {}
    for name, lifter in {RIGID: Lifter(surface, preset("rigid")), **lifters}.items():
        parts = list(predict(lifter, instances))
        figures = {figure: np.concatenate([getattr(part, figure) for part in parts]) for figure in FIGURES}
        models[name] = spread_of(figures)
    return {"instances": len(instances), "vertices": len(surface.vertices), "truth": False, "models": models}


def calibrated(lifter: Lifter, instances: KeypointBatch) -> tuple[Lifter, dict[str, float]]:
    """The model with a calibrated confidence, and how good that is on each fifth when learned from the others.

    Raises:
        NothingToDo: too few instances, or none that is good or bad; see `quality.calibrate`.
    """
    parts: list[np.ndarray] = []

    def predictions() -> Iterator[Prediction]:
        for many in predict(lifter, instances):
            parts.append(features({name: getattr(many, name) for name in FIGURES}))
            yield many

    error = np.array([present(one)[1] for one in errors_of(predictions(), instances)], dtype=np.float32)
    values, sure = np.concatenate(parts), np.zeros(len(error))
    for k in range(5):
        held = np.arange(len(error)) % 5 == k
        sure[held] = calibrate(values[~held], error[~held]).confidence(values[held])
    half = len(error) // 2
    figures = {
        "instances": len(error),
        "error": float(error.mean()),
        "rank_correlation": -rank_correlation(torch.from_numpy(sure), torch.from_numpy(error)),
        "surest_half": float(error[np.argsort(-sure, kind="stable")[:half]].mean()),
        "best_half": float(np.sort(error)[:half].mean()),
    }
    found = copy.copy(lifter)
    found.calibration = calibrate(values, error)
    return found, figures


def errors_of(
    lifted: Iterable[Prediction], instances: KeypointBatch
) -> list[tuple[Float[np.ndarray, "k"], float, float] | None]:
    """The errors of each instance, template extents, scale given (the reconstruction in pixels over the true scale).

    Args:
        lifted: what `predict` gave of these instances, batch by batch.

    Returns:
        Of each, None where its truth is unknown: the distance of each vertex to the truth, mean depth and visible
        translation aligned; their mean, MPJPE; and PA-MPJPE, the mean after the best similarity.
    """
    found: list[tuple[np.ndarray, float, float] | None] = []
    if instances.true_vertices is None:
        return [None] * len(instances)
    for many in lifted:
        some = instances.take(range(len(found), len(found) + len(many.scale)))
        shape = torch.from_numpy(many.vertices @ many.camera_from_template.transpose(0, 2, 1))
        scale = torch.from_numpy(many.scale) / present(some.true_scale)
        predicted = align_translation(shape * scale[:, None, None], some.visible)
        true = align_translation(present(some.true_vertices), some.visible)
        distance = (predicted - true).norm(dim=2)
        similar = similarity_error(predicted.nan_to_num(), true.nan_to_num()).tolist()
        found += [
            (one, *means) if np.isfinite(one).all() else None
            for one, *means in zip(distance.numpy(), distance.mean(1).tolist(), similar, strict=True)
        ]
    return found


def position_error(predicted: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """MPJPE: the mean over vertices of the distance, in the unit of the input."""
    return (predicted - true).norm(dim=2).mean(1)


def flip_depth(shape: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
    """The shape mirrored in depth, which an orthographic camera cannot tell apart."""
    return shape * shape.new_tensor([1.0, 1.0, -1.0])


def replace_visible(
    predicted: Float[Tensor, "n k 3"], keypoints: Float[Tensor, "n k 2"], visible: Bool[Tensor, "n k"]
) -> Float[Tensor, "n k 3"]:
    """The prediction with the input's x, y at the visible vertices (C3DPO's convention); same unit, both centred."""
    flat = torch.where(visible[..., None], keypoints, predicted[..., :2])
    return torch.cat([flat, predicted[..., 2:]], dim=2)


def similarity_error(predicted: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """PA-MPJPE: the position error after the best rotation, scale and translation of the prediction (least squares)."""
    x = predicted - predicted.mean(1, keepdim=True)
    y = true - true.mean(1, keepdim=True)
    mixed = y.transpose(1, 2) @ x
    rotation = nearest_rotation(mixed)
    scale = (rotation * mixed).sum((1, 2)) / x.square().sum((1, 2)).clamp_min(1e-12)
    return position_error(scale[:, None, None] * x @ rotation.transpose(1, 2), y)


def stress(predicted: Float[Tensor, "n k 3"], true: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """The mean absolute difference of pairwise distances, over pairs of different vertices."""
    k = predicted.shape[1]
    exact = "donot_use_mm_for_euclid_dist"
    one, two = (torch.cdist(points, points, compute_mode=exact) for points in (predicted, true))
    return (one - two).abs().sum((1, 2)) / max(k * (k - 1), 1)
