"""Losses of a CSE head: soft embedding cross-entropy on geodesic targets, cycles over shapes and pixels, and the
mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

Tensor = torch.Tensor
KERNELS = ("exponential", "gaussian")


@dataclass(frozen=True)
class SoftTargets:
    """What a vertex's embedding should say of every vertex.

    share [P, K]: rows that sum to 1. log_share [P]: sum over k of share * log share, the negative entropy of each row.
    distances [P, K]: on the surface, template units. mirror [K]: the vertex that mirrors each, None where unknown.
    """

    share: Float[Tensor, "rows vertices"]
    log_share: Float[Tensor, "rows"]
    distances: Float[Tensor, "rows vertices"]
    mirror: Int[Tensor, "vertices"] | None = None


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
        pixels: embeddings predicted at the drawn pixels, not normalised.
        vertices: vertex embeddings, unit norm.
        truth: the pixels' true vertices.
        targets: of every vertex.
        sigma: temperature of squared embedding distances.
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
        pixels: embeddings predicted at pixels.
        mirrored: at the same pixels of the mirror image.
        vertices: vertex embeddings, unit norm.
        mirror: the vertex that mirrors each.
        sigma: temperature of squared embedding distances.
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
        sigma: temperature of squared embedding distances.
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
        pixels: embeddings predicted at pixels of one object.
        vertices: vertex embeddings, unit norm.
        positions: of the pixels, as shares of the object's box, so that no object counts for its size (ours).
        sigma: temperature of squared embedding distances.
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
