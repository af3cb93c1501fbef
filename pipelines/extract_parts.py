"""The chunks of an extraction for all categories, the tally of all images, and what a run will take."""

from __future__ import annotations

import io
import shutil
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.errors import WorkerLost
from dp3d_data.filters import Tally
from dp3d_data.records import ImageRecord
from dp3d_data.shards import INSTANCE_SCHEMA, Run, RunWriter, instance_batch
from dp3d_data.shards.files import read_table, table_options
from dp3d_data.shards.run_writer import amend, failed_in
from dp3d_data.shards.runs import HASHED, MARKER, changed_images, chunk_path, done_chunks, found_run
from pipelines.annotate import Annotate, Annotator, Views, annotate_in_passes, limited_threads
from pipelines.annotators import PrecomputedAnnotator, annotate_one_by_one, own_annotator, own_version
from pipelines.chunks import Advance, MakeChunk, Rows, failure_row

if TYPE_CHECKING:
    from pipelines.extract import ExtractPlan


# The stage of an image that ends its worker process.
WORKER = "worker"
DEADLY = "the worker process ended each time that it worked on this image"
OPENS = "see whether it opens elsewhere"


def shared_chunks(missing: Mapping[str, Mapping[int, Sequence[ImageRecord]]]) -> dict[int, list[Views]]:
    """Number -> the images of all chunks of that number that are missing.

    Args:
        missing: category -> number -> images of the chunk.
    """
    shared = {}
    for index in sorted(set().union(*missing.values())):
        images: dict[str, Views] = {}
        for name, chunks in missing.items():
            for record in chunks.get(index, ()):
                images.setdefault(record.image_id, {})[name] = record
        shared[index] = list(images.values())
    return shared


def load_chunks(plans: Mapping[str, ExtractPlan], writers: Mapping[str, RunWriter]) -> MakeChunk:
    """Load the network of some categories; what makes their chunks."""
    with limited_threads(next(iter(plans.values())).config.threads):
        return partial(_make_chunk, annotation_of(plans), writers)


def _make_chunk(
    annotate: Annotate,
    writers: Mapping[str, RunWriter],
    index: int | None,
    chunk: Sequence[Views],
    advance: Advance,
    lost: Collection[int],
) -> None:
    """Annotate the images of one number, or those that failed before, and write their tables; see `MakeChunk`."""
    if index is None:
        annotate(chunk, advance)
        return
    records = {name: [views[name] for views in chunk if name in views] for name in writers}
    open_writers = {name: writer for name, writer in writers.items() if not writer.holds(index)}
    wanted = {name: _wanted(writer, index, records[name]) for name, writer in open_writers.items()}
    rows, todo = {name: Rows() for name in wanted}, []
    for place, views in enumerate(chunk):
        views = {name: record for name, record in views.items() if record.image_id in wanted.get(name, ())}
        if views and place not in lost:
            todo.append(views)
            continue
        for name, record in views.items():
            rows[name].failures.append(failure_row(record, WORKER, WorkerLost(DEADLY, hint=OPENS)))
        advance(1, 0, len(views))
    for name, own in (pair for one in annotate(todo, advance) for pair in one.items()):
        rows[name].add(own)
    for name, writer in open_writers.items():
        names = [record.image_id for record in records[name]]
        if writer.retries:
            amend(writer, index, names, wanted[name], vars(rows[name]))
        else:
            writer.commit(index, **vars(rows[name]), inputs=len(names))


def annotation_of(plans: Mapping[str, ExtractPlan]) -> Annotate:
    """What turns images into rows of each category: one network for all of them, loaded here, or what needs none."""
    make_predictor = next(iter(plans.values())).make_predictor
    if make_predictor is None:
        return partial(annotate_one_by_one, {name: _precomputed(plan) for name, plan in plans.items()})
    predictor = make_predictor()
    of_category = getattr(predictor, "of_category", None) if len(plans) > 1 else None
    networks = {}
    for name, plan in plans.items():
        own = of_category(name) if of_category else predictor
        networks[name] = Annotator(plan.config, own, plan.template, plan.model)
    return partial(annotate_in_passes, networks)


def _precomputed(plan: ExtractPlan) -> PrecomputedAnnotator:
    """The annotator of another package, or the correspondences of the source."""
    source = own_annotator(plan.config, plan.template) if own_version(plan.config.model) else plan.inputs.source
    return PrecomputedAnnotator(plan.config, source, plan.template, plan.model)


def _wanted(writer: RunWriter, index: int, records: Sequence[ImageRecord]) -> set[str]:
    """The images of a chunk that are to be worked on."""
    if not writer.retries:
        return {record.image_id for record in records}
    table = read_table(chunk_path(writer.folder, "instances", index), HASHED)
    return failed_in(writer.folder, index) | set(changed_images(table, {one.image_id: one.path for one in records}))


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
    images: Tally
    instances: int
    rejects: dict[str, int]
    failures: int
    turned: int
    fresh: bool


def outcome(run: Run, records: Sequence[ImageRecord], fresh: bool) -> Outcome:
    """The tally of a finished run of these images: every one is kept, failed, or rejected for its first reason.

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
    images = Tally(len(records), len(widths), dict(Counter(reasons.values())), len(failed)).check()
    by_reason = Counter(rejects["reason"].to_pylist())
    turned = sum(one.size is not None and one.size[0] != widths.get(one.image_id, one.size[0]) for one in records)
    return Outcome(run, images, run.counts["instances"], dict(by_reason), len(failures), turned, fresh)


PROBES = 4
# An overlay of 960 pixels as JPEG.
PICTURE_BYTES = 150_000
# Seconds in which Dask and its processes start.
CLUSTER_SECONDS = 5.0


# What a folder holds -> what a dry run says of it.
STATES = {
    "new": "a new run",
    "unfinished": "goes on with an unfinished run",
    "finished": "a finished run of this fingerprint",
    "other settings": "this folder holds other settings: it will be refused without --out or --overwrite",
}


def estimate(*plans: ExtractPlan) -> list[str]:
    """What the folders hold (of several the first unfinished), what is to be done, and its time and space, a line each.

    A few images, spread evenly over what is to be done, are worked on.

    Raises:
        CheckpointError, TemplateError: a network that cannot be loaded or belongs to another template.
    """
    states, todo = zip(*(unfinished_chunks(plan) for plan in plans), strict=True)
    chunks = shared_chunks({plan.config.category: missing for plan, missing in zip(plans, todo, strict=True)})
    images, executor = [views for chunk in chunks.values() for views in chunk], plans[0].executor
    state = next((state for state in states if state != "finished"), "finished") if images else states[0]
    everything = len({record.image_id for plan in plans for record in plan.records})
    lines = [
        f"dry run, nothing is written · {', '.join(str(plan.out) for plan in plans)}: {STATES[state]}",
        f"  {len(images)} of {everything} images to do, in {len(chunks)} chunk{'s' * (len(chunks) != 1)}",
    ]
    if not images:
        return lines
    loading, an_image, rows = probe(plans, images)
    starting, looked_at = loading + (0 if executor.here else CLUSTER_SECONDS), min(PROBES, len(images))
    time = timedelta(seconds=round(starting + an_image * len(images) / max(executor.workers, 1)))
    pictures = PICTURE_BYTES * sum(min(plan.config.overlays, len(plan.records)) for plan in plans)
    empty, free = encoded_bytes([]), free_bytes(plans[0].out)
    files = empty * sum(len(missing) for missing in todo)
    size = (encoded_bytes(rows.instances) - empty) * len(images) // looked_at + files + pictures
    found = f"{len(rows.instances)} instances, {len(rows.rejects)} rejected, {len(rows.failures)} failed"
    lines.append(f"  looked at {looked_at}: {found}")
    for row in rows.failures:
        lines.append(f"    {row['image_id']} · {row['stage']}: {row['error']}: {row['message'].splitlines()[0]}")
    lines.append(f"  about {time} and {size / 1e6:.1f} MB of {free / 1e9:.1f} GB that are free")
    if size > free:
        lines.append("  that is more than is free: choose another folder with --out")
    return lines


def unfinished_chunks(plan: ExtractPlan) -> tuple[str, dict[int, Sequence[ImageRecord]]]:
    """What the plan's folder holds, and what remains to be done of each chunk; nothing is written."""
    found, chunks = found_run(plan.out), dict[int, Sequence[ImageRecord]](enumerate(plan.chunks))
    if found is None or plan.config.overwrite:
        return "new", chunks
    finished = (plan.out / MARKER).is_file()
    if finished and plan.config.retry_failed:
        failed = set(Run.open(plan.out).failures()["image_id"].to_pylist())
        kept = {index: [record for record in chunk if record.image_id in failed] for index, chunk in chunks.items()}
        return "finished", {index: chunk for index, chunk in kept.items() if chunk}
    if found != ("extract", plan.fingerprint):
        return "other settings", chunks
    if finished:
        return "finished", {}
    done = done_chunks(plan.out)
    return "unfinished", {index: chunk for index, chunk in chunks.items() if index not in done}


def probe(plans: Sequence[ExtractPlan], images: Sequence[Views]) -> tuple[float, float, Rows]:
    """Seconds to load the network, seconds an image, and the rows of the images looked at."""
    chosen = [images[place] for place in sorted({number * len(images) // PROBES for number in range(PROBES)})]
    rows, began = Rows(), time.perf_counter()
    annotate = annotation_of({plan.config.category: plan for plan in plans})
    loading = time.perf_counter() - began
    annotate(chosen[:1], lambda *_: None)
    began = time.perf_counter()
    for one in (one for found in annotate(chosen, lambda *_: None) for one in found.values()):
        rows.add(one)
    return loading, (time.perf_counter() - began) / len(chosen), rows


def encoded_bytes(rows: Sequence[dict[str, Any]]) -> int:
    """Size of a file with these instances."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_batches([instance_batch(rows)]), buffer, **table_options(INSTANCE_SCHEMA))
    return buffer.tell()


def free_bytes(folder: Path) -> int:
    """Space that is free where a folder is or would be."""
    place = folder.absolute()
    return shutil.disk_usage(next(one for one in (place, *place.parents) if one.exists())).free
