"""Training a CSE network: it learns, goes on exactly where it stopped, and refuses what is not its own."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dp3d_data.config import from_mapping, read_toml
from dp3d_data.detection import load_predictor
from dp3d_data.detection.training import trainer
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.weights import read_checkpoint
from dp3d_data.errors import FingerprintMismatch, TrainingDiverged
from pipelines.cse import train_cse
from tests.data.training.tiny import TINY as SMALLEST
from tests.shared import ROOT

TINY = replace(SMALLEST, steps=3, box_every=2)


def run_quietly(config: TrainCseConfig, out: Path) -> dict[str, torch.Tensor]:
    """The weights that a run ends with."""
    train_cse(replace(config, out=str(out)), lambda text: None)
    return torch.load(out / "state.pth", weights_only=True)["average"]


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch):
    whole = run_quietly(TINY, tmp_path / "whole")

    class Stop(Exception):
        """A kill between two steps."""

    saved = trainer.save_state

    def stop_after(state, out, fingerprint):
        saved(state, out, fingerprint)
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


@pytest.mark.slow
def test_other_settings_does_not_go_on_in_the_same_folder(tmp_path):
    short = replace(TINY, steps=1)
    run_quietly(short, tmp_path)
    run_quietly(replace(short, save_every=7), tmp_path)
    with pytest.raises(FingerprintMismatch, match="another training"):
        run_quietly(replace(short, learning_rate=0.5), tmp_path)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path, monkeypatch):
    nan = {"mask": torch.tensor(float("nan"), requires_grad=True)}
    monkeypatch.setattr(trainer, "step_losses", lambda *arguments, **more: nan)
    with pytest.raises(TrainingDiverged, match="no longer finite at step 0"):
        run_quietly(TINY, tmp_path)


@pytest.mark.parametrize(("precision", "capability", "told"), [
    ("bfloat16", "AVX2", True), ("bfloat16", "AVX512", False), ("float32", "AVX2", False),
])  # fmt: skip
def test_arithmetic_that_a_processor_imitates_is_said_before_it_takes_hours(
    tmp_path, monkeypatch, precision, capability, told
):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setattr("pipelines.cse.targets_of", lambda *_: None)
    network = SimpleNamespace(spec=SimpleNamespace(crop_side=0))
    monkeypatch.setattr("pipelines.cse.start_of", lambda *_: (network, {}))
    monkeypatch.setattr("pipelines.cse.train", lambda *_: pytest.fail("enough"))
    said = []
    with pytest.raises(pytest.fail.Exception, match="enough"):
        train_cse(replace(TINY, out=str(tmp_path), precision=precision), said.append)
    assert any("--set precision=float32" in line for line in said) is told


def test_the_learning_rate_warms_up_and_ends_at_zero():
    config = replace(TINY, steps=100, warmup=10, learning_rate=1.0)
    rates = [trainer.learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0 == max(rates)
    assert rates[100] == pytest.approx(0) and all(a >= b for a, b in zip(rates[9:], rates[10:], strict=False))


@pytest.mark.slow
def test_the_run_is_scored_while_it_trains(tmp_path):
    run_quietly(replace(TINY, steps=2, evaluate_every=2, evaluate_images=2), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {"ap50", "mask_iou"} <= set(lines[-1]) and lines[-1]["step"] == 2 and lines[-1]["objects"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["", "pixel_cycle", "overlap"])
def test_some_losses_are_a_choice(tmp_path, chosen):
    settings = {f"{chosen}_weight": 2.0} if chosen else {}
    run_quietly(replace(TINY, steps=1, **settings), tmp_path)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert {"pixel_cycle", "overlap"} & set(json.loads(line)) == ({chosen} if chosen else set())


@pytest.mark.slow
def test_a_network_that_looks_again_learns_at_two_scales_and_from_mirror_images(tmp_path):
    """The category alone, without other classes; its weights are read again."""
    crops = {"crops": 2, "crop_size": 64, "second_size": 96, "mirror_weight": 0.5}
    run_quietly(replace(TINY, model="animals-3", steps=2, **crops), tmp_path)
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["mirror"] > 0
    predictor = load_predictor("", tmp_path / "weights.pth")
    assert (predictor.spec.name, predictor.spec.num_classes, predictor.class_of("dog")) == ("animals-3", 1, 0)


@pytest.mark.slow
def test_small_weights_are_written_where_they_are_asked_for(tmp_path):
    run_quietly(replace(TINY, steps=1, small=True), tmp_path)
    written = torch.load(tmp_path / "weights.pth", weights_only=True)["model"].values()
    assert any(value.dtype == torch.int8 for value in written)
    assert not any(value.dtype == torch.int8 for value in read_checkpoint(tmp_path / "weights.pth")[0].values())


def test_the_recipes_of_the_embedded_network_are_read_and_follow_each_other():
    first, *later = (
        from_mapping(TrainCseConfig, read_toml(ROOT / "pipelines/recipes" / f"{name}.toml"))
        for name in ("animals-1", "animals-2", "animals-3")
    )
    assert (first.model, first.trunk, first.freeze) == ("animals-3", "lite0", 5) and first.kinds.startswith("dog=dog")
    for before, after in zip((first, *later), later, strict=False):
        assert after.weights == f"{before.out}/weights.pth"
        assert (after.model, after.kinds) == (first.model, first.kinds) and after.seed > before.seed
    assert later[-1].small  # the file that ships
