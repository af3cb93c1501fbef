"""The parts of an extraction: one pass over the images for all categories, a table of its own for each, and what became
of every image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dp3d_data.errors import WorkerLost
from dp3d_data.filters import Account
from dp3d_data.records import ImageRecord
from dp3d_data.shards import Run, RunWriter
from dp3d_data.shards.files import read_table
from dp3d_data.shards.run_writer import amend, failed_in
from dp3d_data.shards.runs import HASHED, changed_images, chunk_path, done_chunks, instance_path
from pipelines.annotate import RowMaker, Rows, failure_row, limited_threads
from pipelines.inputs import Views, annotate_views
from pipelines.parts import Advance, make_parts, missing_parts

if TYPE_CHECKING:
    from pipelines.extract import Plan


# The stage of an image that ends its worker process.
WORKER = "worker"


def make_together(begun: Sequence[tuple[Plan, RunWriter]], advance: Advance, say: Callable[[str], None]) -> None:
    """Make the parts that runs of several categories with one network lack, those of one number together."""
    plans = {plan.config.category: plan for plan, _ in begun}
    writers = {plan.config.category: writer for plan, writer in begun}
    chunks = Chunks({name: missing_parts(plan, writers[name]) for name, plan in plans.items()})
    first, everything = begun[0][0], {record.image_id for plan in plans.values() for record in plan.records}
    if done := len(everything) - sum(len(chunk) for chunk in chunks.values()):
        advance(done, 0, 0)
    job = ExtractJob({name: plan.without_records() for name, plan in plans.items()}, writers)
    make_parts(job, chunks, replace(first.place, workers=min(first.place.workers, max(len(chunks), 1))), advance, say)


@dataclass(frozen=True)
class Chunks(Mapping[int, list[Views]]):
    """Number -> the images of all parts of that number that are missing; put together when it is asked for.

    Attributes:
        missing: category -> number -> images of the part.
    """

    missing: Mapping[str, Mapping[int, Sequence[ImageRecord]]]

    def __getitem__(self, index: int) -> list[Views]:
        images: dict[str, Views] = {}
        for name, parts in self.missing.items():
            for record in parts.get(index, ()):
                images.setdefault(record.image_id, {})[name] = record
        return list(images.values())

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(set().union(*self.missing.values())))

    def __len__(self) -> int:
        return len(set().union(*self.missing.values()))


@dataclass(frozen=True)
class ExtractJob:
    """What every process must know, by category; see `pipelines.parts.Job`."""

    plans: Mapping[str, Plan]
    writers: Mapping[str, RunWriter]

    def start(self) -> ExtractParts:
        """Load the network."""
        with limited_threads(next(iter(self.plans.values())).config.threads):
            return ExtractParts(annotators_of(self.plans), self.writers)


def annotators_of(plans: Mapping[str, Plan]) -> dict[str, RowMaker]:
    """What turns images into rows of each category: one network for all of them, or a source that needs none."""
    first = next(iter(plans.values()))
    if len(plans) == 1 or first.make_predictor is None:
        return {name: plan.annotator() for name, plan in plans.items()}
    predictor = first.make_predictor()
    own = getattr(predictor, "of_category", lambda name: predictor)
    return {name: plan.annotator(own(name)) for name, plan in plans.items()}


@dataclass(frozen=True)
class ExtractParts:
    """Makes the parts of an extraction; see `pipelines.parts.PartMaker`."""

    annotators: Mapping[str, RowMaker]
    writers: Mapping[str, RunWriter]

    def make(self, index: int, part: Sequence[Views], advance: Advance, lost: Collection[int] = ()) -> None:
        """Annotate the images of the parts of one number, or those of them that failed before, and write their
        tables."""
        records = {name: [views[name] for views in part if name in views] for name in self.writers}
        wanted = {
            name: self._wanted(writer, index, records[name])
            for name, writer in self.writers.items()
            if not writer.holds(index)
        }
        rows, todo = {name: Rows() for name in wanted}, []
        for place, views in enumerate(part):
            views = {name: record for name, record in views.items() if record.image_id in wanted.get(name, ())}
            if views and place not in lost:
                todo.append(views)
                continue
            for name, record in views.items():
                error = WorkerLost(
                    "the worker process ended each time that it worked on this image",
                    hint="see whether it opens elsewhere",
                )
                rows[name].add(Rows(failures=[failure_row(record, WORKER, error)]))
            advance(1, 0, len(views))
        for found in self._annotated(todo, advance):
            for name, own in found.items():
                rows[name].add(own)
        for name, images in wanted.items():
            self._write(self.writers[name], index, [record.image_id for record in records[name]], images, rows[name])

    def probe(self, one: Views) -> None:
        """Annotate an image."""
        self._annotated([one])

    def _annotated(self, images: Sequence[Views], advance: Advance = lambda *_: None) -> list[dict[str, Rows]]:
        with limited_threads(next(iter(self.annotators.values())).config.threads):
            return annotate_views(self.annotators, images, advance)

    def _wanted(self, writer: RunWriter, index: int, part: Sequence[ImageRecord]) -> set[str]:
        """The images of a part that are to be worked on."""
        if not writer.retries:
            return {record.image_id for record in part}
        table = read_table(instance_path(writer.folder, index), HASHED)
        return failed_in(writer.folder, index) | set(changed_images(table, {one.image_id: one.path for one in part}))

    def _write(self, writer: RunWriter, index: int, names: Sequence[str], wanted: set[str], rows: Rows) -> None:
        if writer.retries:
            amend(writer, index, names, wanted, vars(rows))
        else:
            writer.commit(index, rows.instances, rows.failures, rows.rejects, inputs=len(names))


def deadly_images(folder: Path) -> set[str]:
    """The images of an unfinished run that end a worker process: this one is not to look at them."""
    tables = (read_table(chunk_path(folder, "failures", index)) for index in done_chunks(folder))
    return {row["image_id"] for table in tables for row in table.to_pylist() if row["stage"] == WORKER}


@dataclass(frozen=True)
class Outcome:
    """What a finished run holds.

    Attributes:
        images: by fate: one with an instance is kept, of the others one with a failure has failed.
        instances, failures: rows of the tables; a failure is of an image, an annotation or a detection.
        rejects: rows by reason.
        turned: images that are kept and whose annotations were turned as EXIF turns the photograph.
        fresh: whether the run was made now.
    """

    run: Run
    images: Account
    instances: int
    rejects: dict[str, int]
    failures: int
    turned: int
    fresh: bool


def outcome(run: Run, records: Sequence[ImageRecord], fresh: bool) -> Outcome:
    """The account of a finished run of these images: every one is kept, failed, or rejected for its first reason.

    Raises:
        Unaccounted: images disappeared.
    """
    widths: dict[str, int] = {}
    for table in run.instances(["image_id", "image_width"]):
        widths.update(zip(table["image_id"].to_pylist(), table["image_width"].to_pylist(), strict=True))
    failures = run.failures()["image_id"].to_pylist()
    failed, rejects = set(failures) - set(widths), run.rejects()
    reasons: dict[str, str] = {}
    for image, reason in zip(rejects["image_id"].to_pylist(), rejects["reason"].to_pylist(), strict=True):
        if image not in widths and image not in failed:
            reasons.setdefault(image, reason)
    images = Account(len(records), len(widths), dict(Counter(reasons.values())), len(failed)).check()
    by_reason = Counter(rejects["reason"].to_pylist())
    turned = sum(one.size is not None and one.size[0] != widths.get(one.image_id, one.size[0]) for one in records)
    return Outcome(run, images, run.counts["instances"], dict(by_reason), len(failures), turned, fresh)
