"""One lifted instance in numpy: the body, its camera and its part motions, ready for files and pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dp3d_model.evaluation import lift
from dp3d_model.instances import Instances
from dp3d_model.lifter import Lifted, Lifter
from dp3d_model.observation import Observation, visible_mean


@dataclass(frozen=True)
class Prediction:
    """A lifted instance; pixel = scale * (camera_from_template @ vertex)[:2] + translation.

    Attributes:
        vertices: [K, 3] posed, template frame, template units.
        camera_from_template: [3, 3]; camera frame x right, y down, z away from the viewer.
        scale: image pixels per template unit.
        translation: [2] image pixels.
        part_rotations, part_translations: [M, 3, 3], [M, 3] template units: x goes to R x + t; none where the body has no parts.
        blendshapes: [B] coefficients.
    """

    vertices: Float[np.ndarray, "k 3"]
    camera_from_template: Float[np.ndarray, "3 3"]
    scale: float
    translation: Float[np.ndarray, "2"]
    part_rotations: Float[np.ndarray, "m 3 3"]
    part_translations: Float[np.ndarray, "m 3"]
    blendshapes: Float[np.ndarray, "b"]

    def projected(self) -> Float[np.ndarray, "k 3"]:
        """x, y in image pixels and z away from the viewer in the same unit."""
        placed = self.scale * self.vertices @ self.camera_from_template.T
        return placed + np.append(self.translation, 0.0)

    def save(self, path: Path) -> Path:
        """Write an .npz without pickles."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **asdict(self))
        return path


def predict(lifter: Lifter, instances: Instances) -> list[Prediction]:
    """Lift instances; the image translation is the best one on the visible keypoints."""
    return [one for seen, lifted in lift(lifter, instances) for one in _predictions(seen, lifted)]


def _predictions(seen: Observation, lifted: Lifted) -> list[Prediction]:
    parts = lifted.shape.parts
    scale = seen.camera.scale * lifted.log_scale.exp()
    flat = scale[:, None, None] * (lifted.posed @ lifted.rotation[:, :2].transpose(1, 2))
    translation = seen.centre - visible_mean(flat, seen.visible)
    return [
        Prediction(
            vertices=lifted.posed[i].numpy().copy(),
            camera_from_template=lifted.rotation[i].numpy(),
            scale=float(scale[i]),
            translation=translation[i].numpy(),
            part_rotations=parts.rotations[i].numpy() if parts else np.zeros((0, 3, 3), np.float32),
            part_translations=parts.translations[i].numpy() if parts else np.zeros((0, 3), np.float32),
            blendshapes=parts.coefficients[i].numpy() if parts else np.zeros(0, np.float32),
        )
        for i in range(len(scale))
    ]
