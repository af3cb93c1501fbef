"""Several processes train one CSE network: each step is the mean of their batches, and they deal out one stream."""

import json
from dataclasses import replace

import pytest
import torch

from dp3d_data.detection.training.losses import step_losses
from dp3d_data.detection.training.start import start_of
from dp3d_data.detection.training.stream import Kind, SyntheticBatches
from dp3d_data.detection.training.trainer import (
    fit_config,
    fresh_state,
    gradients_of,
    learning_rate,
    run_fingerprint,
    targets_of,
)
from dp3d_data.fitting import optimiser_step
from dp3d_data.geometry import load_template
from dp3d_data.ranks import Ranks
from pipelines import cse as pipeline
from pipelines.cse import train_cse
from tests.data.training.tiny import TINY as SMALLEST
from tests.processes import together

TINY = replace(SMALLEST, model="narrow-18-dl", learning_rate=1e-4)

PROCESS = """
import sys
from dataclasses import replace
import torch
from pipelines.cse import train_cse
from tests.data.training.test_together import TINY
torch.set_num_threads(1)
train_cse(replace(TINY, out=sys.argv[1]), lambda line: None)
"""


def two_batches_a_step(config):
    """The parameters after the run, written out: gradients of two batches of the stream, averaged."""
    dog = load_template("dog")
    kinds = (Kind("dog", dog, True, 1.0),)
    network, targets = start_of(kinds, config, targets_of(kinds, config))
    state, stream = fresh_state(network, config), SyntheticBatches(kinds, config)
    state.module.train()
    for step in range(config.steps):
        for group in state.optimiser.param_groups:
            group["lr"] = group["share"] * learning_rate(config, step)
        state.optimiser.zero_grad()
        for number in (2 * step, 2 * step + 1):
            torch.manual_seed(config.seed * 1_000_003 + number)
            rng = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
            (sum(step_losses(network, stream[number], targets, config, rng).values()) / 2).backward()
        torch.nn.utils.clip_grad_norm_(state.module.parameters(), 5.0)
        state.optimiser.step()
    return dict(state.module.named_parameters())


@pytest.mark.slow
def test_two_processes_average_their_gradients_and_one_of_them_writes(tmp_path):
    together(PROCESS, tmp_path)
    saved = torch.load(tmp_path / "state.pth", weights_only=True)
    for name, expected in two_batches_a_step(TINY).items():
        torch.testing.assert_close(saved["network"][name], expected.detach(), rtol=0, atol=2e-5, msg=name)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2]
    assert (tmp_path / "weights.pth").is_file() and (tmp_path / "config.toml").is_file()


class Twin(Ranks):
    """One of two processes, the other of which has the same batch."""

    def sum(self, values):
        return 2 * values

    def sum_gradients(self, parameters):
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad *= 2


@pytest.mark.slow
def test_gradients_are_averaged_and_not_added(tmp_path):
    """Adam would hide the difference, clipping and everything else that knows a gradient's size would not."""
    config = replace(TINY, embedding_weight=0.01, mask_weight=0.01, box_weight=0.01)
    dog = load_template("dog")
    kinds = (Kind("dog", dog, True, 1.0),)
    by_name = targets_of(kinds, config)
    batch, sizes = SyntheticBatches(kinds, config)[0], []
    for ranks in (Ranks(), Twin(0, 2)):
        network, targets = start_of(kinds, config, by_name)
        state = fresh_state(network, config)
        gradients = gradients_of(network, targets, config, ranks)
        optimiser_step(state, gradients, batch, fit_config(config), tmp_path, ranks)
        sizes.append(
            sum(float(one.grad.norm()) ** 2 for one in state.module.parameters() if one.grad is not None) ** 0.5
        )
    assert 0 < sizes[0] < 4.9
    assert sizes[1] == pytest.approx(sizes[0], rel=1e-4)


def test_they_deal_out_the_stream_of_one():
    dog = (Kind("dog", load_template("dog"), True, 1.0),)
    first, second, alone = (
        SyntheticBatches(dog, TINY, False, 0, ranks) for ranks in (Ranks(0, 2), Ranks(1, 2), Ranks())
    )
    for batch, number in ((first[0], 0), (second[0], 1), (first[2], 4), (second[2], 5)):
        assert torch.equal(batch.images, alone[number].images) and torch.equal(batch.points, alone[number].points)


def test_a_run_of_two_is_not_gone_on_with_by_one(tmp_path):
    dog = (Kind("dog", load_template("dog"), True, 1.0),)
    assert run_fingerprint(TINY, dog) == run_fingerprint(TINY, dog, Ranks(0, 1))
    assert (
        run_fingerprint(TINY, dog, Ranks(0, 2)) == run_fingerprint(TINY, dog, Ranks(1, 2)) != run_fingerprint(TINY, dog)
    )


@pytest.mark.slow
def test_the_file_of_settings_keeps_the_device_that_was_asked_for(tmp_path, monkeypatch):
    """In each process "cuda" is another GPU: a file that named the first one's would send all of them there."""
    monkeypatch.setattr(pipeline, "join_ranks", lambda device: (Ranks(), "cpu"))
    train_cse(replace(TINY, steps=1, device="cuda", out=str(tmp_path)), lambda line: None)
    assert 'device = "cuda"' in (tmp_path / "config.toml").read_text()


def test_a_device_that_is_not_there(tmp_path):
    from dp3d_data.errors import UsageError

    with pytest.raises(UsageError, match="no device 'bathtub' here"):
        train_cse(replace(TINY, device="bathtub", out=str(tmp_path)), lambda line: None)
