"""The chunks of a run: the rows in them, what makes them, where they are made, and how a run goes on and ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from dp3d_data.config import plain, to_toml
from dp3d_data.errors import Dp3dError, FingerprintMismatch, InputCorrupt
from dp3d_data.files import write_text
from dp3d_data.geometry import Template
from dp3d_data.records import ImageRecord, present
from dp3d_data.shards import Run, RunWriter
from dp3d_data.shards.runs import HASHED, changed_images, is_still_good, marker_path
from pipelines.overlays import draw_overlays
from pipelines.settings import portable

# inputs, instances and failures that were finished since the last call
Advance = Callable[[int, int, int], None]
# told of what the user should know, a line at a time
Say = Callable[[str], None]
# index -> the inputs of each chunk that is to be made
Chunks = Mapping[int, Sequence[Any]]
# Makes and writes a chunk: its index, its inputs, who is told of every input that is finished, and the places in it of
# inputs that end their process: rows of failures, never looked at. Without an index it works on the inputs and writes
# nothing: the process ends, or they are not to blame.
MakeChunk = Callable[[int | None, Sequence[Any], Advance, Collection[int]], None]
# Travels to every process, which calls it once: it loads what the chunks need.
Load = Callable[[], MakeChunk]
# The rows of one input; told whether it ends its process, and is not to be looked at.
RowsOf = Callable[[Any, bool], "Rows"]
# Where an object lies in memory, which libraries tell of it: another place in every run.
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# why an image or an instance is left out
NOTHING_FOUND = "nothing found"
NO_BOX = "no box"
OUTSIDE = "box outside the image"
EMPTY_MASK = "empty mask"
CROWD = "crowd"
FEW_VERTICES = "few vertices"


@dataclass
class Rows:
    """What became of some images: rows of the three tables."""

    instances: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Rows) -> None:
        """Append the rows of another image."""
        self.instances += other.instances
        self.failures += other.failures
        self.rejects += other.rejects

    @contextmanager
    def failing(self, record: ImageRecord, stage: str, instance_id: str | None = None) -> Iterator[None]:
        """What goes wrong in the block ends it and is a row of failures of the image, or of one instance."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one bad image never ends a run
            self.failures.append(failure_row(record, stage, error, instance_id))

    def reject(self, instance_id: str, image_id: str, reason: str, value: float | None = None) -> None:
        """Note an instance, or an image as a whole, that is left out."""
        self.rejects.append({"instance_id": instance_id, "image_id": image_id, "reason": reason, "value": value})


def annotation_rows(record: ImageRecord) -> Rows:
    """The annotations of an image that are no objects to look at: faults fail, crowds are rejected."""
    hint = "correct this annotation in its file, or leave it out"
    faults = [InputCorrupt(fault, hint=hint) for fault in record.faults]
    rows = Rows(failures=[failure_row(record, "annotation", fault) for fault in faults])
    for name in record.crowds:
        rows.reject(f"{record.image_id}#{name}", record.image_id, CROWD)
    return rows


def failure_row(record: ImageRecord, stage: str, error: Exception, instance_id: str | None = None) -> dict[str, Any]:
    """One row of the failures table; the message names the instance, if any, and not the path."""
    message, name = str(error), type(error).__name__
    if isinstance(error, Dp3dError) and error.path is not None:
        message = message.removeprefix(f"{error.path}: ")
    if instance_id is not None:
        message = f"{instance_id}: {message}"
    told = {"stage": stage, "error": name, "message": ADDRESS.sub("", message) or name}
    return {"image_id": record.image_id, "path": record.path} | told


@dataclass(frozen=True)
class Executor:
    """Where chunks are made.

    Attributes:
        workers: processes; one, without a cluster, is this process. 0 with a cluster: as many as it has.
        device: "cpu", "cuda" (each process on this machine gets a GPU of its own) or "cuda:N".
        scheduler: address of a running Dask scheduler.
        cluster: a cluster to start, see `pipelines.cluster`.
    """

    workers: int = 1
    device: str = "cpu"
    scheduler: str = ""
    cluster: str = ""

    @property
    def here(self) -> bool:
        """Whether this process makes the chunks itself."""
        return self.workers == 1 and not self.scheduler and not self.cluster


@dataclass(frozen=True)
class Plan:
    """What a pipeline decides before anything is written.

    Attributes:
        kind: of the run: extract, synth or project.
        fingerprint: a hash of all that shapes the result.
        out: folder of the results.
        chunks: the inputs of each chunk.
        executor: where they are made.
        photographs: image id -> file, of what it is made of; a chunk whose photographs have changed is made again.
        rows: loads what a process needs, and gives what makes the rows of an input; None where `make_run` is not used.
        pictured: what overlays are drawn of, some of them, once the run is made.
        extra: what else the marker keeps.
    """

    kind: str
    config: Any
    template: Template
    fingerprint: str
    out: Path
    chunks: Sequence[Sequence[Any]]
    executor: Executor
    photographs: Mapping[str, str | Path] = field(default_factory=dict)
    rows: Callable[[], RowsOf] | None = None
    pictured: Sequence[ImageRecord] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of inputs."""
        return sum(map(len, self.chunks))


def chunked(inputs: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Chunks of `size` inputs; for 0 of a sixteenth of them, 10 to 250, for any number of workers."""
    size = size or min(max(-(-len(inputs) // 16), 10), 250)
    return [inputs[start : start + size] for start in range(0, len(inputs), size)]


def make_run(plan: Plan, advance: Advance = lambda *_: None, say: Say = lambda _: None) -> tuple[Run, bool]:
    """Run a plan to its end, going on where an earlier run of the same fingerprint stopped.

    Returns:
        The finished run, and whether anything was made now.

    Raises:
        FolderBusy: another process writes in the folder.
        FingerprintMismatch: the folder holds the results of other settings.
    """
    with begin_run(plan) as writer:
        if writer.complete:
            return Run.open(plan.out), False
        todo = missing_chunks(plan, writer)
        if done := plan.count - sum(map(len, todo.values())):
            advance(done, 0, 0)
        with submitting(plan.executor, len(todo), say) as make:
            make(partial(_row_by_row, present(plan.rows), writer), todo, advance)
        if plan.pictured:
            draw_overlays(plan.out, plan.pictured, plan.template, plan.config.overlays)
        return finish_run(plan, writer, plan.extra), True


def _row_by_row(load: Callable[[], RowsOf], writer: RunWriter) -> MakeChunk:
    """Makes chunks from the rows of each input."""
    rows_of = load()

    def make(index: int | None, chunk: Sequence[Any], advance: Advance, lost: Collection[int]) -> None:
        rows = Rows()
        for place, one in enumerate(chunk):
            found = rows_of(one, place in lost)
            rows.add(found)
            advance(1, len(found.instances), len(found.failures))
        if index is not None:
            writer.commit(index, **vars(rows), inputs=len(chunk))

    return make


def begin_run(plan: Plan) -> RunWriter:
    """The run of a plan, new, begun before or finished (`complete`); it holds the folder until it is closed.

    Raises:
        FolderBusy: another process writes there.
        FingerprintMismatch: the folder holds the results of other settings, or of photographs that have changed since.
    """
    writer = RunWriter(plan.out, kind=plan.kind, fingerprint=plan.fingerprint, overwrite=plan.config.overwrite)
    if writer.complete:
        for table in Run.open(plan.out).instances(HASHED) if plan.photographs else ():
            if changed := next(iter(changed_images(table, plan.photographs)), None):
                what = "a photograph has changed since this run was made"
                raise FingerprintMismatch(what, got=changed, path=plan.out)
    return writer


def missing_chunks(plan: Plan, writer: RunWriter) -> Chunks:
    """The chunks that are not finished or are damaged, and those whose photographs have changed since."""
    done, todo = writer.done, {}
    for index, chunk in enumerate(plan.chunks):
        if index not in done or not is_still_good(plan.out, index, plan.photographs):
            marker_path(plan.out, index).unlink(missing_ok=True)
            todo[index] = chunk
    return todo


def finish_run(plan: Plan, writer: RunWriter, extra: dict[str, Any] | None = None) -> Run:
    """Write the settings, then the marker of a run whose chunks are all there."""
    kept = portable(plan.config)
    write_text(plan.out / "config.toml", to_toml(kept))
    about = {"category": plan.config.category, "config": plain(kept), "extra": extra or {}}
    return writer.finish(template=plan.template, chunks=len(plan.chunks), **about)


@contextmanager
def submitting(executor: Executor, count: int, say: Say) -> Iterator[Callable[[Load, Chunks, Advance], None]]:
    """What makes `count` chunks, of one kind after the other: this process, or workers that end with the block.

    A chunk is the same wherever it is made. An error that is no input's own fault ends the run; finished chunks stay.
    """
    if executor.here or not count:
        yield make_here
        return
    from pipelines.cluster import connected, dashboard, make_on

    with connected(replace(executor, workers=min(executor.workers, count))) as client:
        say(dashboard(client))
        yield partial(make_on, client, say=say)


def make_here(load: Load, chunks: Chunks, advance: Advance) -> None:
    """Make the chunks one after the other."""
    make = load() if chunks else None
    for index, chunk in chunks.items():
        present(make)(index, chunk, advance, ())


def worker_count(asked: int, chunks: int, device: str) -> int:
    """Processes to start, never more than chunks.

    Where none are asked for: one for each GPU on "cuda", one on a GPU that is named; on the CPU one per core, at most
    8, and only where each has two chunks to make, since a process needs seconds to load the network.
    """
    if device == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        own_choice = min(cores, 8, chunks // 2)
    else:
        own_choice = len(visible_gpus()) if device == "cuda" else 1
    return max(1, min(asked or own_choice, chunks))


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them; none of them is touched."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(torch.cuda.device_count())) if named is None else named.split(",")
    return [name for name in names if name]
