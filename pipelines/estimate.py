"""What a run will take, told from a few of its images and without writing anything."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.records import ImageRecord
from dp3d_data.shards import INSTANCE_SCHEMA, Run, instance_batch
from dp3d_data.shards.files import table_options
from dp3d_data.shards.runs import MARKER, done_chunks, found_run
from pipelines.annotate import Views, annotate_views, limited_threads
from pipelines.chunks import Rows
from pipelines.extract import Plan
from pipelines.extract_parts import SharedChunks, annotators_of

PROBES = 4
# An overlay of 960 pixels as JPEG.
PICTURE_BYTES = 150_000
# Seconds in which Dask and its processes start.
CLUSTER_SECONDS = 5.0


@dataclass(frozen=True)
class Estimate:
    """What is known before a run.

    Attributes:
        state: "new", "unfinished", "finished" or "another recipe": what the folder holds, of several the first that is
            not finished.
        images, todo, chunks: images of the plan, those still to be worked on, and the chunks of them.
        looked_at, probed: how many images were worked on, and what came of them.
        seconds: from the start of the command to its end.
        disk_bytes, free_bytes: of what is still to be written, and free there.
    """

    state: str
    images: int
    todo: int
    chunks: int
    looked_at: int
    probed: Rows
    seconds: float
    disk_bytes: int
    free_bytes: int


def estimate(*plans: Plan) -> Estimate:
    """Work on a few images of the plans of some categories, spread evenly over what is to be done, and extrapolate.

    Raises:
        CheckpointError, TemplateError: a network that cannot be loaded or belongs to another template.
    """
    states, todo = zip(*(unfinished_chunks(plan) for plan in plans), strict=True)
    chunks = SharedChunks({plan.config.category: missing for plan, missing in zip(plans, todo, strict=True)})
    images, first = [views for chunk in chunks.values() for views in chunk], plans[0]
    rows, seconds, disk_bytes, looked_at = Rows(), 0.0, 0, min(PROBES, len(images))
    if images:
        loading, an_image, rows = probe(plans, images)
        starting = loading + (0 if first.executor.here else CLUSTER_SECONDS)
        seconds = starting + an_image * len(images) / max(first.executor.workers, 1)
        pictures = PICTURE_BYTES * sum(min(plan.config.overlays, len(plan.records)) for plan in plans)
        empty = encoded_bytes([])
        files = empty * sum(len(missing) for missing in todo)
        disk_bytes = (encoded_bytes(rows.instances) - empty) * len(images) // looked_at + files + pictures
    state = next((state for state in states if state != "finished"), "finished") if images else states[0]
    everything = len({record.image_id for plan in plans for record in plan.records})
    return Estimate(
        state, everything, len(images), len(chunks), looked_at, rows, seconds, disk_bytes, free_bytes(first.out)
    )


def unfinished_chunks(plan: Plan) -> tuple[str, dict[int, Sequence[ImageRecord]]]:
    """What the plan's folder holds, and what remains to be done of each chunk; nothing is written."""
    found, chunks = found_run(plan.out), dict[int, Sequence[ImageRecord]](enumerate(plan.chunks))
    if found is None or plan.config.overwrite:
        return "new", chunks
    finished = (plan.out / MARKER).is_file()
    if finished and plan.config.retry_failed:
        failed = set(Run.open(plan.out).failures()["image_id"].to_pylist())
        kept = {index: [record for record in chunk if record.image_id in failed] for index, chunk in chunks.items()}
        return "finished", {index: chunk for index, chunk in kept.items() if chunk}
    if found != ("extract", plan.recipe):
        return "another recipe", chunks
    if finished:
        return "finished", {}
    done = done_chunks(plan.out)
    return "unfinished", {index: chunk for index, chunk in chunks.items() if index not in done}


def probe(plans: Sequence[Plan], images: Sequence[Views]) -> tuple[float, float, Rows]:
    """Seconds to load the network, seconds an image, and the rows of the images looked at."""
    chosen = [images[place] for place in sorted({number * len(images) // PROBES for number in range(PROBES)})]
    rows, began = Rows(), time.perf_counter()
    annotators = annotators_of({plan.config.category: plan for plan in plans})
    loading = time.perf_counter() - began
    with limited_threads(plans[0].config.threads):
        annotate_views(annotators, chosen[:1])
        began = time.perf_counter()
        for one in (one for found in annotate_views(annotators, chosen) for one in found.values()):
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
