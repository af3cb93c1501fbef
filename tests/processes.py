"""Python processes that work together, started as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.shared import ROOT


def together(program: str, folder: Path, count: int = 2) -> None:
    """Run a program in `count` processes that know of each other; its argument is the folder.

    Raises:
        AssertionError: one of them failed, with what it said.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = os.environ | {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
    }
    places = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)} for rank in range(count)]
    words = [sys.executable, "-c", program, str(folder)]
    running = [subprocess.Popen(words, env=place, cwd=ROOT, stderr=subprocess.PIPE, text=True) for place in places]
    for process in running:
        _, said = process.communicate(timeout=900)
        assert process.returncode == 0, said
