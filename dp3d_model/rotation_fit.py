"""The rotation nearest to each of many 3x3 matrices, in closed form, reflections included."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

LAGUERRE_STEPS = 6
CHUNK = 1 << 13


def nearest_rotation(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation R that maximises trace(R^T F) for each F, which is U diag(1, 1, det(U V^T)) V^T of F's SVD.

    With signed singular values s1 >= s2 >= |s3| (s3 has the sign of det F) and their invariants i1, i2, i3, the
    Cayley-Hamilton theorem gives, without any decomposition (ours),

        R = ((i1^2 - i2) F + i1 cof F - F F^T F) / (i1 i2 - i3),

    where i1 is the largest root of ((l^2 - |F|^2) / 2)^2 - 2 l det F - |cof F|^2, found by Laguerre's method from above
    (cubic, and safe because every root is real).
    The answer is not unique where s2 + s3 = 0; there any finite rotation-like matrix may come back. No gradient flows.
    """
    flat = matrices.detach().reshape(-1, 9)
    rows = [_fit(chunk.to(torch.float64).T).T for chunk in flat.split(CHUNK)]
    fitted = torch.cat(rows) if rows else flat
    return fitted.to(matrices.dtype).reshape(matrices.shape)


def _fit(columns: Float[Tensor, "9 batch"]) -> Float[Tensor, "9 batch"]:
    """The fit of one chunk that stays in the processor's cache, one row per matrix entry."""
    size = columns.norm(dim=0).clamp_min(1e-30)
    f = (columns / size).contiguous()
    cof = _cofactors(f)
    det = f[0] * cof[0] + f[1] * cof[1] + f[2] * cof[2]
    i1 = _largest_root(det, (cof * cof).sum(0))
    i2 = (i1 * i1 - 1.0) / 2.0
    cubic = _times_gram(f)
    denominator = (i1 * i2 - det).clamp_min(1e-12)
    return ((i1 * i1 - i2) * f + i1 * cof - cubic) / denominator


def _largest_root(det: Float[Tensor, "batch"], area: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """The sum of signed singular values of matrices of unit norm; the start is an upper bound, exact where det = 0."""
    root = (1.0 + 2.0 * (area + 2.0 * 3.0**0.5 * det.clamp_min(0.0)).sqrt()).sqrt()
    for _ in range(LAGUERRE_STEPS):
        square = root * root
        i2 = (square - 1.0) / 2.0
        value = i2 * i2 - 2.0 * root * det - area
        slope = 2.0 * (root * i2 - det)
        curve = 3.0 * square - 1.0
        spread = (9.0 * slope * slope - 12.0 * value * curve).clamp_min(0.0).sqrt()
        root = root - 4.0 * value / (slope + spread).clamp_min(1e-14)
    return root


def _cofactors(f: Float[Tensor, "9 batch"]) -> Float[Tensor, "9 batch"]:
    """Rows of cof F: cross products of F's rows."""
    rows = []
    for i in range(3):
        a, b = f[3 * ((i + 1) % 3) :][:3], f[3 * ((i + 2) % 3) :][:3]
        rows += [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    return torch.stack(rows)


def _times_gram(f: Float[Tensor, "9 batch"]) -> Float[Tensor, "9 batch"]:
    """F F^T F, through the symmetric F F^T."""
    row = [f[3 * i : 3 * i + 3] for i in range(3)]
    dot = [[(row[i] * row[j]).sum(0) for j in range(3)] for i in range(3)]
    return torch.cat([dot[i][0] * row[0] + dot[i][1] * row[1] + dot[i][2] * row[2] for i in range(3)])
