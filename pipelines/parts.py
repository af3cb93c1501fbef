"""The parts of a run: what makes them, where they are made, and how a run goes on and ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from dp3d_data.config import plain, to_toml
from dp3d_data.errors import RecipeMismatch
from dp3d_data.files import write_text
from dp3d_data.geometry import Template
from dp3d_data.shards import Run, RunWriter
from dp3d_data.shards.runs import HASHED, changed_images, is_still_good, marker_path

# inputs, instances and failures that were finished since the last call
Advance = Callable[[int, int, int], None]
# index -> the inputs of each part that is to be made
Parts = Mapping[int, Sequence[Any]]


class PartMaker(Protocol):
    """What lives as long as a process: it holds the network and makes one part at a time."""

    def make(self, index: int, part: Sequence[Any], advance: Advance, lost: Collection[int] = ()) -> None:
        """Make and write part `index` of a plan, telling of every input that is finished.

        Args:
            lost: places in the part of inputs that end their process: rows of failures, never looked at.
        """

    def probe(self, one: Any) -> None:
        """Work on one input and write nothing: its process ends, or it is not to blame."""


class Job(Protocol):
    """All that a process must know to work, whatever the part; it travels to every process once."""

    def start(self) -> PartMaker:
        """Load what is needed; called once in each process."""


@dataclass(frozen=True)
class Place:
    """Where parts are made.

    Attributes:
        workers: processes; one, without a cluster, is this process. 0 with a cluster: as many as it has.
        device: "cpu", "cuda" (each process on this machine gets a GPU of its own) or "cuda:N".
        scheduler: address of a running Dask scheduler.
        cluster: a cluster to start, see `pipelines.clusters`.
    """

    workers: int = 1
    device: str = "cpu"
    scheduler: str = ""
    cluster: str = ""

    @property
    def here(self) -> bool:
        """Whether this process makes the parts itself."""
        return self.workers == 1 and not self.scheduler and not self.cluster


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
    def place(self) -> Place: ...

    def images(self, part: Sequence[Any]) -> dict[str, Any]:
        """Image id -> file of the photographs that a part is made of."""


def begin_run(plan: Plan, kind: str) -> RunWriter:
    """The run of a plan, new, begun before or finished (`complete`); it holds the folder until it is closed.

    Raises:
        FolderBusy: another process writes there.
        RecipeMismatch: the folder holds the results of another recipe, or of photographs that have changed since.
    """
    writer = RunWriter(plan.out, kind=kind, recipe=plan.recipe, overwrite=plan.config.overwrite)
    if writer.complete:
        images = {name: path for part in plan.parts for name, path in plan.images(part).items()}
        changed = (
            (name for table in Run.open(plan.out).instances(HASHED) for name in changed_images(table, images))
            if images
            else ()
        )
        if (name := next(iter(changed), None)) is not None:
            raise RecipeMismatch("a photograph has changed since this run was made", got=name, path=plan.out)
    return writer


def missing_parts(plan: Plan, writer: RunWriter) -> Parts:
    """The parts that an earlier run did not finish, and those that are damaged or whose photographs have changed
    since."""
    done, todo = writer.done, {}
    for index, part in enumerate(plan.parts):
        if index not in done or not is_still_good(plan.out, index, plan.images(part)):
            marker_path(plan.out, index).unlink(missing_ok=True)
            todo[index] = part
    return todo


def make_missing_parts(plan: Plan, job: Job, writer: RunWriter, advance: Advance, say: Callable[[str], None]) -> None:
    """Make the parts of a plan that are missing."""
    todo = missing_parts(plan, writer)
    if done := sum(len(part) for index, part in enumerate(plan.parts) if index not in todo):
        advance(done, 0, 0)
    place = plan.place
    make_parts(job, todo, replace(place, workers=min(place.workers, max(len(todo), 1))), advance, say)


def finish_run(plan: Plan, writer: RunWriter, extra: dict[str, Any] | None = None) -> Run:
    """Write the settings, then the marker of a run whose parts are all there."""
    kept = plan.config.portable()
    write_text(plan.out / "config.toml", to_toml(kept))
    about = {"category": plan.config.category, "config": plain(kept), "extra": extra or {}}
    return writer.finish(template=plan.template, chunks=len(plan.parts), **about)


def make_parts(job: Job, parts: Parts, place: Place, advance: Advance, say: Callable[[str], None]) -> None:
    """Make the parts, here (one worker) or by worker processes; a part is the same wherever it is made.

    An error that is no input's own fault ends the run; parts that are finished stay.
    """
    with crew(place if parts else Place(), say) as make:
        make(job, parts, advance)


@contextmanager
def crew(place: Place, say: Callable[[str], None]) -> Iterator[Callable[[Job, Parts, Advance], None]]:
    """What makes parts of one job after the other: this process, or workers that end with the block."""
    if place.here:
        yield _make_here
        return
    from pipelines.cluster import connected, dashboard, make_on

    with connected(place) as client:
        say(dashboard(client))
        yield partial(make_on, client, say=say)


def _make_here(job: Job, parts: Parts, advance: Advance) -> None:
    if parts:
        maker = job.start()
        for index, part in parts.items():
            maker.make(index, part, advance)


def part_size(asked: int, count: int) -> int:
    """Inputs in a part: as asked, or a sixteenth of them, 10 to 250; the number of processes has no say in it."""
    return asked or min(max(-(-count // 16), 10), 250)


def worker_count(asked: int, parts: int, device: str) -> int:
    """Processes to start, never more than parts.

    Where none are asked for: one for each GPU on "cuda", one on a GPU that is named; on the CPU one per core, at most
    8, and only where each has two parts to make, since a process needs seconds to load the network.
    """
    if device == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        own_choice = min(cores, 8, parts // 2)
    else:
        own_choice = len(visible_gpus()) if device == "cuda" else 1
    return max(1, min(asked or own_choice, parts))


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them; none of them is touched."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        [name for name in named.split(",") if name]
        if named is not None
        else [str(n) for n in range(torch.cuda.device_count())]
    )
