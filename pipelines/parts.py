"""The parts of a run: what makes them, and the choice between this process and a cluster of processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

# inputs, instances and failures that were finished since the last call
Advance = Callable[[int, int, int], None]


class PartMaker(Protocol):
    """What lives as long as a process: it holds the network and makes one part at a time."""

    def make(self, index: int, advance: Advance) -> None:
        """Make and write part `index`, telling of every input that is finished."""


class Job(Protocol):
    """All that a process must know to work; it travels to every process once."""

    def start(self) -> PartMaker:
        """Load what is needed; called once in each process."""


def make_parts(job: Job, indices: list[int], workers: int, advance: Advance, say: Callable[[str], None]) -> None:
    """Make the parts, here (one worker) or by worker processes; a part is the same wherever it is made.

    An error that is no input's own fault ends the run; parts that are finished stay.
    """
    if workers == 1:
        maker = job.start()
        for index in indices:
            maker.make(index, advance)
    elif indices:
        from pipelines.cluster import dashboard, local_cluster, make_on

        with local_cluster(workers) as client:
            if address := dashboard(client):
                say(f"dashboard {address}")
            make_on(client, job, indices, advance)


def part_size(asked: int, count: int) -> int:
    """Inputs in a part: as asked, or a sixteenth of them, 10 to 250; the number of processes has no say in it."""
    return asked or min(max(-(-count // 16), 10), 250)


def worker_count(asked: int, parts: int, device: str) -> int:
    """Processes to start, never more than parts.

    Where none are asked for: one on a GPU; on the CPU one per core, at most 8, and only where each has two parts to
    make, since a process needs seconds to load the network.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own_choice = min(cores, 8, parts // 2) if device == "cpu" else 1
    return max(1, min(asked or own_choice, parts))
