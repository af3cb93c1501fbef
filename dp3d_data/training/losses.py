"""Losses of a CSE head: soft embedding cross-entropy on geodesic targets, and the mask."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int

Tensor = torch.Tensor


def soft_embedding_loss(
    pixels: Float[Tensor, "points dim"],
    vertices: Float[Tensor, "vertices dim"],
    geodesics: Float[Tensor, "points vertices"],
    embedding_sigma: float,
    geodesic_sigma: float,
) -> Float[Tensor, ""]:
    """Cross-entropy between where a pixel's embedding lies and where its vertex lies (Neverova et al., CSE, 2020).

    The prediction is the softmax over vertices of -|e_p - e_v|^2 / embedding_sigma, the target the softmax
    of -d(v_p, v) / geodesic_sigma; the target's own entropy is subtracted, so that a perfect answer scores 0 (ours).

    Args:
        pixels: embeddings predicted at the drawn pixels, not normalised.
        vertices: vertex embeddings, unit norm.
        geodesics: distance on the surface from each pixel's true vertex to every vertex, template units.
    """
    if len(pixels) == 0:
        return pixels.sum() + 0 * vertices.sum()
    squared = (pixels**2).sum(1, keepdim=True) - 2 * pixels @ vertices.T + (vertices**2).sum(1)
    log_prediction = F.log_softmax(-squared / embedding_sigma, dim=1)
    log_target = F.log_softmax(-geodesics / geodesic_sigma, dim=1)
    return (log_target.exp() * (log_target - log_prediction)).sum(1).mean()


def mask_loss(logits: Float[Tensor, "boxes 2 size size"], masks: Float[Tensor, "boxes size size"]) -> Float[Tensor, ""]:
    """Cross-entropy of the coarse segmentation; the target is each cell's share of object pixels, rounded."""
    return F.cross_entropy(logits, (masks >= 0.5).long()) if len(logits) else logits.sum()


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
