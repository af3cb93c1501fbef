"""The lift-project-lift cycle: the model's own shapes under other cameras, whose truth is known (ours).

Reprojection and rigidity leave depth free within what an image allows; a population of shapes seen from all sides does
not. So the network is also taught on its own answers: each shape is seen as another instance of the batch was seen,
with that one's camera and visibility, and must be lifted back to itself (the sleep phase of wake-sleep is its kin).
What side views tell of a body then serves the views from the front, and cameras are learned where they are known
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.losses.terms import shape_loss
from dp3d_model.networks.lifter import Lifted, Lifter


@dataclass(frozen=True)
class OtherViews:
    """Shapes [N, K, 3] in a camera's frame, template units, and the vertices [N, K] seen in it."""

    shapes: Float[Tensor, "n k 3"]
    visible: Bool[Tensor, "n k"]


def other_views(lifter: Lifter, lifted: Lifted, inputs: KeypointBatch, generator: torch.Generator) -> OtherViews:
    """Every shape of a batch as seen by the camera, and with the visibility, of another instance; no gradient flows."""
    with torch.no_grad():
        whole = lifter.decode(lifted.numbers.detach(), inputs)
        shapes = whole.log_scale.exp()[:, None, None] * whole.posed
        other = torch.roll(
            torch.arange(len(shapes)), int(torch.randint(1, max(len(shapes), 2), (), generator=generator))
        )
        return OtherViews(shapes @ whole.rotation[other].transpose(1, 2), inputs.visible[other])


def cycle_loss(
    lifter: Lifter, turned: OtherViews, chosen: Int[Tensor, "k"] | None, epsilon: float
) -> Float[Tensor, ""]:
    """L_cycle: the distance of what is lifted to what was projected, template units; see `shape_loss`."""
    again = lifter.normalise(KeypointBatch(turned.shapes[..., :2], turned.visible))
    found = lifter(again, chosen)
    shape = (again.camera.scale * found.log_scale.exp())[:, None, None] * found.in_camera()
    true, visible = (
        (turned.shapes, turned.visible) if chosen is None else (turned.shapes[:, chosen], turned.visible[:, chosen])
    )
    return shape_loss(shape, true, visible, epsilon).mean()
