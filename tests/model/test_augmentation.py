"""What the network is shown: laws of mirrors, turns, noise and hidden keypoints."""

import torch

from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.augmentation import angles, half, hide_at_random, mirrored, shake, turned, warp
from tests.model.toy import tiny, toy_instances, toy_surface


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_hidden_vertices():
    visible = torch.rand(50, 200, generator=generator()) > 0.5
    hidden = hide_at_random(visible, 0.8, generator())
    assert not (hidden & ~visible).any()
    share = hidden.sum(1) / visible.sum(1)
    assert share.min() > 0.1
    assert abs(float(share.mean()) - 0.6) < 0.1
    few = torch.zeros(1, 200, dtype=torch.bool)
    few[0, :4] = True
    assert hide_at_random(few, 1.0, generator()).sum() == 4


def test_mirrors_are_the_views_of_mirrored_bodies_and_undo_themselves():
    symmetry = torch.tensor([1, 0, 2])
    body = torch.tensor([[0.1, 1.0, 0.3], [0.4, -1.0, 0.2], [0.7, 0.0, 0.5]])
    keypoints, visible = body[None, :, :2].repeat(64, 1, 1), torch.tensor([True, False, True]).repeat(64, 1)
    once, shown = mirrored(keypoints, visible, symmetry, half(64, generator(3)))
    there = (body * torch.tensor([-1.0, 1.0, 1.0]))[symmetry, :2]
    changed = (once - there).abs().amax((1, 2)) == 0
    assert 16 < int(changed.sum()) < 48
    assert torch.equal(once[~changed], keypoints[~changed]) and torch.equal(shown[~changed], visible[~changed])
    assert torch.equal(shown[changed], visible[changed][:, symmetry])
    twice, back = mirrored(once, shown, symmetry, half(64, generator(3)))
    assert torch.equal(twice, keypoints) and torch.equal(back, visible)


def test_a_turn_keeps_distances_and_is_not_seen_in_residuals():
    world = toy_instances(toy_surface(), 6)
    around = turned(world.keypoints, angles(6, 180.0, generator()))
    for step in (1, 40):
        sides = [(points - points.roll(step, 1)).norm(dim=2) for points in (world.keypoints, around)]
        assert torch.allclose(*sides, atol=1e-3)
    assert not torch.allclose(around, world.keypoints, atol=1.0)
    lifter = Lifter(toy_surface(), tiny())
    inputs = [lifter.encoder(lifter.observe(points, world.visible)) for points in (world.keypoints, around)]
    assert torch.allclose(*inputs, atol=2e-3)


def test_noise_is_as_large_as_the_box_says():
    keypoints, visible = 100.0 * torch.rand(400, 300, 2, generator=generator()), torch.ones(400, 300, dtype=torch.bool)
    spread = (shake(keypoints, visible, 0.04, generator(1)) - keypoints).std((1, 2))
    assert spread.max() < 4.4
    assert abs(float(spread.mean()) - 2.0) < 0.15


def test_the_box_is_that_of_visible_keypoints():
    keypoints, visible = torch.rand(50, 100, 2, generator=generator()), torch.ones(50, 100, dtype=torch.bool)
    keypoints[:, 0], visible[:, 0] = 1e6, False
    assert (shake(keypoints, visible, 0.01, generator(1)) - keypoints)[:, 1:].abs().max() < 0.1


def test_other_keypoints_come_in_the_units_of_what_is_shown():
    world, lifter = toy_instances(toy_surface(), 6), Lifter(toy_surface(), tiny())
    seen = lifter.observe(world.keypoints, world.visible)
    same = seen.with_keypoints(world.keypoints, world.visible)
    assert torch.allclose(same.keypoints, seen.keypoints, atol=1e-5) and torch.equal(same.visible, seen.visible)
    half = world.visible & (torch.arange(162) % 2 == 0)
    shown = lifter.observe(world.keypoints, half)
    whole = shown.with_keypoints(world.keypoints, world.visible)
    assert torch.allclose(whole.keypoints[half], shown.keypoints[half], atol=1e-5)


def test_vertices_turn_and_flip_as_their_keypoints_do():
    body, angle, chosen = torch.rand(8, 3, 3), angles(8, 180.0, generator()), half(8, generator(3))
    symmetry, visible = torch.tensor([1, 0, 2]), torch.ones(8, 3, dtype=torch.bool)
    around = turned(body, angle)
    assert torch.equal(around[..., :2], turned(body[..., :2], angle)) and torch.equal(around[..., 2], body[..., 2])
    whole, flat = (mirrored(points, visible, symmetry, chosen)[0] for points in (body, body[..., :2]))
    assert torch.equal(whole[..., :2], flat) and torch.equal(whole[chosen][..., 2], body[chosen][:, symmetry, 2])


def test_a_warp_is_smooth_and_as_large_as_the_box_says():
    surface = toy_surface(subdivisions=3)
    keypoints, visible = 100.0 * torch.rand(200, len(surface.vertices), 2, generator=generator()), torch.ones(200, len(surface.vertices))
    moved = warp(keypoints, visible.bool(), 0.1, surface.functions, generator(1)) - keypoints
    assert 3.0 < float(moved.std((1, 2)).mean()) < 7.0  # half of 0.1 of a box of 100, in the mean
    a, b = surface.faces.long()[:, 0], surface.faces.long()[:, 1]
    near, far = (moved[:, a] - moved[:, b]).norm(dim=2), (moved[:, a] - moved[:, b.flip(0)]).norm(dim=2)
    assert near.mean() < 0.3 * far.mean()
