"""Rotations of the camera, its closed form for the rigid template, and the rotation nearest to a matrix."""

from __future__ import annotations

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

COARSE_STEPS, FINE_STEPS = 4, 2
# The coarse root may lie this much below the true one; Laguerre's method is safe from above.
COARSE_ERROR = 3e-4
# Matrices at a time: what stays in a processor's cache, and what keeps a GPU busy.
CHUNK, BUSY = 1 << 15, 1 << 22


def nearest_rotation(matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation R that maximises trace(R^T F) for each F, which is U diag(1, 1, det(U V^T)) V^T of F's SVD.

    With signed singular values s1 >= s2 >= |s3| (s3 has the sign of det F) and their invariants i1, i2, i3, the
    Cayley-Hamilton theorem gives, without any decomposition (ours),

        R = ((i1^2 - i2) F + i1 cof F - F F^T F) / (i1 i2 - i3),

    where i1 is the largest root of ((l^2 - |F|^2) / 2)^2 - 2 l det F - |cof F|^2, found by Laguerre's method from above
    (cubic, and safe because every root is real): in float32 first, then in float64, Newton's method last.
    The answer is not unique where s2 + s3 = 0; there any finite rotation-like matrix may come back. No gradient flows.
    """
    flat = matrices.detach().reshape(-1, 9)
    fitted = torch.empty_like(flat)
    most = CHUNK if flat.device.type == "cpu" else BUSY
    for rows, into in zip(flat.split(most), fitted.split(most), strict=True):
        into.copy_(fit_entries(rows.T.unflatten(0, (3, 3))).flatten(0, 1).T)
    return fitted.reshape(matrices.shape)


def fit_entries(entries: Float[Tensor, "3 3 *batch"]) -> Float[Tensor, "3 3 *batch"]:
    """nearest_rotation of matrices whose entries come first, in float64; few enough to stay in the cache."""
    f = torch.empty(3, 3, entries[0, 0].numel(), dtype=torch.float64, device=entries.device)
    f.view(entries.shape).copy_(entries)
    x, y, z = f
    gram = [_dot(a, b) for a, b in ((x, x), (y, y), (z, z), (x, y), (y, z), (z, x))]
    inverse = (gram[0] + gram[1]).add_(gram[2]).clamp_min_(1e-60).reciprocal_()
    f.mul_(inverse.sqrt())
    xx, yy, zz, xy, yz, zx = (product.mul_(inverse) for product in gram)
    answer = _cofactors(f)
    det, area = _dot(x, answer[0]), (xx * yy).addcmul_(yy, zz).addcmul_(zz, xx)
    for product in (xy, yz, zx):
        area.addcmul_(product, product, value=-1.0)
    i1 = _largest_root(det, area.clamp_min_(0.0))
    square = i1 * i1
    i2 = (square - 1.0).mul_(0.5)
    square.sub_(i2)
    answer.mul_(i1)
    for row, terms in zip(
        answer, ((xx.sub_(square), xy, zx), (xy, yy.sub_(square), yz), (zx, yz, zz.sub_(square))), strict=True
    ):
        for term, of in zip(terms, (x, y, z), strict=True):
            row.addcmul_(term, of, value=-1.0)
    return answer.mul_(i2.mul_(i1).sub_(det).clamp_min_(1e-12).reciprocal_()).view(entries.shape)


def _dot(a: Float[Tensor, "3 batch"], b: Float[Tensor, "3 batch"]) -> Float[Tensor, "batch"]:
    first, second, third = (a * b).unbind()
    return first.add_(second).add_(third)


def _cofactors(f: Float[Tensor, "3 3 batch"]) -> Float[Tensor, "3 3 batch"]:
    """Rows of cof F: cross products of F's rows."""
    cof = torch.empty_like(f)
    entries = [row.unbind() for row in f]
    for i, row in enumerate(cof):
        a, b = entries[i - 2], entries[i - 1]
        for j, into in enumerate(row):
            torch.mul(a[j - 2], b[j - 1], out=into).addcmul_(a[j - 1], b[j - 2], value=-1.0)
    return cof


def _largest_root(det: Float[Tensor, "batch"], area: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """The sum of signed singular values of matrices of unit norm; the start is an upper bound, exact where det = 0."""
    d, a = det.float(), area.float()
    root = (a + d.clamp_min(0.0).mul_(2.0 * 3.0**0.5)).sqrt_().mul_(2.0).add_(1.0).sqrt_()
    for _ in range(COARSE_STEPS):
        root = _laguerre(root, d, a, smallest=1e-3)
    root = root.double().add_(COARSE_ERROR)
    for _ in range(FINE_STEPS):
        root = _laguerre(root, det, area, smallest=1e-14)
    value, slope, _ = _quartic(root, det, area)
    return root.addcdiv_(value, slope.clamp_min_(1e-14), value=-0.5)


def _laguerre(root: Tensor, det: Tensor, area: Tensor, smallest: float) -> Float[Tensor, "batch"]:
    """One step: root - 4 p / (p' + sqrt(9 p'^2 - 12 p p''))."""
    value, slope, square = _quartic(root, det, area)
    curve = square.mul_(3.0).sub_(1.0).mul_(value)
    spread = (slope * slope).mul_(3.0).sub_(curve).clamp_min_(0.0).mul_(12.0).sqrt_()
    return root.addcdiv(value, spread.add_(slope, alpha=2.0).clamp_min_(smallest), value=-4.0)


def _quartic(root: Tensor, det: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Its value, half of its slope, and root^2."""
    square = root * root
    i2 = (square - 1.0).mul_(0.5)
    value = (i2 * i2).sub_(area).addcmul_(root, det, value=-2.0)
    return value, i2.mul_(root).sub_(det), square


def rotation_from_6d(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations from six unconstrained numbers, by Gram-Schmidt on two rows; zeros give the identity (ours)."""
    a = six[..., :3] + six.new_tensor([1.0, 0.0, 0.0])
    b = six[..., 3:] + six.new_tensor([0.0, 1.0, 0.0])
    first = torch.nn.functional.normalize(a, dim=-1)
    second = torch.nn.functional.normalize(b - (first * b).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def random_rotations(count: int, law: str, generator: torch.Generator) -> Float[Tensor, "n 3 3"]:
    """Random rotations: "uniform-angle" (C3DPO: axis uniform, angle uniform in 0..pi) or "uniform" over all."""
    if law == "uniform":
        q = torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=-1)
        return roma.unitquat_to_rotmat(q.roll(-1, dims=1))  # drawn w first
    axis = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return rotation_from_log(axis * torch.rand(count, 1, generator=generator) * torch.pi)


def rotation_size(form: str) -> int:
    """How many numbers a rotation takes in a form."""
    return {"6d": 6, "log": 3}[form]


def rotation_from(numbers: Float[Tensor, "*batch d"], form: str) -> Float[Tensor, "*batch 3 3"]:
    """Rotations from numbers: "6d" (rotation_from_6d) or "log" (C3DPO: axis times angle); zeros give the identity."""
    return rotation_from_6d(numbers) if form == "6d" else rotation_from_log(numbers)


def rotation_from_log(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations about the vectors by their length in radians."""
    return roma.rotvec_to_rotmat(vector)


def refine_rotation(
    rotation: Float[Tensor, "n 3 3"],
    posed: Float[Tensor, "n k 3"],
    keypoints: Float[Tensor, "n k 2"],
    visible: Bool[Tensor, "n k"],
    steps: int,
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n"]]:
    """Cameras moved by Gauss-Newton steps to where the posed bodies fit their keypoints best (ours); no gradient flows.

    Each step solves for a turn about the camera's axes and a scale, the translation solved along: with P = R X centred
    on the visible vertices, the x, y of P move by (w_y z - w_z y, w_z x - w_x z) + s (x, y).

    Returns:
        The rotations and the factors of the scales.
    """
    share = visible.to(posed.dtype) / visible.sum(1, keepdim=True).clamp_min(1)
    with torch.no_grad():
        scale = torch.ones_like(posed[:, 0, 0])
        target = keypoints - (share[:, None] @ keypoints)
        for _ in range(steps):
            placed = scale[:, None, None] * posed @ rotation.transpose(1, 2)
            placed = placed - share[:, None] @ placed
            x, y, z = placed.unbind(2)
            o = torch.zeros_like(x)
            rows = torch.stack([torch.stack([o, z, -y, x], -1), torch.stack([-z, o, x, y], -1)], 2)
            weighted = (rows * share[..., None, None]).flatten(1, 2)
            gram = weighted.transpose(1, 2) @ rows.flatten(1, 2)
            gram = gram + 1e-4 * torch.eye(4).to(gram)
            right = weighted.transpose(1, 2) @ (target - placed[..., :2]).flatten(1)[..., None]
            step = torch.linalg.solve(gram, right)[..., 0].clamp(-0.5, 0.5)
            rotation = rotation_from_log(step[:, :3]) @ rotation
            scale = scale * (1.0 + step[:, 3])
        return rotation, scale
