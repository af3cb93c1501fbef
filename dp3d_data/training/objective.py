"""One step's losses: proposals and boxes from detectron2, mask and embedding from jittered true boxes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torchvision.ops import roi_align

from dp3d_data.training.losses import (
    SoftTargets,
    at_points,
    mask_loss,
    overlap_loss,
    pixel_cycle_loss,
    shape_cycle_loss,
    soft_embedding_loss,
)
from dp3d_data.training.recipe import TrainCseConfig
from dp3d_data.training.start import Start
from dp3d_data.training.stream import Batch

Tensor = torch.Tensor
CYCLE_VERTICES = 512


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
    targets: SoftTargets,
    start: Start,
    config: TrainCseConfig,
    rng: torch.Generator,
    *,
    with_boxes: bool = True,
) -> dict[str, Float[Tensor, ""]]:
    """Every weighted loss of one batch, by name.

    Args:
        targets: soft targets [K, K] of the template's vertices.
        start: the class and the mesh that are learned.
        with_boxes: whether proposals and boxes are taught in this step.
    """
    images = network.normalised(batch.images)
    with _mixed(config):
        features = network.backbone(images.contiguous(memory_format=torch.channels_last))
    features = {name: level.float() for name, level in features.items()}
    losses: dict[str, Float[Tensor, ""]] = {}
    if with_boxes:
        boxes = network.detection_losses(images, features, batch.boxes_by_image(), start.class_id)
        losses |= {name: config.box_weight * value for name, value in boxes.items()}
    seen = jittered(batch.boxes, images.shape[-1], rng)
    with _mixed(config):
        outputs = network.roi_heads.densepose_outputs(features, batch.boxes_by_image(seen))
    said = outputs.coarse_segm.float()
    target = masks_in_boxes(batch.masks.float(), seen, said.shape[-1])
    losses["mask"] = config.mask_weight * mask_loss(said, target)
    if config.overlap_weight:
        losses["overlap"] = config.overlap_weight * overlap_loss(said, target)
    return losses | embedding_losses(network.roi_heads.embedder, outputs.embedding.float(), seen, batch, targets, start.mesh, config, rng)


def embedding_losses(
    embedder: torch.nn.Module,
    maps: Float[Tensor, "objects dim size size"],
    boxes: Float[Tensor, "objects 4"],
    batch: Batch,
    targets: SoftTargets,
    mesh: str,
    config: TrainCseConfig,
    rng: torch.Generator,
) -> dict[str, Float[Tensor, ""]]:
    """The soft embedding loss and, where their weights ask for them, the cycle losses."""
    inside = _inside(batch.points, boxes[batch.owner])
    owner, vertices, positions = batch.owner[inside], batch.vertices[inside], batch.points[inside]
    pixels, field = at_points(maps, boxes, owner, positions), embedder(mesh)
    sigma = config.embedding_sigma
    losses = {"embedding": config.embedding_weight * soft_embedding_loss(pixels, field, vertices, targets, sigma)}
    if config.pixel_cycle_weight:
        shares = (positions - boxes[owner, :2]) / (boxes[owner, 2:] - boxes[owner, :2]).clamp(min=1e-6)
        cycles = [pixel_cycle_loss(pixels[owner == one], field, shares[owner == one], sigma) for one in owner.unique()]
        losses["pixel_cycle"] = config.pixel_cycle_weight * (torch.stack(cycles).mean() if cycles else pixels.sum())
    others = [name for name in embedder.meshes if name != mesh]
    if config.shape_cycle_weight and others:
        there = embedder(others[int(torch.randint(len(others), (1,), generator=rng))])
        here = torch.randperm(len(field), generator=rng)[:CYCLE_VERTICES].to(field.device)
        by = torch.randperm(len(there), generator=rng)[:CYCLE_VERTICES].to(field.device)
        distances = targets.distances[here][:, here]
        losses["shape_cycle"] = config.shape_cycle_weight * shape_cycle_loss(field[here], there[by], distances, sigma)
    return losses


def _mixed(config: TrainCseConfig) -> torch.autocast:
    return torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.precision == "bfloat16")


def _inside(points: Float[Tensor, "points 2"], boxes: Float[Tensor, "points 4"]) -> Int[Tensor, "points"]:
    return ((points >= boxes[:, :2]) & (points < boxes[:, 2:])).all(dim=1)
