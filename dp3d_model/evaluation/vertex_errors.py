"""Where each lifted vertex is wrong, for instances whose true shape is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.evaluation.metrics import align_translation, similarity_error
from dp3d_model.lifting.prediction import Prediction


@dataclass(frozen=True)
class Errors:
    """Of one instance, in template extents, with the scale given (the reconstruction in pixels divided by the true
    scale).

    Attributes:
        vertices: [K] the distance of each vertex to the truth, mean depth and visible translation aligned.
        mpjpe: their mean.
        pa: PA-MPJPE, the mean after the best similarity.
    """

    vertices: Float[np.ndarray, "k"]
    mpjpe: float
    pa: float


def errors_of(lifted: Iterable[Prediction], instances: KeypointBatch) -> list[Errors | None]:
    """The errors of each instance; None where its truth is unknown.

    Args:
        lifted: what `predict` gave of these instances, batch by batch.
    """
    if instances.true_vertices is None:
        return [None] * len(instances)
    found: list[Errors | None] = []
    for many in lifted:
        found += _errors(many, instances.take(range(len(found), len(found) + len(many.scale))))
    return found


def _errors(many: Prediction, some: KeypointBatch) -> list[Errors | None]:
    shape = torch.from_numpy(many.vertices @ many.camera_from_template.transpose(0, 2, 1))
    scale = torch.from_numpy(many.scale) / some.true_scale
    predicted = align_translation(shape * scale[:, None, None], some.visible)
    true = align_translation(some.true_vertices, some.visible)
    distance, similar = (
        (predicted - true).norm(dim=2).numpy(),
        similarity_error(predicted.nan_to_num(), true.nan_to_num()).numpy(),
    )
    known = np.isfinite(distance).all(1)
    rows = zip(distance, similar, known, strict=True)
    return [Errors(one, float(one.mean()), float(after)) if here else None for one, after, here in rows]
