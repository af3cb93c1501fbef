"""The cycle: a shape seen as another instance was, and lifted back; and which rotations rigidity is measured with."""

from dataclasses import replace

import pytest
import torch

from dp3d_model.geometry.camera import nearest_rotation
from dp3d_model.losses.arap import arap_loss
from dp3d_model.losses.objective import Objective
from dp3d_model.losses.terms import cycle_loss, other_views
from dp3d_model.networks.lifter import Lifter, solved_log_scale
from tests.model.toy import tiny, toy_instances, toy_surface


def lifted_world(*changes):
    surface, config = toy_surface(), tiny(*changes)
    lifter = Lifter(surface, config)
    with torch.no_grad():
        for trunk in lifter.trunks:
            trunk.head.weight.normal_(0, 0.05)
    world = toy_instances(surface, 12)
    seen = lifter.normalise(world)
    return lifter, lifter(seen), seen


def test_an_other_view_is_each_shape_under_the_camera_and_the_visibility_of_another():
    lifter, lifted, seen = lifted_world()
    turned = other_views(lifter, lifted, seen, torch.Generator().manual_seed(0))
    assert not turned.true_vertices.requires_grad
    partners = []
    for i in range(12):
        views = lifted.posed[i] @ lifted.rotation.transpose(1, 2)
        partners.append(int((views - turned.true_vertices[i]).norm(dim=2).mean(1).argmin()))
        assert torch.allclose(views[partners[-1]], turned.true_vertices[i], atol=1e-5)
        assert torch.equal(turned.visible[i], seen.visible[partners[-1]])
    assert sorted(partners) == list(range(12)) and all(partner != i for i, partner in enumerate(partners))


def test_a_rigid_body_comes_back_unchanged():
    """A known answer: the closed-form camera of the rigid template is exact, so nothing is lost on the way."""
    lifter, lifted, seen = lifted_world({"model.body": "rigid", "model.network": False})
    turned = other_views(lifter, lifted, seen, torch.Generator().manual_seed(1))
    assert float(cycle_loss(lifter, turned, None, 0.01)) < 1e-6


def test_the_loss_looks_at_drawn_vertices_alone():
    lifter, lifted, seen = lifted_world()
    turned = other_views(lifter, lifted, seen, torch.Generator().manual_seed(1))
    lifter.requires_grad_(False)
    every = torch.arange(len(lifter.surface.vertices))
    whole = float(cycle_loss(lifter, turned, None, 0.01))
    assert float(cycle_loss(lifter, turned, every, 0.01)) == pytest.approx(whole, rel=1e-5)
    halves = [float(cycle_loss(lifter, turned, every[i::2], 0.01)) for i in range(2)]
    assert sum(halves) / 2 == pytest.approx(whole, rel=0.3) and whole > 0


def test_the_objective_has_a_cycle_where_its_weight_asks_for_it():
    surface, world = toy_surface(), toy_instances(toy_surface(), 8)
    for weight, expected in ((0.0, False), (0.5, True)):
        objective = Objective(surface, tiny({"loss.cycle": weight}))
        seen = objective.lifter.normalise(world)
        losses = objective(seen, seen, torch.Generator().manual_seed(0))
        assert ("cycle" in losses) is expected


@pytest.mark.parametrize("kind", ["best", "blended"])
def test_edges_are_compared_with_the_rotations_that_are_asked_for(kind):
    objective = Objective(toy_surface(), tiny({"loss.arap_rotations": kind, "loss.drawn_rings": 0}))
    torch.nn.init.normal_(objective.lifter.trunks[0].head.weight, 0, 0.05)
    inputs = objective.lifter.normalise(toy_instances(objective.lifter.surface, 6))
    found, lifted = objective(inputs, inputs, torch.Generator().manual_seed(0))["arap"], objective.lifter(inputs)
    rotations = {"best": None, "blended": nearest_rotation(lifted.shape.motions[..., :3])}
    losses = {
        name: arap_loss(objective.rings, lifted.posed, lifted.shape.rest, objective.config.loss.epsilon, of)
        for name, of in rotations.items()
    }
    assert losses["best"].item() != pytest.approx(losses["blended"].item(), rel=0.01)
    assert found.item() == pytest.approx(losses[kind].item(), rel=1e-5)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.3])
def test_a_body_that_is_too_small_for_its_keypoints_is_enlarged(scale):
    _, lifted, inputs = lifted_world()
    keypoints = scale * (lifted.posed @ lifted.rotation.transpose(1, 2))[..., :2] + 0.2
    found = solved_log_scale(lifted.posed, lifted.rotation, replace(inputs, keypoints=keypoints))
    assert torch.allclose(found.exp(), torch.full((12,), scale), atol=1e-4)
