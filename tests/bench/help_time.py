"""Seconds until --help of every command answers, best of three: python -m tests.bench.help_time."""

import resource
import subprocess
import sys
import time

from tests.house.program_words import all_commands

MODULES = {"dp3d-data": "pipelines.cli.data", "dp3d-model": "pipelines.cli.model"}
LIMIT = 0.5


def seconds(name: str) -> tuple[float, float]:
    """Best of three runs, each in a new interpreter: seconds on the clock, and seconds of the processor."""
    program, *words = name.split()
    line = [sys.executable, "-m", MODULES[program], *words, "--help"]
    clock, processor = [], []
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        clock.append(time.perf_counter() - began)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(clock), min(processor)


def main() -> int:
    """Print a line a command; fails where one needs the processor for longer than the limit: others may share the
    machine."""
    slow = 0
    for name in all_commands():
        clock, processor = seconds(name)
        slow += processor >= LIMIT
        print(f"{clock:6.3f} s on the clock, {processor:6.3f} s of the processor  {name} --help")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
