"""The lifter on another device: it trains, goes on, lifts, optimises and is measured as on the CPU."""

import dataclasses

import numpy as np
import pytest
import torch

from dp3d_data.run_lengths import encode_pixels
from dp3d_model.config import TEST_TIME, preset
from dp3d_model.evaluation.evaluator import score_model
from dp3d_model.export.gallery import part_weights
from dp3d_model.lifting.model_file import load_model
from dp3d_model.lifting.prediction import predict
from dp3d_model.lifting.test_time import learn_prior
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.trainer import Trainer
from tests.gpu.devices import ELSEWHERE
from tests.model.toy import source_of, tiny, toy_instances, toy_surface

SURFACE = dataclasses.replace(toy_surface(), symmetry=torch.arange(len(toy_surface().vertices)).flip(0))
SMALL = {"width": 32, "bottleneck": 16, "blocks": 2, "basis": 12, "batch": 16, "input_cells": 24}
SETTINGS = {
    "every loss": {"noise": "clipped", "facing_weight": 0.1, "outline_weight": 0.1, "dream_weight": 0.3, "shape_weight": 0.1},
    "augmented": {"hide": 0.5, "shake": 0.02, "warp": 0.02, "turn": 30.0, "mirror": True},
    "attention": {"encoder": "attention", "norm": "layer", "passes": 2},
    "rotations": {"arap_rotations": "blended", "rotations": "log", "camera_steps": 2, "scale": "solved"},
    "tree of parts": {"pivot": "joint", "prior_directions": 4, "micro_batch": 5, "drawn_rings": 0},
    "perspective": {"projection": "perspective", "turn": 30.0, "keypoint_weights": True},
    "truth": {"truth_weight": 1.0, "camera": "learned", "scale": "learned", "optimiser": "sgd"},
    "mixed": {"precision": "bfloat16"},
    "scaled": {"precision": "float16"},
}


def world(count=40):
    """Instances with everything that can be known of them."""
    plain = toy_instances(SURFACE, count)
    mask = encode_pixels(np.pad(np.ones((120, 90), dtype=bool), 60))
    weights = torch.rand(plain.visible.shape, generator=torch.Generator().manual_seed(1))
    cameras = torch.tensor([800.0, 800.0, 120.0, 100.0]).repeat(count, 1)
    return dataclasses.replace(plain, weights=weights, intrinsics=cameras, masks=(mask, None) * (count // 2))


def losses_of(config, folder, device):
    """The losses of three steps, the last one after a resumption."""
    steps = []
    for stop in (2, 3):
        trainer = Trainer(SURFACE, source_of(world(), truth=True), dataclasses.replace(config, steps=3), folder, device=device)
        trainer.resume()
        while trainer.step < stop:
            steps.append(trainer.train_step(next(trainer.loader.from_step(trainer.step))))
        trainer.save_state()
    trainer.run()
    return steps


@ELSEWHERE
@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_training_gives_the_losses_of_the_cpu(device, changes, tmp_path):
    if device == "pretend" and changes.get("precision") == "float16":
        pytest.skip("the pretended device knows no loss scaling")
    config = tiny(**changes)
    expected, found = losses_of(config, tmp_path / "cpu", "cpu"), losses_of(config, tmp_path / "there", device)
    near = 1e-4 if config.precision == "float32" else 3e-2
    for one, other in zip(expected, found, strict=True):
        assert one == pytest.approx(other, rel=near, abs=near)


@ELSEWHERE
@pytest.mark.parametrize("name", ["best", "photographs", "stanford-dogs", "fit", "c3dpo"])
def test_presets_train(device, name, tmp_path):
    short = {"steps": 2, "epochs": 0} if preset(name).network else {}
    config = preset(name, **SMALL, **short)
    lifter = Trainer(SURFACE, source_of(world(), truth=True), config, tmp_path, device=device).run()
    assert lifter.functions.device.type == "cpu" and load_model(tmp_path).functions.device.type == "cpu"


def lifter_on(device, **changes):
    """A model whose answers are not all alike, with a prior."""
    torch.manual_seed(0)
    lifter = Lifter(SURFACE, tiny(prior_directions=4, noise="clipped", **changes))
    with torch.no_grad():
        for trunk in lifter.trunks:
            trunk.head.weight.normal_(std=0.02)
        instances = world()
        learn_prior(lifter, lifter.numbers(lifter.eval().normalise(instances)))
    return lifter.to(device)


@ELSEWHERE
@pytest.mark.parametrize("changes", [{}, {"projection": "perspective"}, {"keypoint_weights": True, "drawn_rings": 0}], ids=str)
def test_optimised_predictions_are_those_of_the_cpu(device, changes):
    settings = TEST_TIME | {"refine_steps": 5} | changes
    [expected], [found] = (list(predict(lifter_on(where, **settings), world())) for where in ("cpu", device))
    for name, values in expected.arrays().items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=2e-3, atol=2e-3, err_msg=name)


@ELSEWHERE
def test_evaluation_gives_the_scores_of_the_cpu(device):
    here, there = (score_model(lifter_on(where), world(), batch=16) for where in ("cpu", device))
    for name, values in here.given.items():
        torch.testing.assert_close(there.given[name], values, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(part_weights(lifter_on(device)), part_weights(lifter_on("cpu")), atol=1e-5)


@ELSEWHERE
@pytest.mark.parametrize("encoder", ["cells", "attention"])
def test_a_model_moves_to_another_meshing(device, encoder):
    lifter = lifter_on(device, encoder=encoder).on(toy_surface(subdivisions=3))
    [found] = predict(lifter, toy_instances(toy_surface(subdivisions=3), 4))
    assert np.isfinite(found.vertices).all() and lifter.functions.device.type == torch.device(device).type
