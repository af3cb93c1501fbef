"""The pretended GPU refuses what CUDA refuses, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.pretend import DeviceMixUp
from tests.shared import ROOT

PRETEND = pytest.mark.parametrize("device", ["pretend"], indirect=True)
MISTAKES = {
    "sum": lambda there, here: there + here,
    "product": lambda there, here: here @ there.T,
    "choice": lambda there, here: torch.where(here > 0, there, 0.0),
    "scatter": lambda there, here: there.index_add_(0, torch.tensor([0]), there[:1]),
    "places of another device": lambda there, here: here[there[:, 0].long()],
    "mask": lambda there, here: torch.arange(3)[there[:, 0] > 0],
    "numpy": lambda there, here: there.numpy(),
    "array": lambda there, here: np.asarray(there),
    "layer": lambda there, here: torch.nn.Linear(3, 2)(there),
}


@PRETEND
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused(device, mistake):
    with pytest.raises((DeviceMixUp, RuntimeError, TypeError)):
        mistake(torch.ones(3, 3, device=device), torch.ones(3, 3))


@PRETEND
def test_what_cuda_takes_is_taken(device):
    there = torch.arange(9.0).reshape(3, 3).to(device).requires_grad_()
    found = (there[torch.tensor([0, 2])] * torch.tensor(2.0) + there.new_tensor([1.0, 2.0, 3.0])).sum()
    found.backward()
    assert found.item() == 60.0 and there.grad.device.type == device
    assert there.grad.tolist() == [[2.0] * 3, [0.0] * 3, [2.0] * 3]
    assert there.detach().cpu().numpy().sum() == 36.0 and torch.zeros(2).copy_(there[0, :2].detach()).tolist() == [
        0.0,
        1.0,
    ]


@pytest.mark.slow
def test_everything_runs_on_a_pretended_device():
    words = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "slow or not slow",
        "-k",
        "pretend and not everything",
        str(Path(__file__).parent),
    ]
    environment = os.environ | {"DP3D_PRETEND": "1"}
    command = [sys.executable, "-m", "pytest", *words]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
