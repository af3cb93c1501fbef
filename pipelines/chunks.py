"""The chunks of a run: the rows in them, what makes them, where they are made, and how a run goes on and ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

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
    told = {"stage": stage, "error": name, "message": message or name}
    return {"image_id": record.image_id, "path": record.path} | told


class ChunkMaker(Protocol):
    """Makes one chunk of a run at a time. It travels to every process once, and keeps there what it loads."""

    def make(self, index: int, chunk: Sequence[Any], advance: Advance, lost: Collection[int] = ()) -> None:
        """Make and write chunk `index` of a plan, telling of every input that is finished.

        Args:
            lost: places in the chunk of inputs that end their process: rows of failures, never looked at.
        """

    def probe(self, inputs: Sequence[Any]) -> None:
        """Load what is needed, work on inputs and write nothing: the process ends, or they are not to blame."""


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
    """What a pipeline decides before anything is written. Its inputs are numbers, of fits or of a world's instances.

    Attributes:
        kind: of the run.
        fingerprint: a hash of all that shapes the result.
        out: folder of the results.
        writer: of the run that it makes; see `ChunkMaker`.
    """

    kind: ClassVar[str]
    config: Any
    template: Template
    fingerprint: str
    out: Path
    writer: RunWriter | None = field(default=None, kw_only=True)

    @property
    def count(self) -> int:
        """Number of inputs."""
        raise NotImplementedError

    @property
    def chunks(self) -> Sequence[Sequence[Any]]:
        """The inputs of each chunk: as many as asked, or a sixteenth of them, 10 to 250, for any number of workers."""
        size = self.config.part or min(max(-(-self.count // 16), 10), 250)
        return [range(start, min(start + size, self.count)) for start in range(0, self.count, size)]

    @property
    def executor(self) -> Executor:
        """Processes on this machine."""
        return Executor(worker_count(self.config.workers, len(self.chunks), "cpu"))

    def images(self, chunk: Sequence[Any]) -> dict[str, Any]:
        """Image id -> file of the photographs that a chunk is made of."""
        return {}

    def load(self) -> None:
        """Load what a process needs."""

    def rows(self, number: int, lost: bool = False) -> Rows:
        """The rows of one input; `lost` where it ends its process, and is not to be looked at."""
        raise NotImplementedError

    def make(self, index: int, chunk: Sequence[Any], advance: Advance, lost: Collection[int] = ()) -> None:
        """Make and write the rows of one chunk."""
        rows = Rows()
        for place, number in enumerate(chunk):
            found = self.rows(number, place in lost)
            rows.add(found)
            advance(1, len(found.instances), len(found.failures))
        present(self.writer).commit(index, **vars(rows), inputs=len(chunk))

    def probe(self, inputs: Sequence[Any]) -> None:
        """Make rows, and keep none."""
        self.load()
        for number in inputs:
            self.rows(number)

    def photographs(self) -> list[ImageRecord]:
        """What overlays are drawn of."""
        return []

    def extra(self) -> dict[str, Any]:
        """What else the marker keeps."""
        return {}


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
            make(replace(plan, writer=writer), todo, advance)
        if photographs := plan.photographs():
            draw_overlays(plan.out, photographs, plan.template, plan.config.overlays)
        return finish_run(plan, writer, plan.extra()), True


def begin_run(plan: Plan) -> RunWriter:
    """The run of a plan, new, begun before or finished (`complete`); it holds the folder until it is closed.

    Raises:
        FolderBusy: another process writes there.
        FingerprintMismatch: the folder holds the results of other settings, or of photographs that have changed since.
    """
    writer = RunWriter(plan.out, kind=plan.kind, fingerprint=plan.fingerprint, overwrite=plan.config.overwrite)
    if writer.complete:
        images = {name: path for chunk in plan.chunks for name, path in plan.images(chunk).items()}
        for table in Run.open(plan.out).instances(HASHED) if images else ():
            if changed := next(iter(changed_images(table, images)), None):
                what = "a photograph has changed since this run was made"
                raise FingerprintMismatch(what, got=changed, path=plan.out)
    return writer


def missing_chunks(plan: Plan, writer: RunWriter) -> Chunks:
    """The chunks that are not finished or are damaged, and those whose photographs have changed since."""
    done, todo = writer.done, {}
    for index, chunk in enumerate(plan.chunks):
        if index not in done or not is_still_good(plan.out, index, plan.images(chunk)):
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
def submitting(executor: Executor, count: int, say: Say) -> Iterator[Callable[[ChunkMaker, Chunks, Advance], None]]:
    """What makes `count` chunks, of one maker after the other: this process, or workers that end with the block.

    A chunk is the same wherever it is made. An error that is no input's own fault ends the run; finished chunks stay.
    """
    if executor.here or not count:
        yield make_here
        return
    from pipelines.cluster import connected, dashboard, make_on

    with connected(replace(executor, workers=min(executor.workers, count))) as client:
        say(dashboard(client))
        yield partial(make_on, client, say=say)


def make_here(maker: ChunkMaker, chunks: Chunks, advance: Advance) -> None:
    """Make the chunks one after the other."""
    for index, chunk in chunks.items():
        maker.make(index, chunk, advance)


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
