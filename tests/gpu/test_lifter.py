"""The lifter on another device: it trains, goes on, lifts, optimises and is measured as on the CPU."""

import dataclasses

import numpy as np
import pytest
import torch

from dp3d_data.config import changed
from dp3d_data.run_lengths import encode_pixels
from dp3d_model.config import preset
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
SMALL = {
    "model.width": 32,
    "model.bottleneck": 16,
    "model.blocks": 2,
    "model.basis": 12,
    "optim.batch": 16,
    "model.input_cells": 24,
}
SETTINGS = {
    "every loss": {
        "model.noise": "clipped",
        "loss.back_face": 0.1,
        "loss.silhouette": 0.1,
        "loss.cycle": 0.3,
        "loss.shape": 0.1,
    },
    "augmented": {
        "data": {"keypoint_dropout": 0.5, "keypoint_jitter": 0.02, "warp": 0.02, "rotation": 30.0, "mirror": True}
    },
    "attention": {"model.encoder": "attention", "model.norm": "layer", "model.passes": 2},
    "model.rotations": {
        "loss.arap_rotations": "blended",
        "model.rotations": "log",
        "model.camera_steps": 2,
        "model.scale": "solved",
    },
    "tree of parts": {
        "model.pivot": "joint",
        "model.prior_directions": 4,
        "optim.micro_batch": 5,
        "loss.drawn_rings": 0,
    },
    "perspective": {"model.projection": "perspective", "data.rotation": 30.0, "model.keypoint_weights": True},
    "truth": {"loss.truth": 1.0, "model.camera": "learned", "model.scale": "learned", "optim.optimiser": "sgd"},
    "mixed": {"optim.precision": "bfloat16"},
    "scaled": {"optim.precision": "float16"},
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
        trainer = Trainer(
            SURFACE, source_of(world(), truth=True), changed(config, {"optim.steps": 3}), folder, device=device
        )
        trainer.resume()
        while trainer.state.step < stop:
            steps.append(trainer.train_step(next(trainer.loader.from_step(trainer.state.step))))
        trainer.save_state()
    trainer.run()
    return steps


@ELSEWHERE
@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_training_gives_the_losses_of_the_cpu(device, changes, tmp_path):
    if device == "pretend" and changes.get("optim.precision") == "float16":
        pytest.skip("the pretended device knows no loss scaling")
    config = tiny(changes)
    expected, found = losses_of(config, tmp_path / "cpu", "cpu"), losses_of(config, tmp_path / "there", device)
    near = 1e-4 if config.optim.precision == "float32" else 3e-2
    for one, other in zip(expected, found, strict=True):
        assert one == pytest.approx(other, rel=near, abs=near)


@ELSEWHERE
@pytest.mark.parametrize("name", ["best", "photographs", "stanford-dogs", "fit", "c3dpo"])
def test_presets_train(device, name, tmp_path):
    short = {"optim.steps": 2, "optim.epochs": 0} if preset(name).model.network else {}
    config = preset(name, SMALL | short)
    lifter = Trainer(SURFACE, source_of(world(), truth=True), config, tmp_path, device=device).run()
    assert lifter.functions.device.type == "cpu" and load_model(tmp_path).functions.device.type == "cpu"


def lifter_on(device, *changes):
    """A model whose answers are not all alike, with a prior."""
    torch.manual_seed(0)
    lifter = Lifter(SURFACE, tiny({"model.prior_directions": 4, "model.noise": "clipped"}, *changes))
    with torch.no_grad():
        for trunk in lifter.trunks:
            trunk.head.weight.normal_(std=0.02)
        instances = world()
        learn_prior(lifter, lifter.numbers(lifter.eval().normalise(instances)))
    return lifter.to(device)


@ELSEWHERE
@pytest.mark.parametrize(
    "changes",
    [{}, {"model.projection": "perspective"}, {"model.keypoint_weights": True, "loss.drawn_rings": 0}],
    ids=str,
)
def test_optimised_predictions_are_those_of_the_cpu(device, changes):
    settings = dataclasses.asdict(preset("photographs").refine)
    settings = {f"refine.{name}": value for name, value in settings.items()} | {"refine.steps": 5} | changes
    [expected], [found] = (list(predict(lifter_on(where, settings), world())) for where in ("cpu", device))
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
    lifter = lifter_on(device, {"model.encoder": encoder}).on(toy_surface(subdivisions=3))
    [found] = predict(lifter, toy_instances(toy_surface(subdivisions=3), 4))
    assert np.isfinite(found.vertices).all() and lifter.functions.device.type == torch.device(device).type
