"""A finished run taken up again for its failed inputs alone, so that a kill at any instant loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.files import write_json
from dp3d_data.shards.files import read_table, write_table
from dp3d_data.shards.instances import Row, instance_batch, rows_batch
from dp3d_data.shards.run_parts import PARTS, instance_path, mark_part, marker_path, part_path
from dp3d_data.shards.run_writer import RunWriter
from dp3d_data.shards.runs import MARKER, START, Run
from dp3d_data.shards.schema import FAILURE_SCHEMA, REJECT_SCHEMA


def reopen(run: Run, parts: Sequence[Sequence[str]], recipe: str) -> int:
    """Make a finished run an unfinished one whose parts with failures are to be done.

    Args:
        parts: ids of the inputs of each part, in order.
        recipe: of the run that goes on; it may differ from the old one where failed files were mended.

    Returns:
        The number of inputs to try again. 0 leaves the run as it is.
    """
    failures, rejects = run.failures(), run.rejects()
    if not failures.num_rows:
        return 0
    for name in run.marker["files"]:
        run.check(name)
    part_of = {name: index for index, names in enumerate(parts) for name in names}
    for index, failed, rejected in zip(range(len(parts)), _split(failures, part_of, parts), _split(rejects, part_of, parts), strict=True):
        write_table(part_path(run.folder, "failures", index), failed)
        write_table(part_path(run.folder, "rejects", index), rejected)
        marker = marker_path(run.folder, index)
        if failed.num_rows:
            marker.unlink(missing_ok=True)
        else:
            instances = pq.read_metadata(instance_path(run.folder, index)).num_rows
            counts = {"inputs": len(parts[index]), "instances": instances, "rejects": rejected.num_rows, "failures": 0}
            mark_part(run.folder, index, counts)
    write_json(run.folder / PARTS / START, {"kind": run.kind, "recipe": recipe, "retries": True})
    (run.folder / MARKER).unlink()
    return len(failures["image_id"].unique())


def _split(table: pa.Table, part_of: dict[str, int], parts: Sequence[Sequence[str]]) -> list[pa.Table]:
    """The rows of each part; the table holds them part after part."""
    owners = np.array([part_of[name] for name in table["image_id"].to_pylist()], dtype=np.int64)
    ends = np.searchsorted(owners, np.arange(len(parts) + 1)).tolist()
    return [table.slice(start, end - start) for start, end in zip(ends, ends[1:], strict=False)]


def failed_in(folder: Path, index: int) -> set[str]:
    """The inputs of a part of a reopened run that are still to be tried again."""
    return set(read_table(part_path(folder, "failures", index))["image_id"].to_pylist())


def amend(writer: RunWriter, index: int, names: Sequence[str], retried: set[str], rows: dict[str, list[Row]]) -> None:
    """Write a part anew with other rows for the inputs that were tried again.

    Args:
        names: ids of the part's inputs, in order; the rows of the part follow it.
        retried: the inputs whose rows are replaced.
        rows: new rows of "instances", "rejects" and "failures".
    """
    folder = writer.folder
    old = {"instances": instance_path(folder, index), **{name: part_path(folder, name, index) for name in ("rejects", "failures")}}
    new = {
        "instances": instance_batch(rows["instances"]),
        "rejects": rows_batch(rows["rejects"], REJECT_SCHEMA),
        "failures": rows_batch(rows["failures"], FAILURE_SCHEMA),
    }
    tables = {name: _merged(read_table(old[name]), new[name], names, retried) for name in old}
    writer.commit_tables(index, tables, inputs=len(names))


def _merged(old: pa.Table, new: pa.RecordBatch, names: Sequence[str], retried: set[str]) -> pa.Table:
    kept = old.filter(pa.array([name not in retried for name in old["image_id"].to_pylist()], type=pa.bool_()))
    table = pa.concat_tables([kept.cast(new.schema), pa.Table.from_batches([new])])
    place = {name: number for number, name in enumerate(names)}
    order = np.argsort([place[name] for name in table["image_id"].to_pylist()], kind="stable")
    return table.take(pa.array(order, type=pa.int64())).combine_chunks()
