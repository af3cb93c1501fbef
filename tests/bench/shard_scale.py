"""Time, memory and bytes of building shards from 1e4, 1e5, ... instances: python -m tests.bench.shard_scale [COUNT ...]."""

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
    """One line: seconds of the whole command, instances a second, peak memory of the largest process, and bytes by raw bytes."""
    raw = write_run(folder / "run", count)
    words = ["build-shards", "--input", str(folder / "run"), "--out", str(folder / "shards"), "--shard-size", "256MB"]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dp3d_data.cli", *words, "--workers", str(WORKERS)], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    stored = sum(path.stat().st_size for path in (folder / "shards").glob("*-*.parquet"))
    rate, share = count / seconds, stored / raw
    return f"{count:9,d} {seconds:9.1f} s {rate:9.0f} /s {peak / 2**20:7.0f} MiB a process {stored / 2**20:7.0f} MiB, {share:.1%} of raw"


def main() -> None:
    """Print a line for each count."""
    for count in [int(float(word)) for word in sys.argv[1:]] or COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            print(build(Path(folder), count), flush=True)


if __name__ == "__main__":
    main()
