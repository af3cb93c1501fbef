"""Time, memory and bytes of building shards from 1e4, 1e5, ... instances: python -m tests.bench.shard_scale [COUNT
...]."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.many_instances import write_run

COUNTS = (10_000, 100_000)
WORKERS = 2


def build(folder: Path, count: int) -> str:
    """One line: seconds on the clock and of the processor, per instance, peak memory of the largest process, bytes by
    raw bytes.

    The processor's seconds can be compared where others share the machine.
    """
    raw = write_run(folder / "run", count)
    words = ["build-shards", "--input", str(folder / "run"), "--out", str(folder / "shards"), "--shard-size", "256MB"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pipelines.cli.data", *words, "--workers", str(WORKERS)], check=True, capture_output=True
    )
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    stored = sum(path.stat().st_size for path in (folder / "shards").glob("*-*.parquet"))
    times = (
        f"{clock:8.1f} s on the clock, {processor:7.1f} s of the processor, {1e6 * processor / count:5.0f} us an"
        " instance"
    )
    return (
        f"{count:9,d}: {times}; {after.ru_maxrss / 1024:5.0f} MiB a process; {stored / 1e6:6.0f} MB, {stored / raw:.1%}"
        " of raw"
    )


def main() -> None:
    """Print a line for each count."""
    for count in [int(float(word)) for word in sys.argv[1:]] or COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            print(build(Path(folder), count), flush=True)


if __name__ == "__main__":
    main()
