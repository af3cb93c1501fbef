"""Lifted instances in numpy, from shards or the run folder of dp3d-data extract, ready for files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from dp3d_data.errors import NothingToDo
from dp3d_data.geometry.template import Template
from dp3d_data.records import RunLength, present
from dp3d_data.run_lengths import mask_pixels
from dp3d_data.shards.batch import KeypointBatch
from dp3d_data.shards.reader import ShardReader, whole_batch
from dp3d_data.shards.runs import MARKER, Run
from dp3d_model.evaluation.quality import FIGURES, agreement, features, reprojection, silhouette_iou, stretched
from dp3d_model.geometry.perspective import visible_mean
from dp3d_model.geometry.surface import Surface
from dp3d_model.lifting.test_time import answers_to_halves, refined
from dp3d_model.networks.lifter import Lifted, Lifter


def open_to_lift(source: str | Path, split: str = "all") -> tuple[KeypointBatch, Template]:
    """The instances of shards, or of a finished run, and the template whose vertices they show.

    Args:
        split: of shards; "all" takes every split. A run has none.

    Raises:
        InputMissing: neither shards nor a finished run.
        UsageError: no such split.
        ShardError: a file is missing or damaged.
        NothingToDo: a run without an instance.
    """
    if not (Path(source) / MARKER).is_file():
        reader = ShardReader(source)
        return reader.split(split), reader.template
    run = Run.open(Path(source))
    template = run.template()
    tables = [table for table in run.instances() if table.num_rows]
    if not tables:
        counts = run.counts
        got = f"{counts['inputs']} inputs, {counts['rejects']} rejects, {counts['failures']} failures"
        hint = f"see why: dp3d-data failures {source} --rejects"
        raise NothingToDo("no instance to lift", got=got, hint=hint, path=source)
    return whole_batch(tables, template.num_vertices), template


def template_of(surface: Surface) -> Template:
    """The model's own template, for what must know it before there are shards."""
    symmetry = None if surface.symmetry is None else surface.symmetry.numpy()
    vertices, faces = surface.vertices.numpy(), surface.faces.numpy()
    return Template(surface.name, vertices, faces, surface.unit, surface.factor, symmetry=symmetry)


BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """A lifted instance, or N: pixel = scale * (camera_from_template @ vertex)[:2] + translation.

    Where the intrinsics are known, X = camera_from_template @ vertex + position and pixel = focal * X[:2] / X[2] +
    principal; scale and translation are those of the nearest orthographic camera then.

    Attributes:
        vertices: [K, 3] posed, template frame, template units.
        rest: [K, 3] the same body before posing, with its proportions.
        camera_from_template: [3, 3]; camera frame x right, y down, z away from the viewer.
        scale: [] image pixels per template unit.
        translation: [2] image pixels.
        part_rotations, part_translations: [M, 3, 3], [M, 3] template units: x goes to R x + t; none where the body has
        no parts.
        blendshapes: [B] coefficients.
        uncertainty: [K] the noise b_k that the model expects of each keypoint, see `Lifter.predicted_noise`; NaN where
            it does not tell.
        intrinsics: [4] fx, fy, cx, cy, image pixels; NaN where unknown or not used.
        position: [3] of the template's origin before the pinhole, template units; NaN as well then.
        reprojection, silhouette_iou, stretched, agreement, confidence: [] see `dp3d_model.evaluation.quality.FIGURES`;
        NaN where unknown.
    """

    vertices: Float[np.ndarray, "*n k 3"]
    rest: Float[np.ndarray, "*n k 3"]
    camera_from_template: Float[np.ndarray, "*n 3 3"]
    scale: Float[np.ndarray, "*n"]
    translation: Float[np.ndarray, "*n 2"]
    part_rotations: Float[np.ndarray, "*n m 3 3"]
    part_translations: Float[np.ndarray, "*n m 3"]
    blendshapes: Float[np.ndarray, "*n b"]
    uncertainty: Float[np.ndarray, "*n k"]
    intrinsics: Float[np.ndarray, "*n 4"]
    position: Float[np.ndarray, "*n 3"]
    reprojection: Float[np.ndarray, "*n"]
    silhouette_iou: Float[np.ndarray, "*n"]
    stretched: Float[np.ndarray, "*n"]
    agreement: Float[np.ndarray, "*n"]
    confidence: Float[np.ndarray, "*n"]

    def arrays(self) -> dict[str, Any]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def at(self, places: int | list[int]) -> Prediction:
        """One or some of many."""
        return Prediction(**{name: values[places] for name, values in self.arrays().items()})

    def projected(self) -> Float[np.ndarray, "k 3"]:
        """Of one: x, y in image pixels and z away from the viewer in the same unit."""
        if np.isfinite(self.intrinsics).all():
            x = self.vertices @ self.camera_from_template.T + self.position
            flat = self.intrinsics[:2] * x[:, :2] / x[:, 2:] + self.intrinsics[2:]
            return np.concatenate([flat, self.scale * (x[:, 2:] - self.position[2])], axis=1)
        placed = self.scale * self.vertices @ self.camera_from_template.T
        return placed + np.append(self.translation, 0.0)


def predict(lifter: Lifter, instances: KeypointBatch, batch: int = BATCH) -> Iterator[Prediction]:
    """Lift instances, a batch at a time, each refined as the settings say; memory does not grow with their number.

    The image translation is the best one on the visible keypoints. In evaluation an instance's answer does not depend
    on its batch.
    """
    lifter.eval()
    for start in range(0, len(instances), batch):
        some = slice(start, start + batch)
        own = instances.take(range(*some.indices(len(instances))))
        with torch.no_grad():
            inputs = lifter.normalise(own)
            answers = answers_to_halves(lifter, inputs)
        lifted = refined(lifter, inputs, own, answers)
        yield measured(lifter, _prediction(lifter, inputs, lifted), own, agreement(lifter, inputs, answers, lifted))


def lift_to_keep(
    lifter: Lifter, instances: KeypointBatch, least: float = 0.0, done: Callable[[int], None] = lambda _: None
) -> tuple[list[Prediction], dict[str, str]]:
    """The predictions of all instances, some after the other, and of those that are not worth keeping the reason by
    name; see `rejects`.

    Args:
        least: confidence, 0..1.
        done: told of so many more lifted instances.
    """
    lifted: list[Prediction] = []
    for many in predict(lifter, instances):
        lifted.append(many)
        done(len(many.scale))
    return lifted, rejects(instances, np.concatenate([np.zeros(0), *(many.confidence for many in lifted)]), least)


# Share of a mask inside that of a surer instance of the same photograph, above which both show the same animal.
SHOWN_AGAIN = 0.5


def rejects(instances: KeypointBatch, confidence: Float[np.ndarray, "n"], least: float) -> dict[str, str]:
    """Why instances are not kept, by name (ours): too little confidence, or more than half of the smaller mask lies in
    that of a surer instance of the same photograph, so that both are lifts of one animal."""
    reasons: dict[str, str] = {}
    surer: dict[str, list[int]] = {}
    for i in np.argsort(-np.nan_to_num(confidence), kind="stable").tolist():
        name, path = instances.ids[i], instances.image_paths[i] if instances.image_paths else ""
        if confidence[i] < least:
            reasons[name] = f"confidence {confidence[i]:.2f} below {least:g}"
        elif path and instances.masks:
            own, others = instances.masks[i], surer.setdefault(path, [])
            again = next((j for j in others if _shared(own, instances.masks[j]) > SHOWN_AGAIN), None)
            if again is None:
                others.append(i)
            else:
                reasons[name] = f"the animal of {instances.ids[again]} again"
    return reasons


def _shared(runs: RunLength | None, other: RunLength | None) -> float:
    """The common pixels of two masks of one image, as a share of the smaller one."""
    if runs is None or other is None or (runs.width, runs.height) != (other.width, other.height):
        return 0.0
    one, two = mask_pixels(runs), mask_pixels(other)
    return float((one & two).sum() / max(min(one.sum(), two.sum()), 1))


def network_alone(lifter: Lifter) -> Lifter:
    """The same model without test-time optimisation; its confidence speaks of optimised answers, and stays away."""
    other = copy.copy(lifter)
    other.config = replace(lifter.config, refine=replace(lifter.config.refine, steps=0))
    other.calibration = None
    return other


def measured(
    lifter: Lifter, many: Prediction, instances: KeypointBatch, agreement: Float[np.ndarray, "n"]
) -> Prediction:
    """N predictions with their figures, one of which is known."""
    faces, count = lifter.surface.faces.numpy(), len(instances)
    masks = instances.masks or (None,) * count
    projected = [many.at(i).projected() for i in range(count)]
    found = {
        "reprojection": np.array([reprojection(one[:, :2], instances, i) for i, one in enumerate(projected)]),
        "silhouette_iou": np.array(
            [silhouette_iou(one, faces, mask) for one, mask in zip(projected, masks, strict=True)]
        ),
        "stretched": stretched(many.vertices, lifter.surface),
        "agreement": agreement,
    }
    if lifter.calibration is not None:
        found["confidence"] = lifter.calibration.confidence(features(found))
    return replace(many, **{name: values.astype(np.float32) for name, values in found.items()})


def _prediction(lifter: Lifter, inputs: KeypointBatch, lifted: Lifted) -> Prediction:
    shape, rotation, scale = lifted.shape, lifted.camera_from_template, lifted.scale(inputs)
    count = len(lifted.posed)
    shift = 0.0 if lifted.shift is None else present(inputs.camera).scale[:, None] * lifted.shift
    flat = scale[:, None, None] * (lifted.posed @ rotation[:, :2].transpose(1, 2))
    with torch.no_grad():
        noise = lifter.predicted_noise(lifted)
        spread = torch.full_like(flat[..., 0], torch.nan) if noise is None else noise
    intrinsics, position = flat.new_full((count, 4), torch.nan), flat.new_full((count, 3), torch.nan)
    known, found = inputs.intrinsics, lifted.position(inputs)
    if known is not None and found is not None:
        before = (present(inputs.pinhole).inverse_depth > 0)[:, None]
        intrinsics, position = torch.where(before, known, torch.nan), torch.where(before, found, torch.nan)
    tensors = {
        "vertices": shape.posed,
        "rest": shape.rest,
        "camera_from_template": rotation,
        "scale": scale,
        "translation": present(inputs.centre) - visible_mean(flat, inputs.visible) + shift,
        "part_rotations": shape.part_rotations,
        "part_translations": shape.part_translations,
        "blendshapes": shape.blendshapes,
        "uncertainty": spread,
        "intrinsics": intrinsics,
        "position": position,
    }
    unknown = {name: np.full(count, np.nan, np.float32) for name in FIGURES}
    return Prediction(**{name: values.cpu().numpy() for name, values in tensors.items()}, **unknown)
