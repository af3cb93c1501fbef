"""Metrics on known answers and against their slow twins."""

import numpy as np
import torch

from dp3d_model.evaluation.evaluator import (
    align_translation,
    flip_depth,
    position_error,
    replace_visible,
    similarity_error,
    stress,
)
from dp3d_model.geometry.camera import random_rotations
from tests.references.model import similarity_error_by_svd, stress_by_loop


def shapes(n=4, k=11):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, k, 3, generator=generator), torch.randn(n, k, 3, generator=generator)


def test_a_shift_is_its_length():
    x, _ = shapes()
    assert torch.allclose(position_error(x + torch.tensor([3.0, 4.0, 0.0]), x), torch.full((4,), 5.0))


def test_depth_and_image_translation_drop_out():
    x, _ = shapes()
    visible = torch.rand(4, 11) > 0.5
    visible[:, 0] = True
    moved = align_translation(x + torch.tensor([1.0, -2.0, 30.0]), visible)
    assert torch.allclose(moved, align_translation(x, visible), atol=1e-4)


def test_similarity_error_ignores_similarities_but_not_mirrors():
    x, y = shapes()
    turn = random_rotations(4, "uniform", torch.Generator().manual_seed(2))
    assert similarity_error(0.3 * x @ turn.transpose(1, 2) + 5.0, x).max() < 1e-5
    assert similarity_error(flip_depth(x), x).min() > 0.05
    expected = [similarity_error_by_svd(a.double().numpy(), b.double().numpy()) for a, b in zip(x, y, strict=True)]
    assert np.allclose(similarity_error(x, y), expected, atol=1e-5)


def test_stress_ignores_rigid_motion_and_mirrors_and_agrees_with_the_loop():
    x, y = shapes()
    assert stress(flip_depth(x) + 1.0, x).max() < 1e-5
    expected = [stress_by_loop(a.numpy(), b.numpy()) for a, b in zip(x, y, strict=True)]
    assert np.allclose(stress(x, y), expected, atol=1e-4)


def test_replacing_visible_positions_keeps_depth():
    x, y = shapes()
    visible = torch.zeros(4, 11, dtype=torch.bool)
    visible[:, :5] = True
    replaced = replace_visible(x, y[..., :2], visible)
    assert torch.equal(replaced[:, :5, :2], y[:, :5, :2])
    assert torch.equal(replaced[:, 5:], x[:, 5:])
    assert torch.equal(replaced[..., 2], x[..., 2])
