"""Several processes make the steps of one."""

import json
from dataclasses import replace

import pytest
import torch

from dp3d_data.errors import UsageError
from dp3d_data.ranks import Ranks, join_ranks
from dp3d_model.lifting.model_file import load_model
from dp3d_model.training.trainer import Trainer
from tests.model.toy import source_of, tiny, toy_instances, toy_surface
from tests.processes import together

# Batch normalisation sees 8 instances at a time in both ways.
SETTINGS = {
    "model.norm": "batch",
    "data.keypoint_dropout": 0.3,
    "data.rotation": 45.0,
    "data.keypoint_jitter": 0.02,
    "model.noise": "clipped",
    "loss.drawn_rings": 0,
    "optim.steps": 4,
    "run.save_every": 2,
}
SETTINGS |= {"loss.truth": 0.5}

PROCESS = """
import sys
from pathlib import Path
import torch
from dp3d_data.ranks import join_ranks, leave_ranks
from dp3d_model.training.trainer import Trainer
from tests.model.test_ranks import SETTINGS, source
from tests.model.toy import tiny, toy_surface
torch.set_num_threads(1)
ranks, device = join_ranks("cpu")
surface = toy_surface()
trainer = Trainer(surface, source(surface), tiny(SETTINGS), Path(sys.argv[1]), device=device, ranks=ranks)
trainer.resume()
trainer.run()
leave_ranks()
"""


def source(surface):
    """Instances of which every second one knows its true shape."""
    world = toy_instances(surface, 40)
    unknown = torch.arange(40) % 2 == 0
    truth = torch.where(unknown[:, None, None], torch.nan, world.true_vertices)
    return source_of(
        replace(world, true_vertices=truth, true_scale=torch.where(unknown, torch.nan, world.true_scale)), truth=True
    )


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one_in_two_parts(tmp_path):
    surface = toy_surface()
    alone = Trainer(surface, source(surface), tiny({"optim.micro_batch": 8} | SETTINGS), tmp_path / "alone").run()
    together(PROCESS, tmp_path / "together")
    for row, expected in zip(rows(tmp_path / "together"), rows(tmp_path / "alone"), strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    found = load_model(tmp_path / "together")
    for (name, value), expected in zip(found.named_parameters(), alone.parameters(), strict=True):
        assert torch.allclose(value, expected, atol=1e-4), name


def test_ranks_share_a_batch_evenly_or_say_so():
    assert Ranks(1, 4).share(12) == 3
    for batch in (10, 4):
        with pytest.raises(UsageError, match="cannot be dealt to 4 processes"):
            Ranks(0, 4).share(batch)


def test_alone_without_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_ranks("cpu") == (Ranks(), "cpu")
    with pytest.raises(UsageError, match="no device 'bathtub' here"):
        join_ranks("bathtub")
