"""Tests of another device than the CPU: "pretend" in a process of its own (tests/gpu/test_pretend.py), "cuda" where
there is a GPU."""

import os

import pytest
import torch

from tests.gpu.pretend import Pretending, register


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip(f"no GPU: torch {torch.__version__} finds no CUDA device")


@pytest.fixture
def device(request: pytest.FixtureRequest):
    """The name of a device; `devices.ELSEWHERE` and `devices.ANYWHERE` say which ones a test runs on."""
    if request.param != "pretend":
        yield request.param
        return
    if "DP3D_PRETEND" not in os.environ:  # torch counts devices once, at the first backward pass of a process
        pytest.skip("in a process of its own: pytest -m slow tests/gpu/test_pretend.py, or DP3D_PRETEND=1")
    register()
    with Pretending():
        yield request.param
