"""Phi: from what is seen of an instance to its camera and the shape of its body."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_model.bodies import Shape, make_body
from dp3d_model.camera import refine_rotation, rotation_from, rotation_size
from dp3d_model.config import TrainConfig
from dp3d_model.observation import Encoder, Observation, observe, visible_mean
from dp3d_model.surface import Surface
from dp3d_model.trunk import Trunk

MAX_LOG_SCALE = 1.0


@dataclass(frozen=True)
class Lifted:
    """Lifted instances, in template units.

    Attributes:
        shape: the deformed bodies, in the template frame.
        rotation: [N, 3, 3] camera_from_template.
        log_scale: [N] correction to the rigid camera's scale.
        numbers: [N, D] what the body and the camera were made of.
    """

    shape: Shape
    rotation: Float[Tensor, "n 3 3"]
    log_scale: Float[Tensor, "n"]
    numbers: Float[Tensor, "n d"]

    @property
    def posed(self) -> Float[Tensor, "n k 3"]:
        """The posed vertices in the template frame, before the camera."""
        return self.shape.posed

    def in_camera(self) -> Float[Tensor, "n k 3"]:
        """The posed vertices in the camera frame (x right, y down, z away), template units."""
        return self.posed @ self.rotation.transpose(1, 2)


class Lifter(nn.Module):
    """Phi and the body it deforms.

    The network gives the numbers of the body, of a rotation that follows the body's own, R = R_0 dR (so that turning the image
    turns the answer), and of a scale. With several passes each reads what the last answer leaves, and adds a correction (ours).
    """

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.surface, self.config = surface, config
        self.body = make_body(surface, config)
        self.encoder = Encoder(surface, config.network_input, config.input_cells)
        self.size = self.body.size + rotation_size(config.rotations) + 1
        passes = config.passes if config.network else 0
        extra = [0] + [self.size] * (passes - 1)
        self.trunks = nn.ModuleList(
            Trunk(self.encoder.size + extra[i], self.size, config.width, config.bottleneck, config.blocks, config.norm)
            for i in range(passes)
        )

    def forward(self, seen: Observation, chosen: Int[Tensor, "k"] | None = None) -> Lifted:
        """Lift observations; with `chosen`, K of the answer counts these template vertices only."""
        return self.decode(self.numbers(seen), seen, chosen)

    def numbers(self, seen: Observation) -> Float[Tensor, "n d"]:
        """What the network says; zeros where there is none."""
        numbers = seen.keypoints.new_zeros(len(seen.keypoints), self.size)
        for index, trunk in enumerate(self.trunks):
            if index == 0:
                numbers = trunk(self.encoder(seen))
            else:
                reading = self.encoder(seen, *self.placed(numbers, seen))
                numbers = numbers + trunk(torch.cat([reading, numbers], dim=1))
        return numbers

    def placed(self, numbers: Float[Tensor, "n d"], seen: Observation) -> tuple[Tensor, Tensor]:
        """The image positions [N, K, 2] of all vertices and the rotation [N, 3, 3] of an answer, for the next pass to read."""
        lifted = self.decode(numbers, seen)
        return reproject(lifted, seen), lifted.rotation

    def decode(self, numbers: Float[Tensor, "n d"], seen: Observation, chosen: Int[Tensor, "k"] | None = None) -> Lifted:
        """The bodies and cameras that the numbers stand for."""
        config, size = self.config, self.body.size
        refined = config.camera_steps > 0
        shape = self.body(numbers[:, :size], None if refined else chosen)
        rotation = seen.camera.rotation @ rotation_from(numbers[:, size:-1], config.rotations)
        log_scale = MAX_LOG_SCALE * torch.tanh(numbers[:, -1] / MAX_LOG_SCALE)
        if config.scale == "fitted":
            log_scale = torch.zeros_like(log_scale)
        if refined:
            rotation, _ = refine_rotation(rotation, shape.posed, seen.keypoints, seen.visible, config.camera_steps)
            shape = shape if chosen is None else shape.at(chosen)
        return Lifted(shape, rotation, log_scale, numbers)

    def move(self, device: torch.device) -> Lifter:
        """Itself, with its surface, on a device."""
        self.surface = self.surface.to(device)
        return self.to(device)

    def observe(self, keypoints: Float[Tensor, "n k 2"], visible: Tensor) -> Observation:
        """Observations of this model's template, from image pixels."""
        return observe(self.surface, keypoints, visible, self.config.camera)


def reproject(lifted: Lifted, seen: Observation) -> Float[Tensor, "n k 2"]:
    """The lifted vertices in the units of the observation; the image translation is the best one on the visible keypoints."""
    flat = lifted.log_scale.exp()[:, None, None] * (lifted.posed @ lifted.rotation[:, :2].transpose(1, 2))
    shift = visible_mean(flat, seen.visible) - visible_mean(seen.keypoints, seen.visible)
    return flat - shift[:, None]
