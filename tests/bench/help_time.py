"""Seconds until --help of every command answers, best of three: python -m tests.bench.help_time."""

import subprocess
import sys
import time

from tests.house.program_words import all_commands

MODULES = {"dp3d-data": "dp3d_data.cli", "dp3d-model": "dp3d_model.cli"}


def seconds(name: str) -> float:
    """Best of three runs, each in a new interpreter."""
    program, *words = name.split()
    line = [sys.executable, "-m", MODULES[program], *words, "--help"]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return min(times)


def main() -> int:
    """Print a line a command; fails where one takes half a second or more."""
    slow = 0
    for name in all_commands():
        taken = seconds(name)
        slow += taken >= 0.5
        print(f"{taken:6.3f} s  {name} --help")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
