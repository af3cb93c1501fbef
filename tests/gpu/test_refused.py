"""Without a GPU, --device cuda is one clear error of every command that has it, before any other work."""

import pytest

from tests.end_to_end.programs import run

COMMANDS = (
    "dp3d-data extract",
    "dp3d-data template adopt dog --renders 2",
    "dp3d-data train-cse",
    "dp3d-data evaluate-cse",
    "dp3d-model train",
    "dp3d-model predict",
    "dp3d-model view",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "gpu"])
def test_a_device_that_is_not_here_is_told(command, device, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    told = run(
        f"{command} --set device={device}"
        if "adopt" in command or "evaluate-cse" in command
        else f"{command} --device {device}"
    )
    assert told.exit_code == 2, told.output
    assert (
        f"no device '{device}' here" in told.output and "--device cpu" in told.output and "Traceback" not in told.output
    )
