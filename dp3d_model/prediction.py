"""One lifted instance in numpy: the body, its camera and its part motions, ready for files and pictures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dp3d_model.evaluation import lift
from dp3d_model.instances import Instances
from dp3d_model.lens import visible_mean
from dp3d_model.lifter import Lifted, Lifter
from dp3d_model.observation import Observation


@dataclass(frozen=True)
class Prediction:
    """A lifted instance; pixel = scale * (camera_from_template @ vertex)[:2] + translation.

    Where the intrinsics are known, X = camera_from_template @ vertex + position and pixel = focal * X[:2] / X[2] + principal;
    scale and translation are those of the nearest orthographic camera then.

    Attributes:
        vertices: [K, 3] posed, template frame, template units.
        camera_from_template: [3, 3]; camera frame x right, y down, z away from the viewer.
        scale: image pixels per template unit.
        translation: [2] image pixels.
        part_rotations, part_translations: [M, 3, 3], [M, 3] template units: x goes to R x + t; none where the body has no parts.
        blendshapes: [B] coefficients.
        intrinsics: [4] fx, fy, cx, cy, image pixels; None where unknown.
        position: [3] of the template's origin before the pinhole, template units; None where unknown.
    """

    vertices: Float[np.ndarray, "k 3"]
    camera_from_template: Float[np.ndarray, "3 3"]
    scale: float
    translation: Float[np.ndarray, "2"]
    part_rotations: Float[np.ndarray, "m 3 3"]
    part_translations: Float[np.ndarray, "m 3"]
    blendshapes: Float[np.ndarray, "b"]
    intrinsics: Float[np.ndarray, "4"] | None = None
    position: Float[np.ndarray, "3"] | None = None

    def projected(self) -> Float[np.ndarray, "k 3"]:
        """x, y in image pixels and z away from the viewer in the same unit."""
        if self.intrinsics is not None and self.position is not None:
            x = self.vertices @ self.camera_from_template.T + self.position
            flat = self.intrinsics[:2] * x[:, :2] / x[:, 2:] + self.intrinsics[2:]
            return np.concatenate([flat, self.scale * (x[:, 2:] - self.position[2])], axis=1)
        placed = self.scale * self.vertices @ self.camera_from_template.T
        return placed + np.append(self.translation, 0.0)

    def save(self, path: Path) -> Path:
        """Write an .npz without pickles."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **{name: value for name, value in asdict(self).items() if value is not None})
        return path


def predict(lifter: Lifter, instances: Instances, batch: int = 256) -> list[Prediction]:
    """Lift instances; the image translation is the best one on the visible keypoints."""
    found = []
    for i, (seen, lifted) in enumerate(lift(lifter, instances, batch)):
        cameras = None if instances.cameras is None else instances.cameras[i * batch : (i + 1) * batch]
        found += _predictions(seen, lifted, cameras)
    return found


def _predictions(seen: Observation, lifted: Lifted, cameras: Tensor | None) -> list[Prediction]:
    parts, rotation, scale = lifted.shape.parts, lifted.camera_from_template, lifted.scale(seen)
    flat = scale[:, None, None] * (lifted.posed @ rotation[:, :2].transpose(1, 2))
    translation = seen.centre - visible_mean(flat, seen.visible)
    positions = lifted.position(seen)
    known = [positions is not None and bool(seen.lens.nearness[i] > 0) for i in range(len(scale))]
    return [
        Prediction(
            vertices=lifted.posed[i].numpy().copy(),
            camera_from_template=rotation[i].numpy(),
            scale=float(scale[i]),
            translation=translation[i].numpy(),
            part_rotations=parts.rotations[i].numpy() if parts else np.zeros((0, 3, 3), np.float32),
            part_translations=parts.translations[i].numpy() if parts else np.zeros((0, 3), np.float32),
            blendshapes=parts.coefficients[i].numpy() if parts else np.zeros(0, np.float32),
            intrinsics=cameras[i].numpy() if known[i] else None,
            position=positions[i].numpy() if known[i] else None,
        )
        for i in range(len(scale))
    ]
