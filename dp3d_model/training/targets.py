"""What a batch shows, as training hands it on: keypoints, visibility, and what else is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dp3d_data.errors import ShapeError
from dp3d_data.loader import Batch
from dp3d_model.config import TrainConfig
from dp3d_model.networks.lifter import Lifter


@dataclass(frozen=True)
class Seen:
    """What a batch shows.

    Attributes:
        keypoints: [N, K, 2] image pixels.
        visible: [N, K].
        cameras: [N, 4] intrinsics; None without.
        truth: [N, K, 3] true vertices, camera frame, template units; NaN where unknown, None where all are.
        true_scale: [N] image pixels per template unit; as truth.
        weights: [N, K] how far the keypoints are trusted; None for all alike.
    """

    keypoints: Tensor
    visible: Tensor
    cameras: Tensor | None
    truth: Tensor | None = None
    true_scale: Tensor | None = None
    weights: Tensor | None = None

    def at(self, part: slice) -> Seen:
        """Some of them."""
        return self._map(lambda values: values[part])

    def to(self, device: torch.device) -> Seen:
        """The same on a device."""
        return self._map(lambda values: values.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Seen:
        return replace(self, **{name: change(values) for name, values in vars(self).items() if values is not None})


def seen_of(batch: Batch) -> Seen:
    """What a dense batch shows.

    Raises:
        ShapeError: a sparse one.
    """
    if batch.keypoints is None or batch.visible is None:
        raise ShapeError("a network learns from dense batches", got="a sparse one", expected="the fields keypoints and visible")
    return Seen(batch.keypoints, batch.visible, batch.cameras, batch.true_vertices, batch.true_scale, batch.weights)


def numbers_of(lifter: Lifter, seen: Seen) -> Tensor:
    """What the network says of instances."""
    return lifter.numbers(lifter.observe(seen.keypoints, seen.visible, seen.cameras, seen.weights))


def fields_of(config: TrainConfig) -> tuple[str, ...]:
    """What a training needs of its instances beside keypoints, as `loader.FIELDS` names it."""
    wanted = {"cameras": config.projection == "perspective", "truth": config.truth_weight > 0, "weights": config.keypoint_weights}
    return tuple(name for name, needed in wanted.items() if needed)
