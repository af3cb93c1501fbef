"""What the network is shown: laws of mirrors, turns, noise and hidden keypoints."""

from dataclasses import replace

import torch

from dp3d_data.shards.batch import KeypointBatch
from dp3d_model.geometry.perspective import in_units_of
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.augmentation import hide_at_random, mirrored, shake, turned, warp
from tests.model.toy import tiny, toy_instances, toy_surface


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def half(count):
    return torch.rand(count, generator=generator(3)) < 0.5


def angles(count):
    return torch.pi * (2.0 * torch.rand(count, generator=generator()) - 1.0)


def test_hidden_vertices():
    visible = torch.rand(50, 200, generator=generator()) > 0.5
    keypoints = torch.zeros(50, 200, 2)
    hidden = hide_at_random(KeypointBatch(keypoints, visible), 0.8, generator()).visible
    assert not (hidden & ~visible).any()
    share = hidden.sum(1) / visible.sum(1)
    assert share.min() > 0.1
    assert abs(float(share.mean()) - 0.6) < 0.1
    few = torch.zeros(1, 200, dtype=torch.bool)
    few[0, :4] = True
    assert hide_at_random(KeypointBatch(keypoints[:1], few), 1.0, generator()).visible.sum() == 4


def test_mirrors_are_the_views_of_mirrored_bodies_and_undo_themselves():
    symmetry = torch.tensor([1, 0, 2])
    body = torch.tensor([[0.1, 1.0, 0.3], [0.4, -1.0, 0.2], [0.7, 0.0, 0.5]])
    keypoints, visible = body[None, :, :2].repeat(64, 1, 1), torch.tensor([True, False, True]).repeat(64, 1)
    batch = mirrored(KeypointBatch(keypoints, visible), symmetry, half(64))
    once, shown = batch.keypoints, batch.visible
    there = (body * torch.tensor([-1.0, 1.0, 1.0]))[symmetry, :2]
    changed = (once - there).abs().amax((1, 2)) == 0
    assert 16 < int(changed.sum()) < 48
    assert torch.equal(once[~changed], keypoints[~changed]) and torch.equal(shown[~changed], visible[~changed])
    assert torch.equal(shown[changed], visible[changed][:, symmetry])
    twice = mirrored(batch, symmetry, half(64))
    assert torch.equal(twice.keypoints, keypoints) and torch.equal(twice.visible, visible)


def test_a_turn_keeps_distances_and_is_not_seen_in_residuals():
    world = toy_instances(toy_surface(), 6)
    around = turned(world, angles(6))
    for step in (1, 40):
        sides = [(points - points.roll(step, 1)).norm(dim=2) for points in (world.keypoints, around.keypoints)]
        assert torch.allclose(*sides, atol=1e-3)
    assert not torch.allclose(around.keypoints, world.keypoints, atol=1.0)
    lifter = Lifter(toy_surface(), tiny())
    inputs = [lifter.encoder(lifter.normalise(batch)) for batch in (world, around)]
    assert torch.allclose(*inputs, atol=2e-3)


def test_noise_is_as_large_as_the_box_says():
    keypoints, visible = 100.0 * torch.rand(400, 300, 2, generator=generator()), torch.ones(400, 300, dtype=torch.bool)
    spread = (shake(KeypointBatch(keypoints, visible), 0.04, generator(1)).keypoints - keypoints).std((1, 2))
    assert spread.max() < 4.4
    assert abs(float(spread.mean()) - 2.0) < 0.15


def test_the_box_is_that_of_visible_keypoints():
    keypoints, visible = torch.rand(50, 100, 2, generator=generator()), torch.ones(50, 100, dtype=torch.bool)
    keypoints[:, 0], visible[:, 0] = 1e6, False
    shaken = shake(KeypointBatch(keypoints, visible), 0.01, generator(1)).keypoints
    assert (shaken - keypoints)[:, 1:].abs().max() < 0.1


def test_other_keypoints_come_in_the_units_of_what_is_shown():
    world, lifter = toy_instances(toy_surface(), 6), Lifter(toy_surface(), tiny())
    seen = lifter.normalise(world)
    same = in_units_of(seen, world)
    assert torch.allclose(same.keypoints, seen.keypoints, atol=1e-5) and torch.equal(same.visible, seen.visible)
    half = world.visible & (torch.arange(162) % 2 == 0)
    shown = lifter.normalise(replace(world, visible=half))
    whole = in_units_of(shown, world)
    assert torch.allclose(whole.keypoints[half], shown.keypoints[half], atol=1e-5)


def test_vertices_turn_and_flip_as_their_keypoints_do():
    body, angle, chosen = torch.rand(8, 3, 3), angles(8), half(8)
    symmetry, visible = torch.tensor([1, 0, 2]), torch.ones(8, 3, dtype=torch.bool)
    batch = KeypointBatch(body[..., :2], visible, true_vertices=body)
    around, whole = turned(batch, angle), mirrored(batch, symmetry, chosen)
    for changed in (around, whole):
        assert torch.equal(changed.true_vertices[..., :2], changed.keypoints) and not torch.equal(
            changed.keypoints, batch.keypoints
        )
    assert torch.equal(around.true_vertices[..., 2], body[..., 2])
    assert torch.equal(whole.true_vertices[chosen][..., 2], body[chosen][:, symmetry, 2])


def test_a_mirror_takes_weights_and_the_principal_point_along():
    symmetry, chosen = torch.tensor([1, 0, 2]), torch.tensor([True, False])
    weights, intrinsics = torch.tensor([[0.1, 0.2, 0.3]] * 2), torch.tensor([[9.0, 9.0, 5.0, 4.0]] * 2)
    batch = KeypointBatch(torch.rand(2, 3, 2), torch.ones(2, 3, dtype=torch.bool), weights, intrinsics)
    once = mirrored(batch, symmetry, chosen)
    assert torch.equal(once.weights[0], weights[0, symmetry]) and torch.equal(once.weights[1], weights[1])
    assert once.intrinsics[:, 2].tolist() == [-5.0, 5.0] and once.intrinsics[:, 3].tolist() == [4.0, 4.0]


def test_a_warp_is_smooth_and_as_large_as_the_box_says():
    surface = toy_surface(subdivisions=3)
    keypoints, visible = (
        100.0 * torch.rand(200, len(surface.vertices), 2, generator=generator()),
        torch.ones(200, len(surface.vertices)),
    )
    moved = warp(KeypointBatch(keypoints, visible.bool()), 0.1, surface.functions, generator(1)).keypoints - keypoints
    assert 3.0 < float(moved.std((1, 2)).mean()) < 7.0  # half of 0.1 of a box of 100, in the mean
    a, b = surface.faces.long()[:, 0], surface.faces.long()[:, 1]
    near, far = (moved[:, a] - moved[:, b]).norm(dim=2), (moved[:, a] - moved[:, b.flip(0)]).norm(dim=2)
    assert near.mean() < 0.3 * far.mean()


def test_as_few_as_four_keypoints_stay():
    visible = torch.zeros(300, 20, dtype=torch.bool)
    visible[:, :7] = True
    kept = hide_at_random(
        KeypointBatch(torch.zeros(300, 20, 2), visible), 1.0, torch.Generator().manual_seed(0)
    ).visible
    assert set(kept.sum(1).tolist()) == {4, 5, 6, 7} and not (kept & ~visible).any()
