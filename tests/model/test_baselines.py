"""The models to compare with: rigid template, per-instance fit, linear model and C3DPO, all through the one
interface."""

from functools import reduce
from operator import or_

import pytest
import torch

from dp3d_model.config import preset, preset_values
from dp3d_model.evaluation.evaluator import score_model
from dp3d_model.lifting.model_file import load_model
from dp3d_model.lifting.test_time import drawn_rings, own_reprojection, refined
from dp3d_model.networks.lifter import Lifter, reproject
from dp3d_model.training.trainer import Trainer
from tests.model.toy import TINY, source_of, toy_instances, toy_surface

SMALL = {name: TINY[name] for name in ("model.width", "model.bottleneck", "model.blocks", "model.basis")}


def small(name, *changes):
    return preset(name, reduce(or_, changes, SMALL))


def fit(*changes):
    return small("fit", {"model.parts": 4, "refine.steps": 40}, *changes)


@pytest.mark.parametrize("name", ["rigid", "fit"])
def test_models_without_learning_are_made_by_the_trainer_in_no_step(name, tmp_path):
    surface = toy_surface()
    trainer = Trainer(surface, source_of(toy_instances(surface)), small(name), tmp_path)
    assert trainer.steps == 0
    trainer.run()
    again = load_model(tmp_path)
    assert not len(again.trunks)
    assert trainer.finished()


def test_the_preset_rigid_is_the_template_under_its_closed_form_camera():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.3)
    lifter = Lifter(surface, small("rigid")).eval()
    seen = lifter.normalise(world)
    assert torch.allclose(
        refined(lifter, seen).in_camera(), surface.vertices @ seen.camera.rotation.transpose(1, 2), atol=1e-6
    )


def test_the_fit_explains_more_of_the_keypoints_than_the_rigid_template():
    surface = toy_surface()
    world = toy_instances(surface, 20, bend=0.6)
    lifter = Lifter(surface, fit()).eval()
    seen = lifter.normalise(world)
    start = lifter.decode(lifter.numbers(seen), seen)
    assert torch.allclose(start.posed, surface.vertices.expand(20, -1, -1), atol=1e-6)
    before, after = (own_reprojection(reproject(lifted, seen), seen, 0.01) for lifted in (start, refined(lifter, seen)))
    assert (after < before).all()
    assert after.mean() < 0.7 * before.mean()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"loss.drawn_rings": 30}, {"refine.tie": 0.1}])
def test_no_instance_depends_on_the_others_of_its_batch(changes):
    """A law: alone, in company, or in another order, an instance is refined to the same shape."""
    surface = toy_surface()
    world = toy_instances(surface, 12, bend=0.5)
    world.visible[3, 40:] = False
    lifter = Lifter(surface, fit(changes)).eval()
    together = refined(lifter, lifter.normalise(world)).posed
    for chosen in ([3], [7, 3, 0]):
        some = world.take(chosen)
        alone = refined(lifter, lifter.normalise(some)).posed
        assert torch.allclose(alone, together[chosen], atol=2e-4)


def test_the_rings_of_a_step_are_drawn_by_the_step_alone():
    assert drawn_rings(50, 0, 3) is None
    assert drawn_rings(50, 50, 3) is None
    assert torch.equal(drawn_rings(50, 9, 3), drawn_rings(50, 9, 3))
    assert not torch.equal(drawn_rings(50, 9, 3), drawn_rings(50, 9, 4))


def test_the_numbers_of_c3dpo():
    one = preset("c3dpo")
    own = one.model
    assert (own.body, own.basis_shapes, own.rotations, own.camera, own.network_input) == (
        "basis",
        10,
        "log",
        "learned",
        "keypoints",
    )
    assert (one.optim.optimiser, one.optim.momentum, one.optim.learning_rate, one.optim.batch) == (
        "sgd",
        0.9,
        0.001,
        256,
    )
    assert (one.loss.canonical, one.loss.canonical_copies, one.loss.arap, one.loss.entropy) == (1.0, 4, 0.0, 0.0)
    own, fingerprint = preset_values("c3dpo-adamw"), ("optim.batch", "loss.canonical_copies", "optim.learning_rate")
    paper = preset_values("c3dpo")
    assert {name: paper[name] for name in own if name not in fingerprint} == {
        name: own[name] for name in own if name not in fingerprint
    }
    assert preset("c3dpo-adamw").optim.optimiser == "adamw"


@pytest.mark.slow
def test_c3dpo_learns_a_body_without_a_template(tmp_path):
    """It starts from noise that is no body at all, and comes nearer to the keypoints."""
    surface = toy_surface(subdivisions=1)
    world = toy_instances(surface, 64)
    config = small(
        "c3dpo-adamw", {"optim.steps": 100, "optim.batch": 32, "optim.learning_rate": 0.003, "optim.warmup": 1}
    )
    trainer = Trainer(surface, source_of(world), config, tmp_path)
    seen = trainer.objective.lifter.normalise(world)
    first = trainer.objective(seen, seen, torch.Generator().manual_seed(0))
    losses = []
    trainer.run(lambda step, steps, values: losses.append(values["reprojection"]))
    assert losses[-1] < 0.7 * float(first["reprojection"].detach())
    assert set(first) == {"reprojection", "canonical", "total"}
    assert score_model(load_model(tmp_path), world).means()["given"]["mpjpe"] < 0.5
