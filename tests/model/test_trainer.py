"""Training: it learns, it resumes to the last bit, it stops cleanly."""

import json

import pytest
import torch

from dp3d_data.config import from_toml
from dp3d_data.errors import ConfigError, NothingToDo, RecipeMismatch, TrainingDiverged
from dp3d_model.config import PRESETS, TrainConfig, preset
from dp3d_model.model_file import load_model
from dp3d_model.objective import Objective
from dp3d_model.optimisation import learning_rate
from dp3d_model.trainer import STATE_FILE, Trainer
from tests.model.toy import tiny, toy_instances, toy_surface


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(lifter):
    return torch.cat([value.float().ravel() for value in lifter.state_dict().values()])


def test_it_learns(tmp_path):
    trainer = Trainer(toy_surface(), toy_instances(toy_surface(), 64, bend=0.4).source(), tiny(steps=60, learning_rate=3e-3), tmp_path)
    trainer.run()
    losses = [row["reprojection"] for row in rows(tmp_path)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("changes", [{}, {"optimiser": "sgd", "learning_rate": 1e-3, "hide": 0.5, "noise": "clipped"}])
def test_a_killed_run_goes_on_to_the_last_bit(tmp_path, changes):
    surface, config = toy_surface(), tiny(**changes)
    world = toy_instances(surface, 40)
    whole = Trainer(surface, world.source(), config, tmp_path / "whole").run()

    class Killed(Exception):
        pass

    def kill(step, steps, losses):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        Trainer(surface, world.source(), config, tmp_path / "parts").run(kill)
    again = Trainer(surface, world.source(), config, tmp_path / "parts")
    assert again.resume()
    assert again.step == 3
    torch.rand(7)
    lifter = again.run()
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "parts/metrics.jsonl").read_bytes()
    assert torch.equal(weights_of(whole), weights_of(lifter))


def test_the_model_file_gives_the_trained_model_back(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, world.source(), tiny(), tmp_path)
    assert not trainer.finished()
    lifter = trainer.run()
    assert trainer.finished()
    loaded = load_model(tmp_path)
    assert torch.equal(weights_of(loaded), weights_of(lifter))
    seen = loaded.observe(world.keypoints, world.visible)
    assert torch.equal(loaded(seen).in_camera(), lifter(seen).in_camera())
    assert from_toml(TrainConfig, tmp_path / "config.toml") == lifter.config


def test_another_recipe_is_refused_unless_asked_for(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    Trainer(surface, world.source(), tiny(), tmp_path).run()
    changed = Trainer(surface, world.source(), tiny(learning_rate=1e-4, steps=8), tmp_path)
    with pytest.raises(RecipeMismatch, match="a run of another recipe"):
        changed.resume()
    assert changed.resume(other_settings=True)
    assert changed.step == 6
    with pytest.raises(RecipeMismatch):
        Trainer(surface, world.source(), tiny(parts=3), tmp_path).resume(other_settings=True)


def test_divergence_keeps_the_last_good_state(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, world.source(), tiny(), tmp_path)

    def poison(step, steps, losses):
        if step == 4:
            with torch.no_grad():
                trainer.objective.lifter.trunks[0].head.bias.fill_(torch.nan)

    with pytest.raises(TrainingDiverged, match="no longer finite at step 4"):
        trainer.run(poison)
    assert not (tmp_path / "model.pt").exists()
    good = Trainer(surface, world.source(), tiny(), tmp_path)
    assert good.resume()
    assert good.step == 3
    assert all(value.isfinite().all() for value in good.objective.state_dict().values())
    assert (tmp_path / STATE_FILE).is_file()


def test_every_instance_is_drawn_once_an_epoch(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 48)
    trainer = Trainer(surface, world.source(), tiny(), tmp_path)
    assert len(trainer.loader) == 3
    drawn = torch.cat([batch.index for batch in trainer.loader])
    assert torch.equal(drawn.sort().values, torch.arange(48))


@pytest.mark.parametrize("threads", [0, 3])
def test_threads_change_no_number(tmp_path, threads):
    surface, world = toy_surface(), toy_instances(toy_surface(), 40)
    lifters = [Trainer(surface, world.source(), tiny(), tmp_path / str(n), threads=n).run() for n in (1, threads)]
    assert torch.equal(weights_of(lifters[0]), weights_of(lifters[1]))


def test_waiting_is_measured_apart_from_the_losses(tmp_path):
    surface, world = toy_surface(), toy_instances(toy_surface(), 20)
    trainer = Trainer(surface, world.source(), tiny(), tmp_path)
    trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [row["step"] for row in rows(tmp_path)]
    assert all(0 <= line["waited"] <= 1 and line["seconds"] > 0 for line in lines) and 0 <= trainer.waited <= 1


def test_too_few_instances(tmp_path):
    with pytest.raises(NothingToDo, match="too few instances to train on"):
        Trainer(toy_surface(), toy_instances(toy_surface(), 1).source(), tiny(), tmp_path)


def test_schedules():
    step = preset("stanford-dogs")
    assert learning_rate(step, 0, 100) == learning_rate(step, 79, 100) == 0.003
    assert learning_rate(step, 80, 100) == pytest.approx(0.0003)
    cosine = tiny(warmup=9)
    assert learning_rate(cosine, 0, 100) == pytest.approx(0.1 * cosine.learning_rate)
    assert learning_rate(cosine, 99, 100) < 0.01 * cosine.learning_rate


@pytest.mark.parametrize("name", [name for name in PRESETS if preset(name).network])
def test_every_preset_makes_a_step(name):
    small = {"width": 16, "bottleneck": 8, "blocks": 1, "basis": 8, "input_cells": 12}
    surface, world = toy_surface(), toy_instances(toy_surface(), 8)
    objective = Objective(surface, preset(name, **small))
    seen = objective.lifter.observe(world.keypoints, world.visible)
    losses = objective(seen, seen, torch.Generator().manual_seed(0))
    losses["total"].backward()
    assert losses["total"].isfinite()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in objective.lifter.parameters())


def test_the_supplements_numbers():
    dogs = preset("stanford-dogs")
    given = (dogs.parts, dogs.sharpness, dogs.blendshapes, dogs.optimiser, dogs.momentum, dogs.weight_decay, dogs.learning_rate, dogs.batch)
    assert given == (10, 32.0, 5, "sgd", 0.99, 0.001, 0.003, 512)
    weights = (dogs.canonical_weight, dogs.arap_weight, dogs.entropy_weight)
    assert weights == (0.1, 0.3, 0.001)
    assert [preset(name).epochs for name in ("human36m", "up3d", "stanford-dogs", "lvis")] == [20, 100, 200, 1000]


def test_an_unknown_preset_names_the_near_one():
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        preset("quik")
