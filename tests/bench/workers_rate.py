"""Images a second with one worker and with two, embedded network: python -m tests.bench.workers_rate.

The whole command counts, with its start (4 s with one worker, 6 s with two) and the end, where one worker waits for the
other.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.photographs import make_photographs
from tests.shared import ROOT

RATIO, RATE = 1.7, 4.0


def seconds(photographs: Path, out: Path, workers: int) -> float:
    """The whole command."""
    words = [
        "extract",
        "--images",
        str(photographs),
        "--out",
        str(out),
        "--workers",
        str(workers),
        "--set",
        "overlays=0",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pipelines.cli.data", *words],
        env=environment,
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def main() -> int:
    """Print both rates and their ratio; fails where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000, help="the start weighs less in longer runs")
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        photographs = make_photographs(Path(folder) / "photographs", count, 640, 480)
        one, two = (seconds(photographs, Path(folder) / str(workers), workers) for workers in (1, 2))
    print(
        f"{count} images of 640 x 480: {count / one:.1f} images/s with one worker, {count / two:.1f} with two, goal"
        f" {RATE}"
    )
    print(f"{one / two:.2f} x with two workers, goal {RATIO}")
    return int(one / two < RATIO or count / two < RATE)


if __name__ == "__main__":
    sys.exit(main())
