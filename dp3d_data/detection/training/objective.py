"""One step's losses: proposals and boxes from detectron2; mask and embedding from crops, or from jittered true
boxes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import nn
from torchvision.ops import roi_align

from dp3d_data.detection.embedder import Embedder
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.outputs import EmbeddingOutputs
from dp3d_data.detection.training.cropping import Crops
from dp3d_data.detection.training.losses import (
    SoftTargets,
    at_points,
    mask_loss,
    mirror_loss,
    overlap_loss,
    pixel_cycle_loss,
    shape_cycle_loss,
    soft_embedding_loss,
)
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.start import Start
from dp3d_data.detection.training.stream import Batch
from dp3d_data.errors import UsageError

Tensor = torch.Tensor
Losses = dict[str, Float[Tensor, ""]]
Targets = Mapping[str, SoftTargets]  # by mesh
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
    network: Dp3dDenseRCNN,
    batch: Batch,
    targets: Targets,
    start: Start,
    config: TrainCseConfig,
    rng: torch.Generator,
    *,
    with_boxes: bool = True,
) -> Losses:
    """Every weighted loss of one batch, by name.

    Args:
        targets: soft targets [K, K] of the vertices of each mesh.
        start: the classes and meshes that are learned.
        with_boxes: whether proposals and boxes are taught in this step.
    """
    losses: Losses = {}
    if batch.crops is not None:
        losses |= crop_losses(network, batch.crops, targets, start, config, rng)
    if not len(batch.images):
        return losses
    images = network.normalised(batch.images)
    with _mixed(config):
        features = network.backbone(images.contiguous(memory_format=torch.channels_last))
    features = {name: level.float() for name, level in features.items()}
    if with_boxes:
        truth = batch.by_image(batch.boxes), batch.by_image(batch.classes)
        losses |= {
            name: config.box_weight * value
            for name, value in network.detection_losses(images, features, *truth).items()
        }
    if batch.crops is not None:
        return losses
    seen = jittered(batch.boxes, images.shape[-1], rng)
    with _mixed(config):
        outputs = network.roi_heads.densepose_outputs(features, batch.by_image(seen))
    said = outputs.coarse_segm.float()
    losses |= mask_losses(said, masks_in_boxes(batch.masks.float(), seen, said.shape[-1]), None, config)
    inside = _inside(batch.points, seen[batch.owner])
    drawn = batch.owner[inside], batch.vertices[inside], batch.points[inside]
    return losses | embedding_losses(
        network.roi_heads.embedder, outputs.embedding.float(), seen, batch.classes, drawn, targets, start, config, rng
    )


def crop_losses(
    network: Dp3dDenseRCNN, crops: Crops, targets: Targets, start: Start, config: TrainCseConfig, rng: torch.Generator
) -> Losses:
    """Losses of the second look at crops: weighted mask, its overlap, embeddings at the drawn points."""
    outputs = _second_look(network, crops.images, config)
    said, side = outputs.coarse_segm.float(), crops.images.shape[-1]
    size = said.shape[-1]
    masks, weights = (_averaged(one.float(), size) for one in (crops.masks, crops.weights))
    whole = torch.tensor([0.0, 0, side, side], device=said.device).expand(len(said), 4)
    drawn = crops.owner, crops.vertices, crops.points
    losses = mask_losses(said, masks, weights, config) | embedding_losses(
        network.roi_heads.embedder, outputs.embedding.float(), whole, crops.classes, drawn, targets, start, config, rng
    )
    if config.mirror_weight:
        pixels = at_points(outputs.embedding.float(), whole, crops.owner, crops.points)
        losses["mirror"] = config.mirror_weight * mirror_losses(network, crops, pixels, targets, start, config)
    return losses


def mirror_losses(
    network: Dp3dDenseRCNN,
    crops: Crops,
    pixels: Float[Tensor, "points dim"],
    targets: Targets,
    start: Start,
    config: TrainCseConfig,
) -> Float[Tensor, ""]:
    """The mirror loss over the points of all meshes whose symmetry is known.

    Args:
        pixels: embeddings at the drawn points.
    """
    side = crops.images.shape[-1]
    maps = _second_look(network, crops.images.flip(-1), config).embedding
    whole = torch.tensor([0.0, 0, side, side], device=maps.device).expand(len(maps), 4)
    places = torch.stack([side - crops.points[:, 0], crops.points[:, 1]], dim=1)
    mirrored, class_of = at_points(maps.float(), whole, crops.owner, places), crops.classes[crops.owner]
    total = mirrored.sum() * 0
    for class_id, mesh in start.learned.items():
        mirror, mine = targets[mesh].mirror, class_of == class_id
        if mirror is not None:
            field = network.roi_heads.embedder(mesh)
            own = mirror_loss(pixels[mine], mirrored[mine], field, mirror, config.embedding_sigma)
            total = total + own * mine.sum() / max(len(class_of), 1)
    return total


def _second_look(network: Dp3dDenseRCNN, images: Tensor, config: TrainCseConfig) -> EmbeddingOutputs:
    with _mixed(config):
        outputs = network.look_again(network.normalised(images).contiguous(memory_format=torch.channels_last))
    if not isinstance(outputs, EmbeddingOutputs):
        raise UsageError("a network of charts has no embeddings to learn", expected="a CSE network")
    return outputs


def _averaged(maps: Float[Tensor, "n h w"], size: int) -> Float[Tensor, "n size size"]:
    return nn.functional.interpolate(maps[:, None], (size, size), mode="area")[:, 0]


def mask_losses(
    said: Float[Tensor, "boxes 2 size size"],
    masks: Float[Tensor, "boxes size size"],
    weights: Float[Tensor, "boxes size size"] | None,
    config: TrainCseConfig,
) -> Losses:
    """Cross-entropy and, where its weight asks for it, overlap."""
    losses = {"mask": config.mask_weight * mask_loss(said, masks, weights)}
    if config.overlap_weight:
        losses["overlap"] = config.overlap_weight * overlap_loss(said, masks)
    return losses


def embedding_losses(
    embedder: Embedder,
    maps: Float[Tensor, "objects dim size size"],
    boxes: Float[Tensor, "objects 4"],
    classes: Int[Tensor, "objects"],
    drawn: tuple[Int[Tensor, "points"], Int[Tensor, "points"], Float[Tensor, "points 2"]],
    targets: Targets,
    start: Start,
    config: TrainCseConfig,
    rng: torch.Generator,
) -> Losses:
    """The soft embedding loss over the points of all meshes and, where their weights ask for them, the cycle losses.

    Args:
        boxes: xyxy that the maps cover.
        drawn: owner, vertex and position of each drawn point.
    """
    owner, vertices, positions = drawn
    pixels, sigma = at_points(maps, boxes, owner, positions), config.embedding_sigma
    class_of = classes[owner]
    total = pixels.sum() * 0
    for class_id, mesh in start.learned.items():
        mine = class_of == class_id
        own = soft_embedding_loss(pixels[mine], embedder(mesh), vertices[mine], targets[mesh], sigma)
        total = total + own * mine.sum() / max(len(owner), 1)
    losses = {"embedding": config.embedding_weight * total}
    mesh = start.mesh
    field = embedder(mesh)
    if config.pixel_cycle_weight:
        shares = (positions - boxes[owner, :2]) / (boxes[owner, 2:] - boxes[owner, :2]).clamp(min=1e-6)
        cycles = [pixel_cycle_loss(pixels[owner == one], field, shares[owner == one], sigma) for one in owner.unique()]
        losses["pixel_cycle"] = config.pixel_cycle_weight * (torch.stack(cycles).mean() if cycles else pixels.sum())
    others = [name for name in embedder.meshes if name != mesh]
    if config.shape_cycle_weight and others:
        there = embedder(others[int(torch.randint(len(others), (1,), generator=rng))])
        here = torch.randperm(len(field), generator=rng)[:CYCLE_VERTICES].to(field.device)
        by = torch.randperm(len(there), generator=rng)[:CYCLE_VERTICES].to(field.device)
        distances = targets[mesh].distances[here][:, here]
        losses["shape_cycle"] = config.shape_cycle_weight * shape_cycle_loss(field[here], there[by], distances, sigma)
    return losses


def _mixed(config: TrainCseConfig) -> torch.autocast:
    return torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.precision == "bfloat16")


def _inside(points: Float[Tensor, "points 2"], boxes: Float[Tensor, "points 4"]) -> Int[Tensor, "points"]:
    return ((points >= boxes[:, :2]) & (points < boxes[:, 2:])).all(dim=1)
