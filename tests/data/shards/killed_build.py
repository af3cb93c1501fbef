"""A build that ends itself by SIGKILL at its n-th rename: python -m tests.data.shards.killed_build ROOT OUT WORKERS
WHEN COUNT.

WHEN is "before" or "after" the rename; COUNT 0 lets it run to its end. The renames are the only instants at which what
the folder means changes. Written paths can be told instead: WHEN is then a file to append them to.
"""

import os
import signal
import sys
from pathlib import Path

import dp3d_data.shards.inputs as inputs
from dp3d_data.filters import FilterConfig
from pipelines.shards import ShardPlan, build

PLAN = ShardPlan(filters=FilterConfig(), shard_bytes=60_000, split_ratio=0.8, seed=0)
# So small that the runs are read in several partitions.
PARTITION_BYTES = 60_000


def build_there(root: Path, out: Path, workers: int = 1) -> dict:
    """Build from ROOT/extract and ROOT/synth."""
    inputs.PARTITION_BYTES = PARTITION_BYTES
    return build(
        [root / "extract", root / "synth"], out, "dog", PLAN, overwrite=False, say=lambda line: None, workers=workers
    )


def die_at(when: str, count: int) -> None:
    """Make the count-th rename the last thing this process does."""
    replace, left = os.replace, [count]

    def deadly(source, target):
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = deadly


def tell_writes(log: str) -> None:
    """Append every path that this process opens for writing, renames to or deletes."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            os.write(handle, f"{arguments[0]}\n".encode())
        elif event in ("os.rename", "os.remove"):
            os.write(handle, f"{arguments[1] if event == 'os.rename' else arguments[0]}\n".encode())

    sys.addaudithook(hook)


if __name__ == "__main__":
    source, target, processes, instant, number = sys.argv[1:]
    if instant in ("before", "after"):
        die_at(instant, int(number))
    else:
        tell_writes(instant)
    build_there(Path(source), Path(target), int(processes))
