"""A build under way: the external shuffle, the shards, and a hidden folder with all that a killed build goes on from.

Rows are dealt to the row groups they belong to, partition by partition, and gathered row group by row group. Memory
holds one partition, or one row group, at a time; the partitions wait on disk in between, one Arrow file for each, with
one record batch for each row group that it has rows of.
"""

from __future__ import annotations

import json
import math
import operator
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from dp3d_data.config import file_digest
from dp3d_data.errors import Dp3dError, InputMissing, ShardError
from dp3d_data.files import check_digest, growing, read_json, require_keys, sweep, write_json
from dp3d_data.filters import FilterConfig
from dp3d_data.shards.files import BASIS, ENTRY_KINDS, MANIFEST, REJECTS, table_options
from dp3d_data.shards.index import rounded, trimmed
from dp3d_data.shards.inputs import Partition
from dp3d_data.shards.plan import SPLITS
from dp3d_data.shards.runs import TEMPLATE
from dp3d_data.shards.schema import INSTANCE_SCHEMA
from dp3d_data.shards.table import keypoint_lists

BUILDING = ".building"
_RECIPE = "recipe.json"
_SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d{{5,}}\.parquet")


def begin_building(out: Path, fingerprint: str) -> None:
    """Go on with what this fingerprint has finished in a folder, or discard what another one left unfinished.

    Any number of processes writes partitions and shards then, whole.
    """
    recipe = out / BUILDING / _RECIPE
    try:
        found = read_json(recipe, "mark of a build").get("recipe")
    except Dp3dError:
        found = None
    if recipe.parent.exists() and found != fingerprint:
        discard_shards(out)
    write_json(recipe, {"recipe": fingerprint})


def partition_path(out: Path, what: str, partition: int) -> Path:
    """Where the "index", the "places" or the dealt "rows" of a partition lie."""
    return out / BUILDING / f"{what}-{partition:05d}.arrow"


def note_shard(out: Path, entry: dict[str, Any], statistics: dict[str, Any]) -> None:
    """Keep that a shard is finished."""
    write_json(out / BUILDING / f"{entry['name']}.json", {"entry": entry, "statistics": statistics})


def noted_shard(out: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Entry and statistics of a finished shard, if its file is still what was written."""
    kinds = {"entry": dict, "statistics": dict}
    try:
        content = read_json(out / BUILDING / f"{name}.json", "note of a shard", kinds)
        require_keys(content["entry"], ENTRY_KINDS, "note of a shard", out / BUILDING)
        check_digest(file_digest(out / name), content["entry"]["sha256"], out / name)
    except (Dp3dError, OSError):
        return None
    return content["entry"], content["statistics"]


def end_building(out: Path) -> None:
    """Drop the traces; the manifest is there."""
    shutil.rmtree(out / BUILDING, ignore_errors=True)
    sweep(out)


def discard_shards(out: Path) -> None:
    """Delete the files of an earlier build, manifest first, and nothing else."""
    (out / MANIFEST).unlink(missing_ok=True)
    for path in out.glob("*.parquet"):
        if _SHARD.fullmatch(path.name):
            path.unlink()
    for name in (REJECTS, TEMPLATE, BASIS):
        (out / name).unlink(missing_ok=True)
    end_building(out)


_GROUPS = b"dp3d.row_groups"
_POSITION = "position"
# Columns that a build fills in.
FILLED = ("instance_id", "group", "split", "content_hash")
PLACES = pa.schema([("row_group", pa.int32()), (_POSITION, pa.int32())] + [(name, pa.string()) for name in FILLED])
_SCHEMA = pa.schema([*INSTANCE_SCHEMA, pa.field(_POSITION, pa.int32())])


def deal(
    partition: Partition, places: pa.Table, path: Path, filters: FilterConfig, area_shares: Float[np.ndarray, "K"]
) -> Path:
    """Write the kept rows of a partition, as shards hold them, ordered by row group and position.

    Args:
        places: PLACES of each row of the partition; row group -1 leaves it out.
        filters, area_shares: as in the index.

    Raises:
        InputMissing, ShardError: a file of the partition is gone or damaged; names it.
    """
    parts, start = [], 0
    for table in trimmed(partition.tables(), filters, area_shares):
        here = places.slice(start, table.num_rows)
        start += table.num_rows
        kept = pc.greater_equal(here.column("row_group"), 0)
        if pc.any(kept).as_py():
            parts.append(_filled(rounded(table.filter(kept)), here.filter(kept)))
    if start != len(places):
        what = "the inputs changed while the shards were built"
        raise ShardError(what, got=f"{start} rows", expected=len(places), path=path)
    order = places.filter(pc.greater_equal(places.column("row_group"), 0)).select(["row_group", _POSITION])
    ranks = pc.sort_indices(order, sort_keys=[("row_group", "ascending"), (_POSITION, "ascending")])
    group = order.column("row_group").to_numpy()[ranks.to_numpy()]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(group) > 0])) if len(group) else np.zeros(0, int)
    rows = pa.concat_tables(parts).combine_chunks().take(ranks) if parts else _SCHEMA.empty_table()
    schema, bounds = _SCHEMA.with_metadata({_GROUPS: json.dumps(group[starts].tolist())}), [*starts, len(group)]
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)
    whole = rows.combine_chunks().to_batches()
    with growing(path) as stream, pa.ipc.new_file(stream, schema, options=options) as sink:
        for begin, end in zip(bounds, bounds[1:], strict=False):
            sink.write_batch(whole[0].slice(begin, end - begin))
    return path


def _filled(table: pa.Table, here: pa.Table) -> pa.Table:
    """The rows with their new names, groups, splits and hashes, and with their position."""
    for name in FILLED:
        table = table.set_column(table.schema.get_field_index(name), INSTANCE_SCHEMA.field(name), here.column(name))
    return table.append_column(_POSITION, here.column(_POSITION)).cast(_SCHEMA)


# Row group -> the files and their record batches that hold rows of it.
Dealt = dict[int, list[tuple[pa.ipc.RecordBatchFileReader, int]]]


def open_dealt(paths: Sequence[Path]) -> Dealt:
    """The dealt partitions of a build.

    Raises:
        InputMissing: one is gone or damaged.
    """
    batches: Dealt = {}
    for path in paths:
        try:
            # Read, not mapped: mapped pages of all partitions would count as this process's memory in the end.
            file = pa.ipc.open_file(pa.OSFile(str(path)), options=pa.ipc.IpcReadOptions(use_threads=False))
        except (FileNotFoundError, pa.ArrowException) as error:
            hint = "build again with --overwrite"
            raise InputMissing("a partition of this build is gone or damaged", path=path, hint=hint) from error
        for number, group in enumerate(json.loads(file.schema.metadata[_GROUPS])):
            batches.setdefault(group, []).append((file, number))
    return batches


def gather(dealt: Dealt, group: int, rows: int) -> pa.Table:
    """The rows of one row group, in order.

    Raises:
        ShardError: there are not as many as planned.
    """
    batches = [file.get_batch(number) for file, number in dealt.get(group, [])]
    table = pa.Table.from_batches(batches, schema=_SCHEMA).combine_chunks()
    position = table.column(_POSITION).to_numpy()
    order = np.argsort(position, kind="stable")
    if not np.array_equal(position[order], np.arange(rows)):
        got, hint = f"{len(position)} rows", "run the command again with --overwrite"
        raise ShardError("rows were lost while the shards were built", got=got, expected=rows, hint=hint)
    return table.drop_columns([_POSITION]).take(order).replace_schema_metadata(INSTANCE_SCHEMA.metadata)


# What is known of a column: rows, nulls, values (lists count by entry), their total and squares, and where there are
# numbers their low and high.
Sums = dict[str, Any]


def column_sums(column: pa.ChunkedArray) -> Sums:
    """The sums of a column of numbers, of lists of numbers, or of text (rows, nulls and values only)."""
    array = column.combine_chunks()
    flat = array.flatten() if pa.types.is_list(array.type) else array.drop_null()
    sums: Sums = {"rows": len(column), "nulls": column.null_count, "values": len(flat), "total": 0.0, "squares": 0.0}
    if len(flat) and (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
        numbers = flat.to_numpy(zero_copy_only=False)
        sums |= {"low": float(numbers.min()), "high": float(numbers.max())}
        numbers = numbers.astype(np.float64)
        sums |= {"total": float(numbers.sum()), "squares": float(np.square(numbers, out=numbers).sum())}
    return sums


def table_sums(table: pa.Table, num_vertices: int) -> dict[str, Any]:
    """The sums of a table's columns by name and of its instances' radii, and how many instances show each vertex."""
    return {
        "columns": {name: column_sums(table.column(name)) for name in table.column_names},
        "radius": column_sums(pa.chunked_array([pa.array(keypoint_radii(table))])),
        "visible": np.bincount(keypoint_lists(table)[1], minlength=num_vertices)[:num_vertices].tolist(),
    }


def joined_sums(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The sums of two tables or of two columns; {} stands for nothing."""
    ways: dict[str, Callable[[Any, Any], Any]] = {
        "low": min,
        "high": max,
        "visible": lambda a, b: np.add(a, b).tolist(),
    }
    joined = one | other
    for name in one.keys() & other.keys():
        way = joined_sums if isinstance(one[name], dict) else ways.get(name, operator.add)
        joined[name] = way(one[name], other[name])
    return joined


def summary(sums: Sums) -> dict[str, Any]:
    """What the manifest says of a column."""
    result: dict[str, Any] = {"rows": sums["rows"], "nulls": sums["nulls"]}
    if "low" in sums:
        mean = sums["total"] / sums["values"]
        deviation = math.sqrt(max(sums["squares"] / sums["values"] - mean * mean, 0.0))
        numbers = {"min": sums["low"], "max": sums["high"], "mean": mean, "std": deviation}
        result |= {"values": sums["values"]} | {name: float(f"{number:.7g}") for name, number in numbers.items()}
    return result


def keypoint_radii(table: pa.Table) -> Float[np.ndarray, "N"]:
    """Root mean square distance of each instance's visible keypoints to their mean, image pixels; 0 without any."""
    offsets, _, *axes = keypoint_lists(table)
    counts = np.diff(offsets)
    row = np.repeat(np.arange(len(counts)), counts)
    number = np.maximum(counts, 1)
    variance = np.zeros(len(counts))
    for values in (axis.astype(np.float64) for axis in axes):
        mean = np.bincount(row, values, minlength=len(counts)) / number
        variance += np.bincount(row, (values - mean[row]) ** 2, minlength=len(counts)) / number
    return np.sqrt(variance)


def write_shard(
    path: Path, split: str, groups: Iterable[pa.Table], num_vertices: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a shard, one row group in memory at a time; its entry in the manifest, and its sums (see `table_sums`)."""
    sums: dict[str, Any] = {}
    rows: list[int] = []

    with growing(path) as stream, pq.ParquetWriter(stream, INSTANCE_SCHEMA, **table_options(INSTANCE_SCHEMA)) as sink:
        for table in groups:
            sink.write_table(table, row_group_size=max(table.num_rows, 1))
            sums = joined_sums(sums, table_sums(table, num_vertices))
            rows.append(table.num_rows)
    entry: dict[str, Any] = {"name": path.name, "split": split, "instances": sum(rows), "row_groups": rows}
    return entry | {"bytes": path.stat().st_size, "sha256": file_digest(path)}, sums
