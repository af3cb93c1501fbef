"""Whether a device can be used."""

from __future__ import annotations

from dp3d_data.errors import UsageError


def require_device(name: str) -> None:
    """Refuse a device that torch does not know or this machine does not have.

    Raises:
        UsageError: says which are there.
    """
    if name == "cpu":
        return  # without torch, whose import takes a second

    import torch

    try:
        device = torch.device(name)
        if device.type == "cuda":
            # Counted, not touched: a context on the GPU costs memory, and this process may only hand out the work.
            there = (device.index or 0) < torch.cuda.device_count()
        else:
            there = torch.empty(0, device=device).device.type == device.type
        got = "no such GPU"
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there, got = False, str(error).splitlines()[0]
    if not there:
        names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        hint = "dp3d-data doctor shows the devices; everything runs with --device cpu"
        raise UsageError(f"no device {name!r} here", got=got, expected=", ".join(names), hint=hint)
