"""Posing: every vertex follows its soft parts' rigid motions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def blend_motions(
    weights: Float[Tensor, "k m"],
    rotations: Float[Tensor, "n m 3 3"],
    translations: Float[Tensor, "n m 3"],
    centres: Float[Tensor, "m 3"],
) -> Float[Tensor, "n k 3 4"]:
    """The affine motion of each vertex, sum_m s_km [R_m | T_m + c_m - R_m c_m].

    A part turns about its centre c_m (ours); with c = 0 this is the plain R_m x + T_m. In memory the vertices come first.
    """
    shift = translations + centres - torch.einsum("nmab,mb->nma", rotations, centres)
    motions = torch.cat([rotations, shift[..., None]], dim=-1)
    n, m = motions.shape[:2]
    blended = weights @ motions.transpose(0, 1).reshape(m, n * 12)
    return blended.reshape(len(weights), n, 3, 4).transpose(0, 1)


def pose(motions: Float[Tensor, "n k 3 4"], vertices: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
    """The posed vertices in the template frame: each vertex moved by its own affine motion."""
    x, y, z = vertices[..., None, 0], vertices[..., None, 1], vertices[..., None, 2]
    return motions[..., 0] * x + motions[..., 1] * y + motions[..., 2] * z + motions[..., 3]
