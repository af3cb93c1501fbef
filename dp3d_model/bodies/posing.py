"""Posing: every vertex follows its soft parts' rigid motions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def motions_about(
    rotations: Float[Tensor, "n m 3 3"], translations: Float[Tensor, "n m 3"], pivots: Float[Tensor, "m 3"]
) -> Float[Tensor, "n m 3 4"]:
    """Rigid motions that turn about a pivot p (ours): [R | T + p - R p]; with p = 0 this is the plain R x + T."""
    shift = translations + pivots - torch.einsum("nmab,mb->nma", rotations, pivots)
    return torch.cat([rotations, shift[..., None]], dim=-1)


def chain(motions: Float[Tensor, "n m 3 4"], parents: tuple[int, ...]) -> Float[Tensor, "n m 3 4"]:
    """Each part's own motion, then its parent's, up to the root, whose parent is -1 (ours); parents may come in any
    order."""
    done: dict[int, Tensor] = {}
    for part in _from_the_root(parents):
        own, parent = motions[:, part], parents[part]
        if parent < 0:
            done[part] = own
            continue
        above = done[parent]
        turn = above[..., :3] @ own
        done[part] = torch.cat([turn[..., :3], turn[..., 3:] + above[..., 3:]], dim=-1)
    return torch.stack([done[part] for part in range(len(parents))], dim=1)


def blend(weights: Float[Tensor, "k m"], motions: Float[Tensor, "n m 3 4"]) -> Float[Tensor, "n k 3 4"]:
    """The affine motion of each vertex, sum_m s_km [R_m | t_m]. In memory the vertices come first."""
    n, m = motions.shape[:2]
    blended = weights @ motions.transpose(0, 1).reshape(m, n * 12)
    return blended.reshape(len(weights), n, 3, 4).transpose(0, 1)


def pose(motions: Float[Tensor, "n k 3 4"], vertices: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
    """The posed vertices in the template frame: each vertex moved by its own affine motion."""
    x, y, z = vertices[..., None, 0], vertices[..., None, 1], vertices[..., None, 2]
    return motions[..., 0] * x + motions[..., 1] * y + motions[..., 2] * z + motions[..., 3]


def _from_the_root(parents: tuple[int, ...]) -> list[int]:
    """Every part after its parent."""
    order = [part for part, parent in enumerate(parents) if parent < 0]
    for part in order:
        order += [child for child, parent in enumerate(parents) if parent == part]
    return order
