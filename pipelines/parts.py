"""The parts of a run: what makes them, where they are made, and how a run goes on and ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dp3d_data.bodies import Template
from dp3d_data.config import plain, to_toml
from dp3d_data.shards import Run, RunWriter
from dp3d_data.shards.files import write_whole
from dp3d_data.shards.runs import discard_run

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


class Plan(Protocol):
    """What a pipeline decides before anything is written: settings, parts, recipe and folder."""

    @property
    def config(self) -> Any: ...
    @property
    def template(self) -> Template: ...
    @property
    def recipe(self) -> str: ...
    @property
    def out(self) -> Path: ...
    @property
    def parts(self) -> Sequence[Sequence[Any]]: ...
    @property
    def workers(self) -> int: ...


def unfinished_run(plan: Plan, kind: str) -> RunWriter | None:
    """The run of a plan, new or begun before; None where it is finished.

    Raises:
        RecipeMismatch: the folder holds the results of another recipe.
    """
    if plan.config.overwrite:
        discard_run(plan.out)
    writer = RunWriter(plan.out, kind=kind, recipe=plan.recipe)
    return None if writer.complete else writer


def make_missing_parts(plan: Plan, job: Job, writer: RunWriter, advance: Advance, say: Callable[[str], None]) -> None:
    """Make the parts that an earlier run did not finish."""
    done = writer.done
    for index in sorted(done):
        advance(len(plan.parts[index]), 0, 0)
    todo = [index for index in range(len(plan.parts)) if index not in done]
    make_parts(job, todo, min(plan.workers, max(len(todo), 1)), advance, say)


def finish_run(plan: Plan, writer: RunWriter, extra: dict[str, Any] | None = None) -> Run:
    """Write the settings, then the marker of a run whose parts are all there."""
    kept = plan.config.portable()
    write_whole(plan.out / "config.toml", lambda stream: stream.write(to_toml(kept).encode()))
    return writer.finish(template=plan.template, category=plan.config.category, config=plain(kept), extra=extra or {})


def make_parts(job: Job, indices: list[int], workers: int, advance: Advance, say: Callable[[str], None]) -> None:
    """Make the parts, here (one worker) or by worker processes; a part is the same wherever it is made.

    An error that is no input's own fault ends the run; parts that are finished stay.
    """
    with crew(workers if indices else 1, say) as make:
        make(job, indices, advance)


@contextmanager
def crew(workers: int, say: Callable[[str], None]) -> Iterator[Callable[[Job, list[int], Advance], None]]:
    """What makes parts of one job after the other: this process (one worker), or worker processes that end with the block."""
    if workers == 1:
        yield _make_here
        return
    from pipelines.cluster import dashboard, local_cluster, make_on

    with local_cluster(workers) as client:
        if address := dashboard(client):
            say(f"dashboard {address}")
        yield partial(make_on, client)


def _make_here(job: Job, indices: list[int], advance: Advance) -> None:
    if indices:
        maker = job.start()
        for index in indices:
            maker.make(index, advance)


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
