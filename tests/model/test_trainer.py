"""Training: it learns, it resumes to the last bit, it stops cleanly."""

import json
import math
import sys
from dataclasses import fields, replace

import pytest
import torch

from dp3d_data.config import changed, from_mapping, read_toml
from dp3d_data.errors import ConfigError, FingerprintMismatch, NothingToDo, TrainingDiverged, UsageError
from dp3d_model.config import EVALUATION_ONLY, RECIPES, LossConfig, TrainConfig, preset, presets
from dp3d_model.evaluation.evaluator import score_model
from dp3d_model.lifting.model_file import load_model
from dp3d_model.losses.objective import Objective
from dp3d_model.training.trainer import STATE_FILE, Trainer, learning_rate
from tests.model.toy import source_of, tiny, toy_instances, toy_surface


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(lifter):
    return torch.cat([value.float().ravel() for value in lifter.state_dict().values()])


@pytest.mark.slow
def test_it_learns(tmp_path):
    config = tiny({"optim.steps": 60, "optim.learning_rate": 3e-3})
    trainer = Trainer(toy_surface(), source_of(toy_instances(toy_surface(), 64, bend=0.4)), config, tmp_path)
    trainer.run()
    losses = [row["reprojection"] for row in rows(tmp_path)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim.optimiser": "sgd", "optim.learning_rate": 1e-3, "data.keypoint_dropout": 0.5, "model.noise": "clipped"},
        {"optim.precision": "bfloat16", "optim.micro_batch": 5},
        {"optim.precision": "float16", "optim.optimiser": "sgd"},
    ],
)
def test_a_killed_run_goes_on_to_the_last_bit(tmp_path, changes):
    surface, config = toy_surface(), tiny(changes)
    world = toy_instances(surface, 40)
    whole = Trainer(surface, source_of(world), config, tmp_path / "whole").run()

    class Killed(Exception):
        pass

    def kill(step, steps, losses):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        Trainer(surface, source_of(world), config, tmp_path / "parts").run(kill)
    again = Trainer(surface, source_of(world), config, tmp_path / "parts")
    assert again.resume()
    assert again.state.step == 3
    torch.rand(7)
    lifter = again.run()
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "parts/metrics.jsonl").read_bytes()
    assert torch.equal(weights_of(whole), weights_of(lifter))


def test_the_model_file_gives_the_trained_model_back(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, source_of(world), tiny(), tmp_path)
    assert not trainer.finished()
    lifter = trainer.run()
    assert trainer.finished()
    loaded = load_model(tmp_path)
    assert torch.equal(weights_of(loaded), weights_of(lifter))
    seen = loaded.normalise(world)
    assert torch.equal(loaded(seen).in_camera(), lifter(seen).in_camera())
    assert from_mapping(TrainConfig, read_toml(tmp_path / "config.toml")) == lifter.config


def test_other_settings_is_refused_unless_asked_for(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    Trainer(surface, source_of(world), tiny(), tmp_path).run()
    changed = Trainer(surface, source_of(world), tiny({"optim.learning_rate": 1e-4, "optim.steps": 8}), tmp_path)
    with pytest.raises(FingerprintMismatch, match="a run of other settings"):
        changed.resume()
    assert changed.resume(other_settings=True)
    assert changed.state.step == 6
    with pytest.raises(FingerprintMismatch):
        Trainer(surface, source_of(world), tiny({"model.parts": 3}), tmp_path).resume(other_settings=True)


def test_divergence_keeps_the_last_good_state(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, source_of(world), tiny(), tmp_path)

    def poison(step, steps, losses):
        if step == 4:
            with torch.no_grad():
                trainer.objective.lifter.trunks[0].head.bias.fill_(torch.nan)

    with pytest.raises(TrainingDiverged, match="no longer finite at step 4"):
        trainer.run(poison)
    assert not (tmp_path / "model.pt").exists()
    good = Trainer(surface, source_of(world), tiny(), tmp_path)
    assert good.resume()
    assert good.state.step == 3
    assert all(value.isfinite().all() for value in good.objective.state_dict().values())
    assert (tmp_path / STATE_FILE).is_file()


def test_an_exploding_loss_stops_the_run(tmp_path):
    """Long before anything becomes infinite."""
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, source_of(world), tiny({"optim.steps": 20}), tmp_path)

    def blow_up(step, steps, losses):
        if step == 12:
            with torch.no_grad():
                trainer.objective.lifter.trunks[0].head.bias.fill_(1e6)

    with pytest.raises(TrainingDiverged, match="the loss exploded at step 12") as caught:
        trainer.run(blow_up)
    assert caught.value.exit_code == 13
    assert "--resume" in str(caught.value)
    good = Trainer(surface, source_of(world), tiny({"optim.steps": 20}), tmp_path)
    assert good.resume()
    assert good.state.step == 12
    assert float(good.objective.lifter.trunks[0].head.bias.detach().abs().max()) < 1.0
    assert 0 < good.state.usual < 1.0


def test_an_explosion_may_be_allowed(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, source_of(world), tiny({"optim.divergence_factor": 0.0}), tmp_path)
    with torch.no_grad():
        trainer.objective.lifter.trunks[0].head.bias.fill_(1e3)
    trainer.run()
    assert trainer.finished()


def test_float16_leaves_out_a_step_whose_gradient_overflows(tmp_path):
    """As loss scaling does it: the scale halves, the weights stay, the run goes on."""
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, source_of(world), tiny({"optim.precision": "float16"}), tmp_path)
    batch = next(iter(trainer.loader))
    trainer.objective.train()
    before = weights_of(trainer.objective.lifter.trunks[0].head)
    trainer.objective.lifter.trunks[0].head.bias.register_hook(lambda gradient: gradient * torch.inf)
    trainer.train_step(batch)
    assert torch.equal(weights_of(trainer.objective.lifter.trunks[0].head), before)
    assert trainer.state.scaler.get_scale() == 0.5 * 65536


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_stays_inside_the_network(tmp_path, precision):
    surface, world = toy_surface(), toy_instances(toy_surface(), 64, bend=0.4)
    config = tiny({"optim.steps": 30, "optim.learning_rate": 3e-3})
    full = Trainer(surface, source_of(world), config, tmp_path / "full")
    low = Trainer(surface, source_of(world), changed(config, {"optim.precision": precision}), tmp_path / "low")
    lifters = [trainer.run() for trainer in (full, low)]
    ends = [rows(tmp_path / name)[-1]["reprojection"] for name in ("full", "low")]
    assert ends[1] == pytest.approx(ends[0], rel=0.2)
    seen = lifters[1].normalise(world)
    assert lifters[1](seen).posed.dtype == torch.float32
    assert torch.equal(load_model(tmp_path / "low")(seen).posed, lifters[1](seen).posed)


EVERY_LOSS = {
    "loss.cycle": 0.0,
    "data.rotation": 90.0,
    "data.keypoint_jitter": 0.05,
    "loss.back_face": 0.5,
    "loss.silhouette": 0.5,
    "loss.shape": 0.1,
    "loss.truth": 0.5,
    "model.noise": "clipped",
    "data.keypoint_dropout": 0.4,
    "loss.canonical_copies": 2,
}

WEIGHTS = {one.name for one in fields(LossConfig) if one.metadata["help"].startswith("Weight of ")}


@pytest.mark.slow
def test_known_shapes_teach_what_keypoints_cannot(tmp_path):
    """Keypoints that are wrong by a fifth of the body, with their truth: the lifted bodies come to the truth, not to
    the keypoints."""
    surface, world = toy_surface(), toy_instances(toy_surface(), 96, bend=0.4)
    noise = (
        0.2
        * world.true_scale[:, None, None]
        * torch.randn(world.keypoints.shape, generator=torch.Generator().manual_seed(1))
    )
    seen = replace(world, keypoints=world.keypoints + noise)
    errors = {}
    for weight in (0.0, 10.0):
        config = tiny({"optim.steps": 80, "optim.learning_rate": 3e-3, "loss.truth": weight, "loss.cycle": 0.0})
        lifter = Trainer(surface, source_of(seen, truth=True), config, tmp_path / str(weight)).run()
        errors[weight] = float(score_model(lifter, seen).given["mpjpe"].mean())
    assert errors[10.0] < 0.8 * errors[0.0]
    assert all(row["reprojection"] == 0 and row["truth"] > 0 for row in rows(tmp_path / "10.0"))


def test_unknown_shapes_among_known_ones_learn_from_their_keypoints(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 40)
    world.true_vertices[::2] = torch.nan
    trainer = Trainer(surface, source_of(world, truth=True), tiny({"loss.truth": 1.0, "data.mirror": False}), tmp_path)
    batch = next(iter(trainer.loader))
    _, known = trainer.augmented(batch, torch.Generator().manual_seed(0))
    unknown = batch.true_vertices.isnan().any(2).any(1)
    assert 0 < unknown.sum() < len(unknown)
    assert torch.equal(known.visible, batch.visible & unknown[:, None])
    losses = trainer.train_step(batch)
    assert losses["reprojection"] > 0 and losses["truth"] > 0 and math.isfinite(losses["total"])


@pytest.mark.parametrize("drawn_rings", [0, 12])
def test_parts_of_a_step_add_up_to_the_step(tmp_path, drawn_rings):
    """A law, where normalisation sees one instance at a time: the same losses and gradients, whatever the parts."""
    surface, world = toy_surface(), toy_instances(toy_surface(), 40)
    world.true_vertices[::3] = torch.nan
    found = []
    for micro_batch in (0, 5, 3):
        own = {
            "model.norm": "layer",
            "optim.micro_batch": micro_batch,
            "loss.drawn_rings": drawn_rings,
            "optim.grad_clip": 0.0,
        }
        config = tiny(own | EVERY_LOSS)
        trainer = Trainer(surface, source_of(world, truth=True), config, tmp_path)
        trainer.objective.train()
        losses = trainer.train_step(next(iter(trainer.loader)))
        found.append((losses, torch.cat([value.grad.ravel() for value in trainer.objective.parameters()])))
    untried = sorted(WEIGHTS - {"cycle"} - found[0][0].keys())
    assert not untried, f"{untried} not tried: add the weight to EVERY_LOSS, and to this world what the loss needs"
    for losses, gradient in found[1:]:
        assert losses == pytest.approx(found[0][0], rel=1e-4)
        assert torch.allclose(gradient, found[0][1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["c3dpo-adamw", "stanford-dogs"])
def test_presets_of_papers_name_every_loss(name):
    """So that a later default changes none of them, nor those that stand on them."""
    missing = sorted(WEIGHTS - read_toml(RECIPES / f"{name}.toml")["loss"].keys())
    assert not missing, f"{missing} not in {name}.toml: name them under [loss], 0.0 where they are not the paper's"


def test_nothing_to_learn_is_done_at_once(tmp_path):
    """Without a network there is no step to make, only a model to write."""
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    for body in ("rigid", "parts"):
        trainer = Trainer(
            surface, source_of(world), tiny({"model.network": False, "model.body": body}), tmp_path / body
        )
        trainer.run()
        assert (trainer.steps, trainer.state.step) == (0, 0)
        assert trainer.finished()
        loaded = load_model(tmp_path / body)
        posed = loaded(loaded.normalise(world)).posed
        assert torch.allclose(posed, surface.vertices.expand_as(posed), atol=1e-6)


@pytest.mark.slow
def test_tensorboard_gets_what_the_metrics_file_gets(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    Trainer(surface, source_of(world), tiny(), tmp_path, tensorboard=True).run()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    drawn = {event.step: event.value for event in events.Scalars("metrics/total")}
    assert drawn == pytest.approx({row["step"]: row["total"] for row in rows(tmp_path)})
    assert len(events.Scalars("speed/seconds")) == 6


def test_tensorboard_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trainer = Trainer(toy_surface(), source_of(toy_instances(toy_surface(), 20)), tiny(), tmp_path, tensorboard=True)
    with pytest.raises(UsageError, match=r"dp3d\[tensorboard\]"):
        trainer.run()


def test_every_instance_is_drawn_once_an_epoch(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 48)
    trainer = Trainer(surface, source_of(world), tiny(), tmp_path)
    assert len(trainer.loader) == 3
    drawn = torch.cat([batch.index for batch in trainer.loader])
    assert torch.equal(drawn.sort().values, torch.arange(48))


@pytest.mark.parametrize("threads", [0, 3])
def test_threads_change_no_number(tmp_path, threads):
    surface, world = toy_surface(), toy_instances(toy_surface(), 40)
    lifters = [Trainer(surface, source_of(world), tiny(), tmp_path / str(n), threads=n).run() for n in (1, threads)]
    assert torch.equal(weights_of(lifters[0]), weights_of(lifters[1]))


def test_waiting_is_measured_apart_from_the_losses(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, source_of(world), tiny(), tmp_path)
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [row["step"] for row in rows(tmp_path)]
    assert all(0 <= line["waited"] <= 1 and line["seconds"] > 0 for line in lines) and 0 <= trainer.waited <= 1


def test_too_few_instances(tmp_path):
    with pytest.raises(NothingToDo, match="too few instances to train on"):
        Trainer(toy_surface(), source_of(toy_instances(toy_surface(), 1)), tiny(), tmp_path)


def test_schedules():
    step = preset("stanford-dogs")
    assert learning_rate(step.optim, 0, 100) == learning_rate(step.optim, 79, 100) == 0.003
    assert learning_rate(step.optim, 80, 100) == pytest.approx(0.0003)
    cosine = tiny({"optim.warmup": 9})
    assert learning_rate(cosine.optim, 0, 100) == pytest.approx(0.1 * cosine.optim.learning_rate)
    assert learning_rate(cosine.optim, 99, 100) < 0.01 * cosine.optim.learning_rate


@pytest.mark.parametrize(
    "name", [name for name in presets() if name not in EVALUATION_ONLY and preset(name).model.network]
)
def test_every_preset_makes_a_step(name):
    small = {"model.width": 16, "model.bottleneck": 8, "model.blocks": 1, "model.basis": 8, "model.input_cells": 12}
    surface, world = toy_surface(), toy_instances(toy_surface(), 8)
    objective = Objective(surface, preset(name, small))
    seen = objective.lifter.normalise(world)
    losses = objective(seen, seen, torch.Generator().manual_seed(0))
    losses["total"].backward()
    assert losses["total"].isfinite()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in objective.lifter.parameters())


def test_the_supplements_numbers():
    dogs = preset("stanford-dogs")
    model, optim = dogs.model, dogs.optim
    given = (model.parts, model.sharpness, model.blendshapes)
    given += (optim.optimiser, optim.momentum, optim.weight_decay, optim.learning_rate, optim.batch)
    assert given == (10, 32.0, 5, "sgd", 0.99, 0.001, 0.003, 512)
    weights = (dogs.loss.canonical, dogs.loss.arap, dogs.loss.entropy)
    assert weights == (0.1, 0.3, 0.001)
    assert [preset(name).optim.epochs for name in ("human36m", "up3d", "stanford-dogs", "lvis")] == [20, 100, 200, 1000]


def test_a_data_set_for_evaluation_alone_names_the_preset_to_train():
    with pytest.raises(ConfigError, match="3dpw is a data set to evaluate on") as caught:
        preset("3dpw")
    assert "--preset human36m" in str(caught.value)


def test_an_unknown_preset_names_the_near_one():
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        preset("quik")
