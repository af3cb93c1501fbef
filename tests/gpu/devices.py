"""Which devices a test runs on."""

import pytest

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
# Not on the CPU: for what depends on where tensors lie.
ELSEWHERE = pytest.mark.parametrize("device", ["pretend", CUDA], indirect=True)
# For what depends on the numbers: the logic of the test is tried on the CPU.
ANYWHERE = pytest.mark.parametrize("device", ["cpu", CUDA], indirect=True)
