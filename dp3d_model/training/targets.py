"""What a batch shows, as training hands it on: keypoints, visibility, and what else is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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
        return Seen(**{name: None if values is None else change(values) for name, values in vars(self).items()})


def numbers_of(lifter: Lifter, seen: Seen) -> Tensor:
    """What the network says of instances."""
    return lifter.numbers(lifter.observe(seen.keypoints, seen.visible, seen.cameras, seen.weights))


def fields_of(config: TrainConfig) -> tuple[str, ...]:
    """What a training needs of its instances beside keypoints, as `loader.FIELDS` names it."""
    wanted = {"cameras": config.model.projection == "perspective", "truth": config.loss.truth > 0, "weights": config.model.keypoint_weights}
    return tuple(name for name, needed in wanted.items() if needed)
