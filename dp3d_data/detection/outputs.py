"""What the dense head says about each box: maps [boxes, channels, S, S] that cover the box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float

Maps = Float[torch.Tensor, "boxes channels side side"]


@dataclass
class EmbeddingOutputs:
    """CSE: scores of background and object, and the embedding of each pixel (not of unit norm)."""

    coarse_segm: Maps
    embedding: Maps


@dataclass
class ChartOutputs:
    """Charts: coarse and fine segmentation scores, u and v of every chart, and the confidences that the model has.

    Attributes:
        sigma_2, kappa_u, kappa_v: before the softplus that makes variances of them.
        fine_segm_confidence, coarse_segm_confidence: positive; the segmentations are multiplied by them already.
    """

    coarse_segm: Maps
    fine_segm: Maps
    u: Maps
    v: Maps
    sigma_2: Maps | None = None
    kappa_u: Maps | None = None
    kappa_v: Maps | None = None
    fine_segm_confidence: Maps | None = None
    coarse_segm_confidence: Maps | None = None


Outputs = EmbeddingOutputs | ChartOutputs
