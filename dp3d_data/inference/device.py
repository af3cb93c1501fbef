"""Whether a device can be used."""

from __future__ import annotations

from dp3d_data.errors import UsageError


def require_device(name: str) -> None:
    """Refuse a device that torch does not know or this machine does not have.

    Raises:
        UsageError: says which are there.
    """
    import torch

    hint = "dp3d-data doctor shows the devices; everything runs with --device cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        got = str(error).splitlines()[0]
        raise UsageError(f"no device {name!r} here", got=got, expected=", ".join(there), hint=hint) from error
