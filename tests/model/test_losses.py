"""The losses: known answers, laws and gradients."""

import math
from dataclasses import replace

import pytest
import torch

from dp3d_model.losses.terms import (
    canonical_loss,
    entropy_loss,
    noisy_reprojection_loss,
    pseudo_huber,
    reprojection_loss,
    rotated_copies,
)
from dp3d_model.networks.lifter import Lifter
from tests.model.toy import tiny, toy_instances, toy_surface
from tests.references.model import (
    canonical_by_loop,
    entropy_by_loop,
    noisy_reprojection_by_loop,
    pseudo_huber_slow,
    reprojection_by_loop,
)


def data(n=3, k=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    points = 0.1 * torch.randn(2, n, k, 2, generator=generator, dtype=dtype)
    return points[0], points[1], torch.rand(n, k, generator=generator) > 0.4


def test_every_loss_agrees_with_its_loop():
    projected, keypoints, visible = data()
    arrays = [part.numpy() for part in (projected, keypoints, visible)]
    noise = torch.rand(visible.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pairs = [(reprojection_loss(projected, keypoints, visible, 0.01), reprojection_by_loop(*arrays, 0.01))]
    for form in ("clipped", "literal"):
        fast = noisy_reprojection_loss(projected, keypoints, visible, noise, 0.01, form)
        pairs.append((fast, noisy_reprojection_by_loop(*arrays, noise.numpy(), 0.01, form == "literal")))
    found, shape = torch.randn(2, 3, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pairs.append((canonical_loss(found, shape, 0.01), canonical_by_loop(found.numpy(), shape.numpy(), 0.01)))
    weights = torch.softmax(3 * torch.randn(11, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)), 1)
    pairs.append((entropy_loss(weights), entropy_by_loop(weights.numpy())))
    pairs.append((pseudo_huber(found[0, 0], 0.02), pseudo_huber_slow(found[0, 0].numpy(), 0.02)))
    for fast, slow in pairs:
        assert math.isclose(float(fast), slow, rel_tol=1e-10)


def test_nothing_visible_costs_nothing():
    projected, keypoints, visible = data()
    none = torch.zeros_like(visible)
    assert float(reprojection_loss(projected, keypoints, none, 0.01)) == 0.0
    assert float(noisy_reprojection_loss(projected, keypoints, none, torch.ones(visible.shape), 0.01)) == 0.0


def test_losses_do_not_depend_on_order():
    """Laws: neither the order of instances, nor of vertices, nor of parts; nor an image turned with its keypoints."""
    projected, keypoints, visible = data()
    people, points = torch.tensor([2, 0, 1]), torch.randperm(7, generator=torch.Generator().manual_seed(0))
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    shuffled = [part[people][:, points] for part in (projected, keypoints, visible)]
    value = float(reprojection_loss(projected, keypoints, visible, 0.01))
    assert math.isclose(float(reprojection_loss(*shuffled, 0.01)), value, rel_tol=1e-9)
    assert math.isclose(
        float(reprojection_loss(projected @ turn, keypoints @ turn, visible, 0.01)), value, rel_tol=1e-9
    )
    weights = torch.softmax(torch.randn(11, 4, dtype=torch.float64), 1)
    assert math.isclose(float(entropy_loss(weights[:, [2, 0, 3, 1]])), float(entropy_loss(weights)), rel_tol=1e-9)


def test_entropy_is_between_crisp_and_uniform_and_crispness_lowers_it():
    logits = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = [float(entropy_loss(torch.softmax(sharpness * logits, 1))) for sharpness in (0.0, 0.5, 1.0, 4.0, 100.0)]
    assert values == sorted(values, reverse=True)
    assert math.isclose(values[0], math.log(5))
    assert values[-1] < 0.1


def test_below_the_clip_noise_learns_nothing():
    """At and below the floor the loss is flat in the noise; above it the best noise is ten times the residual's h."""
    projected, keypoints, visible = data()
    low = torch.full(visible.shape, 0.05, dtype=torch.float64, requires_grad=True)
    (flat,) = torch.autograd.grad(noisy_reprojection_loss(projected, keypoints, visible, low, 0.01), low)
    assert not flat.any()
    residual = torch.tensor([[[0.3, 0.4]]], dtype=torch.float64)
    best = (10 * pseudo_huber(residual, 0.01)).requires_grad_()
    (at_best,) = torch.autograd.grad(
        noisy_reprojection_loss(residual, 0 * residual, torch.ones(1, 1).bool(), best, 0.01), best
    )
    assert float(at_best.abs().max()) < 1e-12


def test_pseudo_huber_is_quadratic_near_and_linear_far():
    near = pseudo_huber(torch.tensor([[1e-5, 0.0]], dtype=torch.float64), 0.01)
    assert math.isclose(float(near), 1e-10 / 0.02, rel_tol=1e-3)
    far = pseudo_huber(torch.tensor([[3.0, 4.0]], dtype=torch.float64), 0.01)
    assert math.isclose(float(far), 5.0 - 0.01, rel_tol=1e-4)


def test_reprojection_is_the_mean_over_visible_keypoints():
    projected, keypoints, visible = data()
    values = [float(pseudo_huber(projected[i, k] - keypoints[i, k], 0.01)) for i, k in visible.nonzero().tolist()]
    assert math.isclose(float(reprojection_loss(projected, keypoints, visible, 0.01)), sum(values) / len(values))
    spoiled = torch.where(visible[..., None], keypoints, 1e3)
    assert torch.equal(
        reprojection_loss(projected, spoiled, visible, 0.01), reprojection_loss(projected, keypoints, visible, 0.01)
    )


def test_entropy_of_crisp_and_uniform_parts():
    assert float(entropy_loss(torch.eye(5))) == 0.0
    assert math.isclose(float(entropy_loss(torch.full((6, 8), 1 / 8))), math.log(8), rel_tol=1e-6)


def test_the_canonical_loss_ignores_where_the_answer_stands():
    shape = torch.randn(2, 9, 3)
    shape = shape - shape.mean(1, keepdim=True)
    assert float(canonical_loss(shape + 5.0, shape, 0.01)) < 1e-6


def test_rotated_copies_are_rotations_of_centred_shapes():
    posed = torch.randn(3, 9, 3) + 2.0
    shape, turned = rotated_copies(posed, 4, "uniform", torch.Generator().manual_seed(0))
    assert shape.shape == (12, 9, 3)
    assert torch.allclose(shape.mean(1), torch.zeros(12, 3), atol=1e-5)
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(shape, shape), atol=2e-3)
    assert not torch.allclose(turned[0], turned[3], atol=0.1)


def test_noise_clipped_in_both_places_stays_bounded_where_the_literal_formula_falls():
    projected, keypoints, visible = data()
    tiny = torch.full(visible.shape, 1e-9, dtype=torch.float64)
    floor = torch.full(visible.shape, 0.1, dtype=torch.float64)
    clipped = [noisy_reprojection_loss(projected, keypoints, visible, b, 0.01) for b in (tiny, floor)]
    assert torch.equal(*clipped)
    literal = [noisy_reprojection_loss(projected, keypoints, visible, b, 0.01, "literal") for b in (tiny, floor)]
    assert literal[0] < literal[1] - 0.1
    assert torch.equal(literal[1], clipped[1])


def test_at_the_floor_the_noisy_loss_has_the_plain_gradient():
    projected, keypoints, visible = data()
    projected.requires_grad_()
    floor = torch.full(visible.shape, 0.05, dtype=torch.float64)
    noisy = torch.autograd.grad(noisy_reprojection_loss(projected, keypoints, visible, floor, 0.01), projected)[0]
    plain = torch.autograd.grad(reprojection_loss(projected, keypoints, visible, 0.01), projected)[0]
    assert torch.allclose(noisy, plain)


@pytest.mark.parametrize("form", ["clipped", "literal"])
def test_gradients(form):
    projected, keypoints, visible = data()
    noise = 0.2 + torch.rand(visible.shape, dtype=torch.float64)
    check = torch.autograd.gradcheck
    assert check(lambda p: reprojection_loss(p, keypoints, visible, 0.01), projected.requires_grad_())
    assert check(
        lambda p, b: noisy_reprojection_loss(p, keypoints, visible, b, 0.01, form), (projected, noise.requires_grad_())
    )
    shape = torch.randn(2, 5, 3, dtype=torch.float64)
    assert check(lambda f: canonical_loss(f, shape, 0.01), torch.randn(2, 5, 3, dtype=torch.float64).requires_grad_())
    assert check(lambda c: entropy_loss(torch.softmax(c, 1)), torch.randn(4, 3, dtype=torch.float64).requires_grad_())


def test_the_predicted_noise_is_positive_and_reads_vertex_and_motion():
    surface = toy_surface()
    lifter, generator = Lifter(surface, tiny({"model.noise": "clipped"})), torch.Generator().manual_seed(0)
    inputs = lifter.normalise(toy_instances(surface, 2))
    lifted = lifter.decode(torch.randn(2, lifter.size, generator=generator), inputs)
    noise = lifter.predicted_noise(lifted)
    assert noise.shape == (2, 162)
    assert (noise > 0).all()
    assert noise.std(0).min() > 0 and noise.std(1).min() > 0
    some = torch.tensor([3, 40])
    assert torch.allclose(lifter.predicted_noise(replace(lifted, shape=lifted.shape.at(some)), some), noise[:, some])
