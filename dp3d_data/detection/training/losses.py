"""Losses of a CSE network, each by itself and those of one step.

In all of them `pixels` are embeddings predicted at the drawn pixels, not normalised; `vertices` are vertex embeddings
of unit norm; `sigma` is the temperature of squared embedding distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torchvision.ops import roi_align

from dp3d_data.detection.dense_layers import Outputs
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.compose import Batch
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.errors import UsageError
from dp3d_data.records import present

Tensor = torch.Tensor
KERNELS = ("exponential", "gaussian")


@dataclass(frozen=True)
class SoftTargets:
    """What a vertex's embedding should say of every vertex.

    share [P, K]: rows that sum to 1. log_share [P]: sum over k of share * log share, the negative entropy of each row.
    distances [P, K]: on the surface, template units. mirror [K]: the vertex that mirrors each, None where unknown.
    mesh: whose vertices they are.
    """

    share: Float[Tensor, "rows vertices"]
    log_share: Float[Tensor, "rows"]
    distances: Float[Tensor, "rows vertices"]
    mirror: Int[Tensor, "vertices"] | None = None
    mesh: str = ""


def soft_targets(geodesics: Float[Tensor, "rows vertices"], sigma: float, kernel: str = "exponential") -> SoftTargets:
    """Softmax over vertices of -d / sigma ("exponential", Neverova et al., CSE, 2020) or -d^2 / (2 sigma^2)
    ("gaussian", ours).

    The first asks for embeddings whose distance grows like the square root of d, rough at every scale; the second for
    embeddings that are smooth along the surface, which a network learns sooner.

    Args:
        geodesics: distances on the surface, template units.
        sigma: width, template units.
        kernel: one of KERNELS.
    """
    energy = geodesics / sigma if kernel == "exponential" else geodesics.square() / (2 * sigma**2)
    log_share = F.log_softmax(-energy, dim=1)
    share = log_share.exp()
    return SoftTargets(share, (share * log_share.clamp(min=-1e4)).sum(dim=1), geodesics)


def soft_embedding_loss(
    pixels: Float[Tensor, "points dim"],
    vertices: Float[Tensor, "vertices dim"],
    truth: Int[Tensor, "points"],
    targets: SoftTargets,
    sigma: float,
) -> Float[Tensor, ""]:
    """Divergence of where a pixel's embedding lies from where its vertex lies (Neverova et al., CSE, 2020).

    The prediction is the softmax over vertices v of -|e_p - e_v|^2 / sigma. With unit e_v that is the softmax of
    2 e_p . e_v / sigma, which needs no distances. The target's own entropy is subtracted, so that a perfect answer
    scores 0 (ours).

    Args:
        truth: the pixels' true vertices.
        targets: of every vertex.
    """
    if len(pixels) == 0:
        return pixels.sum() + 0 * vertices.sum()
    scaled = pixels * (2 / sigma)
    expected = (scaled * (targets.share[truth] @ vertices)).sum(dim=1)
    return (torch.logsumexp(scaled @ vertices.T, dim=1) - expected + targets.log_share[truth]).mean()


def mirror_loss(
    pixels: Float[Tensor, "points dim"],
    mirrored: Float[Tensor, "points dim"],
    vertices: Float[Tensor, "vertices dim"],
    mirror: Int[Tensor, "vertices"],
    sigma: float,
) -> Float[Tensor, ""]:
    """Divergence, both ways, of where pixels lie and where those of the mirror image do, left and right exchanged
    (ours).

    Args:
        mirrored: embeddings at the same pixels of the mirror image.
        mirror: the vertex that mirrors each.
    """
    if len(pixels) == 0:
        return pixels.sum() + mirrored.sum()
    here = F.log_softmax(pixels @ vertices.T * (2 / sigma), dim=1)
    there = F.log_softmax(mirrored @ vertices[mirror].T * (2 / sigma), dim=1)
    return ((here.exp() - there.exp()) * (here - there)).sum(dim=1).mean() / 2


def shape_cycle_loss(
    here: Float[Tensor, "here dim"],
    there: Float[Tensor, "there dim"],
    geodesics: Float[Tensor, "here here"],
    sigma: float,
) -> Float[Tensor, ""]:
    """Distance on the surface between where a vertex starts and where it lands by way of another mesh (CSE, shape to
    shape).

    The way there and back is the product of two softmaxes over embedding distances; the mean over starts of the
    expected distance is returned.

    Args:
        here: embeddings of some vertices of one mesh, unit norm.
        there: of some vertices of another.
        geodesics: between the vertices of the first.
    """
    closeness = here @ there.T * (2 / sigma)
    back_and_forth = closeness.softmax(dim=1) @ closeness.T.softmax(dim=1)
    return (back_and_forth * geodesics).sum(dim=1).mean()


def pixel_cycle_loss(
    pixels: Float[Tensor, "points dim"],
    vertices: Float[Tensor, "vertices dim"],
    positions: Float[Tensor, "points 2"],
    sigma: float,
) -> Float[Tensor, ""]:
    """Distance in the image between a pixel and where it lands by way of the mesh (CSE, pixel to shape).

    Args:
        positions: of the pixels of one object, as shares of its box, so that no object counts for its size (ours).
    """
    if len(pixels) == 0:
        return pixels.sum() + 0 * vertices.sum()
    closeness = pixels @ vertices.T * (2 / sigma)
    # The way back compares pixels, whose embeddings have lengths of their own.
    back = (closeness.T - pixels.square().sum(dim=1) / sigma).softmax(dim=1)
    return (closeness.softmax(dim=1) @ back * torch.cdist(positions, positions)).sum(dim=1).mean()


def mask_loss(
    logits: Float[Tensor, "boxes 2 size size"],
    masks: Float[Tensor, "boxes size size"],
    weights: Float[Tensor, "boxes size size"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the coarse segmentation, a mean over cells, by weight where given.

    The target is each cell's share of object pixels, rounded.
    """
    if not len(logits):
        return logits.sum()
    if weights is None:
        return F.cross_entropy(logits, (masks >= 0.5).long())
    return (F.cross_entropy(logits, (masks >= 0.5).long(), reduction="none") * weights).sum() / weights.sum()


def overlap_loss(
    logits: Float[Tensor, "boxes 2 size size"], masks: Float[Tensor, "boxes size size"]
) -> Float[Tensor, ""]:
    """One minus the soft Dice overlap of each box's mask (Milletari et al., V-Net, 2016), averaged over boxes.

    Cross-entropy counts pixels, this counts animals: the thin and the small weigh as much as the large.
    """
    if not len(logits):
        return logits.sum()
    said = logits.softmax(dim=1)[:, 1].flatten(1)
    true = (masks >= 0.5).to(said).flatten(1)
    return (1 - (2 * (said * true).sum(dim=1) + 1) / (said.sum(dim=1) + true.sum(dim=1) + 1)).mean()


def at_points(
    maps: Float[Tensor, "boxes dim size size"],
    boxes: Float[Tensor, "boxes 4"],
    owner: Int[Tensor, "points"],
    positions: Float[Tensor, "points 2"],
) -> Float[Tensor, "points dim"]:
    """Read per-box maps at image positions, bilinear without corner alignment, as the matching reads them.

    Args:
        maps: one map a box, covering the box from corner to corner.
        boxes: xyxy, image pixels.
        owner: which box each point belongs to.
        positions: image pixels.
    """
    out = maps.new_zeros(len(owner), maps.shape[1])
    corner, size = boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
    for index in range(len(maps)):
        mine = owner == index
        grid = (positions[mine] - corner[index]) / size[index] * 2 - 1
        read = F.grid_sample(maps[index : index + 1], grid[None, None], align_corners=False, padding_mode="border")
        out[mine] = read[0, :, 0].T
    return out


Losses = dict[str, Float[Tensor, ""]]
Targets = Mapping[int, SoftTargets]  # by class
CYCLE_VERTICES = 512


def jittered(boxes: Float[Tensor, "boxes 4"], size: int, rng: torch.Generator) -> Float[Tensor, "boxes 4"]:
    """Boxes as a detector would give them: centre moved by up to 8 %, sides scaled by 0.85 to 1.2, cut to the image."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=4)
    draw = torch.rand(len(boxes), 4, generator=rng).to(boxes.device)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + (draw[:, :2] - 0.5) * 0.16 * sides
    half = sides * (0.85 + 0.35 * draw[:, 2:]) / 2
    return torch.cat([centre - half, centre + half], dim=1).clamp(0, size)


def step_losses(
    network: Dp3dDenseRCNN,
    batch: Batch,
    targets: Targets,
    config: TrainCseConfig,
    rng: torch.Generator,
    *,
    with_boxes: bool = True,
) -> Losses:
    """Every weighted loss of one batch, by name.

    Args:
        targets: soft targets [K, K] of the vertices of each class that is matched, the first one's mesh first.
        with_boxes: whether proposals and boxes are taught in this step.
    """
    losses: Losses = {}
    if batch.crops is not None:
        losses |= crop_losses(network, batch.crops, targets, config, rng)
    if not len(batch.images):
        return losses
    images = network.normalised(batch.images)
    with _mixed(config):
        features = network.backbone(images.contiguous(memory_format=torch.channels_last))
    features = {name: level.float() for name, level in features.items()}
    if with_boxes:
        truth = batch.by_image(batch.boxes), batch.by_image(batch.classes)
        own = network.detection_losses(images, features, *truth)
        losses |= {name: config.box_weight * value for name, value in own.items()}
    if batch.crops is not None:
        return losses
    seen = jittered(batch.boxes, images.shape[-1], rng)
    with _mixed(config):
        outputs = network.dense_maps(network.pooled(features, batch.by_image(seen)))
    said, maps = outputs["coarse_segm"].float(), outputs["embedding"].float()
    masks = roi_align(batch.masks.float()[:, None], list(seen[:, None].unbind()), said.shape[-1], aligned=True)[:, 0]
    losses |= mask_losses(said, masks, None, config)
    boxes = seen[batch.owner]
    inside = ((batch.points >= boxes[:, :2]) & (batch.points < boxes[:, 2:])).all(dim=1)
    drawn = batch.owner[inside], batch.vertices[inside], batch.points[inside]
    return losses | embedding_losses(network, maps, seen, batch.classes, drawn, targets, config, rng)


def crop_losses(
    network: Dp3dDenseRCNN, crops: Batch, targets: Targets, config: TrainCseConfig, rng: torch.Generator
) -> Losses:
    """Losses of the second look at crops: weighted mask, its overlap, embeddings at the drawn points."""
    outputs = _second_look(network, crops.images, config)
    said, maps = outputs["coarse_segm"].float(), outputs["embedding"].float()
    given = crops.masks, present(crops.weights)
    masks, weights = (F.interpolate(one.float()[:, None], said.shape[-2:], mode="area")[:, 0] for one in given)
    drawn = crops.owner, crops.vertices, crops.points
    losses = mask_losses(said, masks, weights, config)
    losses |= embedding_losses(network, maps, crops.boxes, crops.classes, drawn, targets, config, rng)
    if config.mirror_weight:
        pixels = at_points(maps, crops.boxes, crops.owner, crops.points)
        losses["mirror"] = config.mirror_weight * mirror_losses(network, crops, pixels, targets, config)
    return losses


def mirror_losses(
    network: Dp3dDenseRCNN,
    crops: Batch,
    pixels: Float[Tensor, "points dim"],
    targets: Targets,
    config: TrainCseConfig,
) -> Float[Tensor, ""]:
    """The mirror loss over the points of all meshes whose symmetry is known."""
    side = crops.images.shape[-1]
    maps = _second_look(network, crops.images.flip(-1), config)["embedding"]
    places = torch.stack([side - crops.points[:, 0], crops.points[:, 1]], dim=1)
    mirrored, class_of = at_points(maps.float(), crops.boxes, crops.owner, places), crops.classes[crops.owner]
    total = mirrored.sum() * 0
    for class_id, target in targets.items():
        mine = class_of == class_id
        if target.mirror is not None:
            field = network.embedder(target.mesh)()
            own = mirror_loss(pixels[mine], mirrored[mine], field, target.mirror, config.embedding_sigma)
            total = total + own * mine.sum() / max(len(class_of), 1)
    return total


def _second_look(network: Dp3dDenseRCNN, images: Tensor, config: TrainCseConfig) -> Outputs:
    with _mixed(config):
        levels = network.crop_levels(network.normalised(images).contiguous(memory_format=torch.channels_last))
        outputs = network.dense_maps(levels)
    if "embedding" not in outputs:
        raise UsageError("a network of charts has no embeddings to learn", expected="a CSE network")
    return outputs


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
    network: Dp3dDenseRCNN,
    maps: Float[Tensor, "objects dim size size"],
    boxes: Float[Tensor, "objects 4"],
    classes: Int[Tensor, "objects"],
    drawn: tuple[Int[Tensor, "points"], Int[Tensor, "points"], Float[Tensor, "points 2"]],
    targets: Targets,
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
    for class_id, target in targets.items():
        mine, field = class_of == class_id, network.embedder(target.mesh)()
        own = soft_embedding_loss(pixels[mine], field, vertices[mine], target, sigma)
        total = total + own * mine.sum() / max(len(owner), 1)
    losses = {"embedding": config.embedding_weight * total}
    first = next(iter(targets.values()))
    field = network.embedder(first.mesh)()
    if config.pixel_cycle_weight:
        shares = (positions - boxes[owner, :2]) / (boxes[owner, 2:] - boxes[owner, :2]).clamp(min=1e-6)
        cycles = [pixel_cycle_loss(pixels[owner == one], field, shares[owner == one], sigma) for one in owner.unique()]
        losses["pixel_cycle"] = config.pixel_cycle_weight * (torch.stack(cycles).mean() if cycles else pixels.sum())
    others = [name for name in network.spec.mesh_sizes if name != first.mesh]
    if config.shape_cycle_weight and others:
        there = network.embedder(others[int(torch.randint(len(others), (1,), generator=rng))])()
        here = torch.randperm(len(field), generator=rng)[:CYCLE_VERTICES].to(field.device)
        by = torch.randperm(len(there), generator=rng)[:CYCLE_VERTICES].to(field.device)
        distances = first.distances[here][:, here]
        losses["shape_cycle"] = config.shape_cycle_weight * shape_cycle_loss(field[here], there[by], distances, sigma)
    return losses


def _mixed(config: TrainCseConfig) -> torch.autocast:
    return torch.autocast(torch.device(config.device).type, torch.bfloat16, enabled=config.precision == "bfloat16")
