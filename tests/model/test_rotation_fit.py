"""The closed-form rotation against the SVD."""

import numpy as np
import pytest
import torch

from dp3d_model.geometry.camera import nearest_rotation
from tests.references.model import rotation_by_svd


def matrices(kind, count=300):
    rng = np.random.default_rng(3)
    f = rng.normal(size=(count, 3, 3))
    if kind == "flat":
        f[:, :, 2] *= 1e-4
    if kind == "reflected":
        f = np.array([rotation_by_svd(m) @ np.diag([3.0, 2.0, -1.0]) @ rotation_by_svd(m[::-1]) for m in f])
    if kind == "large":
        f *= 1e6
    if kind == "small":
        f *= 1e-6
    if kind == "rank two":
        f[:, :, 0] = 0.0
    return f


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["random", "flat", "reflected", "large", "small", "rank two"])
def test_agrees_with_the_svd(kind, dtype):
    """To 1e-5 wherever the answer is unique, reflections included."""
    f = torch.tensor(matrices(kind), dtype=dtype)
    expected = np.array([rotation_by_svd(m) for m in f.numpy()])
    singular = np.linalg.svd(f.double().numpy(), compute_uv=False)
    gap = (singular[:, 1] + np.sign(np.linalg.det(f.double().numpy())) * singular[:, 2]) / singular[:, 0]
    unique = gap > 1e-3
    assert unique.mean() > 0.95
    assert np.abs(nearest_rotation(f).double().numpy() - expected)[unique].max() < 1e-5


def test_rotations_come_back_and_scale_does_not_matter():
    f = torch.tensor(np.array([rotation_by_svd(m) for m in matrices("random")]), dtype=torch.float64)
    assert torch.allclose(nearest_rotation(f), f, atol=1e-9)
    assert torch.allclose(nearest_rotation(7.0 * f), f, atol=1e-9)


def test_turning_the_input_turns_the_answer():
    """A law: R(A F B) = A R(F) B for rotations A, B."""
    f = torch.tensor(matrices("random", 100))
    a = torch.tensor(np.array([rotation_by_svd(m.T) for m in matrices("random", 100)]))
    assert torch.allclose(nearest_rotation(a @ f @ a), a @ nearest_rotation(f) @ a, atol=1e-6)


def test_any_batch_shape():
    f = torch.tensor(matrices("random", 60)).reshape(3, 4, 5, 3, 3)
    assert torch.equal(nearest_rotation(f).reshape(-1, 3, 3), nearest_rotation(f.reshape(-1, 3, 3)))
    assert nearest_rotation(f[:0]).shape == (0, 4, 5, 3, 3)


def test_zero_matrices_stay_finite():
    assert nearest_rotation(torch.zeros(4, 3, 3)).isfinite().all()
