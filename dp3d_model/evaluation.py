"""How good lifted shapes are where the truth is known: the model against the rigid template, by view and by visible share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dp3d_model import metrics
from dp3d_model.instances import Instances
from dp3d_model.lifter import Lifted, Lifter
from dp3d_model.observation import Observation, observe
from dp3d_model.refinement import refined
from dp3d_model.rotation_fit import nearest_rotation
from dp3d_model.surface import Surface, farthest_points

STRESS_POINTS = 500
VIEWS = 8
METRICS = ("mpjpe", "mpjpe_flip", "pa_mpjpe", "stress", "mpjpe_replaced", "mpjpe_flip_replaced")


@dataclass(frozen=True)
class Scores:
    """Errors of one model on N instances, template units: metric -> [N]; "scale given" and "scale estimated" apart.

    Attributes:
        given: the reconstruction in pixels divided by the true scale.
        estimated: the reconstruction in the model's own template units.
    """

    given: dict[str, Float[Tensor, "n"]] = field(default_factory=dict)
    estimated: dict[str, Float[Tensor, "n"]] = field(default_factory=dict)

    def means(self, chosen: Tensor | None = None) -> dict[str, dict[str, float]]:
        """The mean of every metric, over all instances or the chosen ones."""
        pick = slice(None) if chosen is None else chosen
        return {
            kind: {name: round(float(values[pick].double().mean()), 6) for name, values in getattr(self, kind).items()}
            for kind in ("given", "estimated")
        }


def lift(lifter: Lifter, instances: Instances, batch: int = 256) -> list[tuple[Observation, Lifted]]:
    """Observe and lift instances, a batch at a time, each refined as the model's settings say."""
    lifter.eval()
    with torch.no_grad():
        seen = []
        for i in range(0, len(instances), batch):
            cameras = None if instances.cameras is None else instances.cameras[i : i + batch]
            seen.append(lifter.observe(instances.keypoints[i : i + batch], instances.visible[i : i + batch], cameras))
    return [(part, refined(lifter, part)) for part in seen]


def score_model(lifter: Lifter, instances: Instances, batch: int = 256) -> Scores:
    """Scores of a trained model on instances with truth."""
    parts = []
    for i in range(0, len(instances), batch):
        some = instances.take(range(i, min(i + batch, len(instances))))
        seen, lifted = lift(lifter, some, batch)[0]
        parts.append(_score(lifted.in_camera(), lifted.scale(seen), seen, some, lifter.surface))
    return _joined(parts)


def score_rigid(surface: Surface, instances: Instances, batch: int = 256) -> Scores:
    """Scores of the rigid template under its closed-form camera, the baseline that every model must beat."""
    parts = []
    for i in range(0, len(instances), batch):
        some = instances.take(range(i, min(i + batch, len(instances))))
        seen = observe(surface, some.keypoints, some.visible)
        shape = surface.vertices @ seen.camera.rotation.transpose(1, 2)
        parts.append(_score(shape, seen.camera.scale, seen, some, surface))
    return _joined(parts)


def _score(shape: Tensor, scale: Tensor, seen: Observation, truth: Instances, surface: Surface) -> Scores:
    """Scores of shapes [N, K, 3] in the camera frame, of which one unit is `scale` pixels."""
    points = farthest_points(surface.vertices, STRESS_POINTS)
    true = metrics.align_translation(truth.true_vertices, truth.visible)
    pixels = (truth.keypoints - seen.centre[:, None]) * truth.visible[..., None]
    result = {}
    for kind, unit in (("given", truth.true_scale), ("estimated", scale)):
        predicted = metrics.align_translation(shape * (scale / unit)[:, None, None], truth.visible)
        keypoints = pixels / unit[:, None, None]
        result[kind] = _errors(predicted, true, keypoints, truth.visible, points)
    return Scores(**result)


def _errors(predicted: Tensor, true: Tensor, keypoints: Tensor, visible: Tensor, points: Tensor) -> dict[str, Tensor]:
    """Every metric; the flip is an oracle, the better of the shape and its mirror image in depth."""
    flipped = metrics.flip_depth(predicted)
    replaced = [metrics.replace_visible(shape, keypoints, visible) for shape in (predicted, flipped)]
    plain = [metrics.position_error(shape, true) for shape in (predicted, flipped, *replaced)]
    values = (
        plain[0],
        torch.minimum(plain[0], plain[1]),
        metrics.similarity_error(predicted, true),
        metrics.stress(predicted[:, points], true[:, points]),
        plain[2],
        torch.minimum(plain[2], plain[3]),
    )
    return dict(zip(METRICS, values, strict=True))


def _joined(parts: list[Scores]) -> Scores:
    kinds = ({name: torch.cat([getattr(part, kind)[name] for part in parts]) for name in METRICS} for kind in ("given", "estimated"))
    return Scores(*kinds)


def view_of(surface: Surface, true_vertices: Float[Tensor, "n k 3"]) -> Float[Tensor, "n"]:
    """Azimuth of the viewer around the template's z axis in degrees, 0..360: 0 in front (+x), 90 at its left (+y).

    The true camera is the rotation that fits the template to the true shape best.
    """
    centred = true_vertices - true_vertices.mean(1, keepdim=True)
    rotation = nearest_rotation(centred.transpose(1, 2) @ (surface.vertices - surface.vertices.mean(0)))
    towards = -rotation[:, 2]
    return torch.rad2deg(torch.atan2(towards[:, 1], towards[:, 0])) % 360.0


def evaluate(lifter: Lifter, instances: Instances) -> dict[str, Any]:
    """The whole evaluation as plain numbers: settings, means of both models, and tables by view and by visible share.

    Raises:
        NothingToDo: no instance carries its true shape.
    """
    truth = instances.with_truth()
    surface = lifter.surface
    models = {"rigid template": score_rigid(surface, truth), "model": score_model(lifter, truth)}
    view = (view_of(surface, truth.true_vertices) + 180.0 / VIEWS).div(360.0 / VIEWS).long() % VIEWS
    share = (truth.visible.float() @ surface.vertex_areas) / surface.vertex_areas.sum()
    bins = (share * 10).long().clamp(0, 9)
    return {
        "instances": len(truth),
        "vertices": len(surface.vertices),
        "visible_share": round(float(truth.visible.double().mean()), 4),
        "unit": "extent of the template",
        "millimetres_per_unit": surface.millimetres,
        "stress_points": min(STRESS_POINTS, len(surface.vertices)),
        "models": {name: scores.means() for name, scores in models.items()},
        "by_view": {f"{360 // VIEWS * v}": _row(models, view == v) for v in range(VIEWS) if bool((view == v).any())},
        "by_visible_share": {f"{10 * b}-{10 * b + 10} %": _row(models, bins == b) for b in range(10) if bool((bins == b).any())},
    }


def _row(models: dict[str, Scores], chosen: Tensor) -> dict[str, Any]:
    return {"instances": int(chosen.sum())} | {name: scores.means(chosen) for name, scores in models.items()}
