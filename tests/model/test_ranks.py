"""Several processes make the steps of one."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from dp3d_data.errors import UsageError
from dp3d_model.model_file import load_model
from dp3d_model.ranks import Ranks, join_ranks
from dp3d_model.trainer import Trainer
from tests.model.toy import tiny, toy_instances, toy_surface
from tests.shared import ROOT

# Batch normalisation sees 8 instances at a time in both ways.
SETTINGS = {"norm": "batch", "hide": 0.3, "turn": 45.0, "shake": 0.02, "noise": "clipped", "drawn_rings": 0, "steps": 4, "save_every": 2}

PROCESS = """
import sys
from pathlib import Path
import torch
from dp3d_model.ranks import join_ranks, leave_ranks
from dp3d_model.trainer import Trainer
from tests.model.test_ranks import SETTINGS
from tests.model.toy import tiny, toy_instances, toy_surface
torch.set_num_threads(1)
ranks, device = join_ranks("cpu")
surface = toy_surface()
trainer = Trainer(surface, toy_instances(surface, 40).source(), tiny(**SETTINGS), Path(sys.argv[1]), device=device, ranks=ranks)
trainer.resume()
trainer.run()
leave_ranks()
"""


def together(folder, count=2):
    """The processes as torchrun would start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = os.environ | {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    places = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)} for rank in range(count)]
    words = [sys.executable, "-c", PROCESS, str(folder)]
    running = [subprocess.Popen(words, env=place, cwd=ROOT, stderr=subprocess.PIPE, text=True) for place in places]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_make_the_steps_of_one_in_two_parts(tmp_path):
    surface = toy_surface()
    alone = Trainer(surface, toy_instances(surface, 40).source(), tiny(**SETTINGS, micro_batch=8), tmp_path / "alone").run()
    together(tmp_path / "together")
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
