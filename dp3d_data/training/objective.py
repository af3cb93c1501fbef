"""One step's losses: proposals and boxes from detectron2, mask and embedding from jittered true boxes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torchvision.ops import roi_align

from dp3d_data.training.losses import at_points, mask_loss, soft_embedding_loss
from dp3d_data.training.recipe import TrainCseConfig
from dp3d_data.training.stream import Batch

Tensor = torch.Tensor


def jittered(boxes: Float[Tensor, "boxes 4"], size: int, rng: torch.Generator) -> Float[Tensor, "boxes 4"]:
    """Boxes as a detector would give them: centre moved by up to 8 %, sides scaled by 0.85 to 1.2, cut to the image."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=4)
    draw = torch.rand(len(boxes), 4, generator=rng).to(boxes.device)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + (draw[:, :2] - 0.5) * 0.16 * sides
    half = sides * (0.85 + 0.35 * draw[:, 2:]) / 2
    return torch.cat([centre - half, centre + half], dim=1).clamp(0, size)


def masks_in_boxes(
    masks: Float[Tensor, "boxes h w"], boxes: Float[Tensor, "boxes 4"], size: int
) -> Float[Tensor, "boxes size size"]:
    """The masks seen through the boxes, as the network's maps cover them."""
    return roi_align(masks[:, None], list(boxes[:, None].unbind()), size, aligned=True)[:, 0]


def step_losses(
    network: torch.nn.Module,
    batch: Batch,
    geodesics: Float[Tensor, "vertices vertices"],
    mesh: str,
    config: TrainCseConfig,
    rng: torch.Generator,
) -> dict[str, Float[Tensor, ""]]:
    """Every weighted loss of one batch, by name.

    Args:
        geodesics: surface distances between template vertices, template units.
        mesh: name of the template's embedder in the network.
    """
    images = network.normalised(batch.images)
    with _mixed(config):
        features = network.backbone(images.contiguous(memory_format=torch.channels_last))
    features = {name: level.float() for name, level in features.items()}
    losses = {
        name: config.box_weight * value for name, value in network.detection_losses(images, features, batch.boxes).items()
    }
    boxes = jittered(batch.boxes, images.shape[-1], rng)
    with _mixed(config):
        outputs = network.roi_heads.densepose_outputs(features, list(boxes[:, None].unbind()))
    target = masks_in_boxes(batch.masks.float(), boxes, outputs.coarse_segm.shape[-1])
    losses["mask"] = config.mask_weight * mask_loss(outputs.coarse_segm.float(), target)
    inside = _inside(batch.points, boxes[batch.owner])
    owner, vertices = batch.owner[inside], batch.vertices[inside]
    pixels = at_points(outputs.embedding.float(), boxes, owner, batch.points[inside])
    losses["embedding"] = config.embedding_weight * soft_embedding_loss(
        pixels, network.roi_heads.embedder(mesh), geodesics[vertices], config.embedding_sigma, config.geodesic_sigma
    )
    return losses


def _mixed(config: TrainCseConfig) -> torch.autocast:
    return torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.precision == "bfloat16")


def _inside(points: Float[Tensor, "points 2"], boxes: Float[Tensor, "points 4"]) -> Int[Tensor, "points"]:
    return ((points >= boxes[:, :2]) & (points < boxes[:, 2:])).all(dim=1)
