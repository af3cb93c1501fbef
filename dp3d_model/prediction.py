"""Lifted instances in numpy: bodies, cameras, part motions and uncertainty, ready for files and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from dp3d_model.instances import Instances
from dp3d_model.lifter import Lifted, Lifter
from dp3d_model.observation import Observation, visible_mean
from dp3d_model.refinement import refined
from dp3d_model.uncertainty import NoiseHead

BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """A lifted instance, or with a first axis N many; pixel = scale * (camera_from_template @ vertex)[:2] + translation.

    Attributes:
        vertices: [K, 3] posed, template frame, template units.
        rest: [K, 3] the same body before posing, with its proportions.
        camera_from_template: [3, 3]; camera frame x right, y down, z away from the viewer.
        scale: [] image pixels per template unit.
        translation: [2] image pixels.
        part_rotations, part_translations: [M, 3, 3], [M, 3] template units: x goes to R x + t; none where the body has no parts.
        blendshapes: [B] coefficients.
        uncertainty: [K] the noise b_k that the model expects of each keypoint (see `NoiseHead`); NaN where it does not tell.
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

    def arrays(self) -> dict[str, np.ndarray]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def at(self, i: int) -> Prediction:
        """One of many."""
        return Prediction(**{name: values[i] for name, values in self.arrays().items()})

    def projected(self) -> Float[np.ndarray, "k 3"]:
        """Of one: x, y in image pixels and z away from the viewer in the same unit."""
        placed = self.scale * self.vertices @ self.camera_from_template.T
        return placed + np.append(self.translation, 0.0)

    def save(self, path: Path) -> Path:
        """Write an .npz without pickles."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **self.arrays())
        return path


def predict(lifter: Lifter, instances: Instances, batch: int = BATCH, noise: NoiseHead | None = None) -> Iterator[Prediction]:
    """Lift instances, a batch at a time and each refined as the model's settings say; memory does not grow with their number.

    The image translation is the best one on the visible keypoints. In evaluation an instance's answer does not depend on its batch.

    Args:
        noise: the model's noise head, where it has one.
    """
    lifter.eval()
    for start in range(0, len(instances), batch):
        with torch.no_grad():
            seen = lifter.observe(instances.keypoints[start : start + batch], instances.visible[start : start + batch])
        yield _prediction(lifter, seen, refined(lifter, seen), noise)


def _prediction(lifter: Lifter, seen: Observation, lifted: Lifted, noise: NoiseHead | None) -> Prediction:
    shape, parts = lifted.shape, lifted.shape.parts
    count = len(lifted.posed)
    scale = seen.camera.scale * lifted.log_scale.exp()
    flat = scale[:, None, None] * (lifted.posed @ lifted.rotation[:, :2].transpose(1, 2))
    with torch.no_grad():
        spread = torch.full(flat.shape[:2], torch.nan) if noise is None else noise(lifter.surface.functions, shape.motions)
    return Prediction(
        vertices=shape.posed.numpy(),
        rest=shape.rest.numpy(),
        camera_from_template=lifted.rotation.numpy(),
        scale=scale.numpy(),
        translation=(seen.centre - visible_mean(flat, seen.visible)).numpy(),
        part_rotations=parts.rotations.numpy() if parts else np.zeros((count, 0, 3, 3), np.float32),
        part_translations=parts.translations.numpy() if parts else np.zeros((count, 0, 3), np.float32),
        blendshapes=parts.coefficients.numpy() if parts else np.zeros((count, 0), np.float32),
        uncertainty=spread.numpy(),
    )
