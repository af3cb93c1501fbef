"""Phi, from what is seen of an instance to its camera and shape."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dp3d_data.records import present
from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.bodies import Shape, make_body
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.camera import refine_rotation, rotation_from, rotation_size
from dp3d_model.geometry.perspective import centred, depth_factor, normalise, place, solve_placement, visible_mean
from dp3d_model.geometry.surface import Surface
from dp3d_model.networks.encoder import Encoder, Mlp, SurfaceAttention

if TYPE_CHECKING:
    from dp3d_model.evaluation.quality import Calibration


MAX_LOG_SCALE = 1.0


@dataclass(frozen=True)
class Lifted:
    """Lifted instances, in template units.

    Attributes:
        shape: the deformed bodies, in the template frame.
        rotation: [N, 3, 3] camera_from_template; where a pinhole is known, of the camera turned towards the object.
        log_scale: [N] correction to the rigid camera's scale.
        numbers: [N, D] what the body and the camera were made of.
        camera_from_turned: [N, 3, 3] from the turned camera to that of the image; None where these are one.
        shift: [N, 2] from where the visible keypoints put the body in the image to where it is; None for nothing.
    """

    shape: Shape
    rotation: Float[Tensor, "n 3 3"]
    log_scale: Float[Tensor, "n"]
    numbers: Float[Tensor, "n d"]
    camera_from_turned: Float[Tensor, "n 3 3"] | None = None
    shift: Float[Tensor, "n 2"] | None = None

    @property
    def posed(self) -> Float[Tensor, "n k 3"]:
        """The posed vertices in the template frame, before the camera."""
        return self.shape.posed

    def in_camera(self) -> Float[Tensor, "n k 3"]:
        """The posed vertices in the camera frame (x right, y down, z away), template units."""
        return self.posed @ self.camera_from_template.transpose(1, 2)

    @property
    def camera_from_template(self) -> Float[Tensor, "n 3 3"]:
        """The rotation of the camera of the image."""
        return self.rotation if self.camera_from_turned is None else self.camera_from_turned @ self.rotation

    def scale(self, inputs: KeypointBatch) -> Float[Tensor, "n"]:
        """Image pixels per template unit; before a pinhole, at the mean depth of all vertices."""
        unit, position = present(inputs.camera).scale, self.position(inputs)
        scale = unit * self.log_scale.exp()
        if inputs.pinhole is None or position is None:
            return scale
        depth = position[:, 2] + self.in_camera()[..., 2].mean(1)
        return torch.where(inputs.pinhole.inverse_depth > 0, unit / (inputs.pinhole.inverse_depth * depth), scale)

    def position(self, inputs: KeypointBatch) -> Float[Tensor, "n 3"] | None:
        """Where the template's origin lies before each pinhole, in the frame of the image's camera, template units.

        None without a pinhole, not finite for parallel rays. The inputs have the same vertices as the answer.
        """
        pinhole = inputs.pinhole
        if pinhole is None or self.camera_from_turned is None:
            return None
        size = self.log_scale.exp()[:, None]
        points = self.posed @ self.rotation.transpose(1, 2)
        ahead = 1.0 / (pinhole.inverse_depth[:, None] * size) - visible_mean(points, inputs.visible)[:, 2:]
        first = points[:, 0] + torch.cat([torch.zeros_like(points[:, 0, :2]), ahead], dim=1)
        seen = place(size[..., None] * points, inputs.keypoints, inputs.visible, pinhole)[:, 0]
        ray = (seen - pinhole.axis) * pinhole.inverse_depth[:, None]
        sideways = ray * first[:, 2:] - first[:, :2]
        return (self.camera_from_turned @ torch.cat([sideways, ahead], dim=1)[..., None])[..., 0]


class Lifter(nn.Module):
    """Phi and the body it deforms.

    The network gives the numbers of the body, of a rotation that follows the body's own, R = R_0 dR (so that turning
    the image turns the answer), and of a scale. With several passes each reads what the last answer leaves, and adds a
    correction (ours).
    """

    functions: torch.Tensor
    prior_mean: torch.Tensor
    prior_directions: torch.Tensor

    def __init__(self, surface: Surface, config: TrainConfig) -> None:
        super().__init__()
        self.surface, self.config = surface, config
        self.body = make_body(surface, config)
        own = config.model
        self.encoder: SurfaceAttention | Encoder
        if own.encoder == "attention":
            self.encoder = SurfaceAttention(surface, config)
        else:
            self.encoder = Encoder(surface, own.network_input, own.input_cells)
        self.size = self.body.size + rotation_size(own.rotations) + 1
        inputs = [self.encoder.size + (self.size if later else 0) for later in range(own.passes if own.network else 0)]
        self.trunks = nn.ModuleList(
            Mlp(count, self.size, own.width, own.bottleneck, own.blocks, own.norm) for count in inputs
        )
        self.noise: nn.ModuleDict | None = None
        if own.noise != "off":
            of_vertex, of_motion = nn.Linear(surface.functions.shape[1], 16), nn.Linear(12, 16, bias=False)
            self.noise = nn.ModuleDict({"of_vertex": of_vertex, "of_motion": of_motion, "out": nn.Linear(16, 1)})
        self.register_buffer("functions", surface.functions, persistent=False)
        self.calibration: Calibration | None = None
        # What test_time.learn_prior keeps; none before a training has ended.
        directions = config.model.prior_directions if config.model.network else 0
        self.register_buffer("prior_mean", torch.zeros(self.body.size), persistent=directions > 0)
        self.register_buffer("prior_directions", torch.zeros(directions, self.body.size), persistent=directions > 0)

    def forward(self, inputs: KeypointBatch, chosen: Int[Tensor, "k"] | None = None) -> Lifted:
        """Lift a normalised batch; with `chosen`, K of the answer counts these template vertices only."""
        return self.decode(self.numbers(inputs), inputs, chosen)

    def numbers(self, inputs: KeypointBatch) -> Float[Tensor, "n d"]:
        """What the network says; zeros where there is none."""
        numbers = inputs.keypoints.new_zeros(len(inputs.keypoints), self.size)
        for index, mlp in enumerate(self.trunks):
            if index == 0:
                numbers = mlp(self.encoder(inputs))
            else:
                reading = self.encoder(inputs, *self.placed(numbers, inputs))
                numbers = numbers + mlp(torch.cat([reading, numbers], dim=1))
        return numbers

    def placed(self, numbers: Float[Tensor, "n d"], inputs: KeypointBatch) -> tuple[Tensor, Tensor]:
        """The image positions [N, K, 2] of all vertices and the rotation [N, 3, 3] of an answer, for the next pass."""
        lifted = self.decode(numbers, inputs)
        return reproject(lifted, inputs), lifted.rotation

    def decode(
        self, numbers: Float[Tensor, "n d"], inputs: KeypointBatch, chosen: Int[Tensor, "k"] | None = None
    ) -> Lifted:
        """The bodies and cameras that the numbers stand for."""
        config, size = self.config, self.body.size
        refined = config.model.camera_steps > 0
        shape = self.body(numbers[:, :size], None if refined else chosen)
        rotation = present(inputs.camera).rotation @ rotation_from(numbers[:, size:-1], config.model.rotations)
        if refined:
            flat = straightened(shape.posed, rotation, inputs)
            rotation, _ = refine_rotation(rotation, shape.posed, flat, inputs.visible, config.model.camera_steps)
            shape = shape if chosen is None else shape.at(chosen)
        log_scale = torch.zeros_like(numbers[:, -1])
        if config.model.scale == "learned":
            log_scale = MAX_LOG_SCALE * torch.tanh(numbers[:, -1] / MAX_LOG_SCALE)
        elif config.model.scale == "solved":
            log_scale = solved_log_scale(shape.posed, rotation, inputs.at_vertices(chosen))
        return Lifted(shape, rotation, log_scale, numbers, None if inputs.pinhole is None else inputs.pinhole.rotation)

    def predicted_noise(self, lifted: Lifted, chosen: Int[Tensor, "k"] | None = None) -> Float[Tensor, "n k"] | None:
        """How far off each vertex is expected to be, relative to others, b_k > 0; None where the model does not say.

        A two-layer perceptron with softplus reads phi_k and the predicted motion of vertex k.
        """
        if self.noise is None:
            return None
        functions = self.functions if chosen is None else self.functions[chosen]
        hidden = self.noise["of_vertex"](functions) + self.noise["of_motion"](lifted.shape.motions.flatten(2))
        return nn.functional.softplus(self.noise["out"](torch.relu(hidden)))[..., 0]

    def on(self, surface: Surface) -> Lifter:
        """The same weights on another meshing of the template, whose functions are this one's at the same places.

        Raises:
            TemplateError: the body knows single vertices of its template.
        """
        other = copy.deepcopy(self)
        other.surface, other.functions = surface, surface.functions
        other.body.carry(surface)
        other.encoder.carry(surface)
        return other.to(self.functions.device)

    def normalise(self, batch: KeypointBatch) -> KeypointBatch:
        """A batch in image pixels as this model reads it, on its device; see `perspective.normalise`.

        Intrinsics and weights count where the settings say so.
        """
        if self.config.model.projection != "perspective":
            batch = replace(batch, intrinsics=None)
        if not self.config.model.keypoint_weights:
            batch = replace(batch, weights=None)
        return normalise(self.surface, batch.to(self.functions.device), self.config.model.camera)


def reproject(lifted: Lifted, inputs: KeypointBatch) -> Float[Tensor, "n k 2"]:
    """The lifted vertices in the units of the inputs, under the best image translation on keypoints, and `shift`."""
    points = lifted.log_scale.exp()[:, None, None] * (lifted.posed @ lifted.rotation.transpose(1, 2))
    placed = place(points, inputs.keypoints, inputs.visible, inputs.pinhole)
    return placed if lifted.shift is None else placed + lifted.shift[:, None]


def solved_log_scale(
    posed: Float[Tensor, "n k 3"], rotation: Float[Tensor, "n 3 3"], inputs: KeypointBatch
) -> Float[Tensor, "n"]:
    """The correction of the scale that fits each body to its keypoints: its distance, solved with the translation."""
    _, distance = solve_placement(posed @ rotation.transpose(1, 2), inputs.keypoints, inputs.visible, inputs.pinhole)
    return (-distance.clamp_min(1e-6).log()).clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE)


def straightened(
    posed: Float[Tensor, "n k 3"], rotation: Float[Tensor, "n 3 3"], inputs: KeypointBatch
) -> Float[Tensor, "n k 2"]:
    """The keypoints as parallel rays would show them of these bodies."""
    if inputs.pinhole is None:
        return inputs.keypoints
    depth = centred((posed @ rotation[:, 2, :, None])[..., 0], inputs.visible)
    about = inputs.keypoints - inputs.pinhole.axis[:, None]
    return depth_factor(depth, inputs.pinhole.inverse_depth)[..., None] * about
