"""Training a CSE network: it learns, goes on exactly where it stopped, and refuses what is not its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dp3d_data.bodies import load_template
from dp3d_data.config import from_toml
from dp3d_data.errors import RecipeMismatch, TrainingDiverged
from dp3d_data.training import trainer
from dp3d_data.training.recipe import TrainCseConfig
from dp3d_data.training.stream import SyntheticSamples, collate, mirrored
from pipelines.train_cse import run

TINY = TrainCseConfig(image_size=64, batch=2, steps=3, points=16, save_every=1, workers=0, warmup=1, precision="float32")


@pytest.fixture(scope="module")
def dog():
    return load_template("dog")


def run_quietly(config: TrainCseConfig, out: Path) -> dict[str, torch.Tensor]:
    """The weights that a run ends with."""
    run(replace(config, out=str(out)), lambda text: None)
    return torch.load(out / "state.pth", weights_only=True)["average"]


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = run_quietly(TINY, tmp_path / "whole")

    class Stop(Exception):
        """A kill between two steps."""

    saved = trainer.save_state

    def stop_after(state, out, recipe):
        saved(state, out, recipe)
        if state.step == 2:
            raise Stop

    monkeypatch.setattr(trainer, "save_state", stop_after)
    with pytest.raises(Stop):
        run_quietly(TINY, tmp_path / "stopped")
    monkeypatch.setattr(trainer, "save_state", saved)
    resumed = run_quietly(TINY, tmp_path / "stopped")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert (tmp_path / "stopped" / "weights.pth").is_file()


def test_another_recipe_does_not_go_on_in_the_same_folder(tmp_path):
    short = replace(TINY, steps=1)
    run_quietly(short, tmp_path)
    run_quietly(replace(short, save_every=7), tmp_path)
    with pytest.raises(RecipeMismatch, match="another training"):
        run_quietly(replace(short, learning_rate=0.5), tmp_path)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, monkeypatch):
    nan = {"mask": torch.tensor(float("nan"), requires_grad=True)}
    monkeypatch.setattr(trainer, "step_losses", lambda *arguments: nan)
    with pytest.raises(TrainingDiverged, match="not finite at step 0"):
        run_quietly(TINY, tmp_path)


def test_the_learning_rate_warms_up_and_ends_at_zero():
    config = replace(TINY, steps=100, warmup=10, learning_rate=1.0)
    rates = [trainer.learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0 == max(rates)
    assert rates[100] == pytest.approx(0) and all(a >= b for a, b in zip(rates[9:], rates[10:], strict=False))


def test_samples_depend_on_their_index_alone(dog):
    ahead, behind = SyntheticSamples(dog, TINY, 0, 9), SyntheticSamples(dog, TINY, 4, 2)
    assert all(torch.equal(a, b) for a, b in zip(vars(ahead[5]).values(), vars(behind[1]).values(), strict=True))


def test_points_lie_on_the_object_and_owners_count_images(dog):
    samples = SyntheticSamples(dog, TINY, 0, 3)
    batch = collate([samples[index] for index in range(3)])
    columns, rows = (batch.points - 0.5).long().unbind(1)
    assert batch.masks[batch.owner, rows, columns].all()
    assert batch.owner.unique().tolist() == [0, 1, 2]
    assert ((batch.vertices >= 0) & (batch.vertices < dog.num_vertices)).all()


def test_mirroring_swaps_sides_and_twice_changes_nothing(dog):
    """Laws for a template whose symmetry is its own inverse; y is left on the dog."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    ids = rng.integers(-1, dog.num_vertices, (6, 8)).astype(np.int32)
    box = np.array([1, 2, 5, 6], dtype=np.float32)
    once = mirrored(image, ids, box, dog.symmetry)
    twice = mirrored(*once, dog.symmetry)
    for before, after in zip((image, ids, box), twice, strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(once[2], [3, 2, 7, 6])
    inside, mirror = ids >= 0, once[1][:, ::-1]
    np.testing.assert_array_equal(mirror >= 0, inside)
    np.testing.assert_allclose(dog.vertices[mirror[inside]], dog.vertices[ids[inside]] * [1, -1, 1], atol=1e-3)


def test_the_recipe_of_the_embedded_model_is_readable():
    path = Path(__file__).parents[3] / "pipelines" / "dog-synth-1.toml"
    assert from_toml(TrainCseConfig, path).model == "dog-synth-1"
