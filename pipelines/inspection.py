"""Shards and runs in words: a summary, one row, the statistics of each column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from rich.filesize import decimal

from dp3d_data.errors import UsageError
from dp3d_data.filters import Tally
from dp3d_data.shards.build import joined_sums, summary, table_sums
from dp3d_data.shards.files import read_manifest
from dp3d_data.shards.inputs import SHARDS, partitions
from dp3d_data.shards.runs import Run
from dp3d_data.shards.schema import INSTANCE_COLUMNS

# Entries of a list that are shown.
SHOWN = 6


def summary_lines(found: Run) -> list[str]:
    """What a folder holds, a line each."""
    lines = [f"{found.folder}: {found.kind} · fingerprint {found.fingerprint}"]
    if found.kind != SHARDS:
        counts = " · ".join(f"{name} {count}" for name, count in found.counts.items())
        template = f"template {found.template_notes.get('name', 'unknown')} {found.template_notes.get('hash', '')}"
        size = decimal(sum(path.stat().st_size for path in found.instance_files))
        return [*lines, f"  {counts}", f"  {template}", f"  {len(found.instance_files)} files, {size}"]
    manifest = read_manifest(found.folder)
    template, tally = manifest["template"], manifest["account"]
    for name, split in manifest["splits"].items():
        files = [entry for entry in manifest["shards"] if entry["split"] == name]
        size = decimal(sum(entry["bytes"] for entry in files))
        held = f"{split['instances']} instances of {split['groups']} groups"
        lines.append(f"  {name}: {held} in {len(files)} shards, {size}")
    lines.append(f"  {Tally(**tally).line()}")
    for one in manifest["inputs"]:
        lines.append(f"  from {one['kind']} {one['recipe']}: {one['counts']['instances']} instances")
    unit = f"{template['factor']:.4g} m a unit" if template["unit"] == "m" else "unit unknown"
    lines.append(f"  template {template['name']} {template['hash']}: {template['num_vertices']} vertices, {unit}")
    subset = manifest.get("subset")
    lines += [f"  keypoints of {subset['count']} vertices ({subset['how']})"] if subset else []
    return [*lines, f"  category {manifest['category']} · schema {manifest['schema_version']}"]


def find_row(found: Run, wanted: str | int) -> dict[str, Any]:
    """One row with today's columns, lists as arrays: by instance id, or by its number over all files.

    Raises:
        UsageError: there is none.
        InputMissing, ShardError: a file is gone or damaged; names it.
    """
    for partition in partitions([found], partition_bytes=0):
        partition.check_files()
        if partition.rows:
            ids = pa.concat_tables(partition.tables(["instance_id"])).column(0)
            at = ids.index(wanted).as_py() if isinstance(wanted, str) else wanted - partition.start
            if 0 <= at < len(ids):
                table = pa.concat_tables(partition.tables())
                return {name: _value(table.column(name)[at]) for name in table.column_names}
    what = f"no instance {wanted!r}" if isinstance(wanted, str) else f"no row {wanted}"
    expected = f"one of {found.counts['instances']} instances"
    raise UsageError(what, expected=expected, hint="dp3d-data inspect PATH --row 0")


def _value(scalar: pa.Scalar) -> Any:
    return np.array(scalar.values) if isinstance(scalar, pa.ListScalar) and scalar.is_valid else scalar.as_py()


def row_lines(row: dict[str, Any]) -> list[str]:
    """A row, a line for each column: value, unit; of a list its length and first entries."""
    return [f"{column.name:<18} {_shown(row[column.name])} {column.unit}".rstrip() for column in INSTANCE_COLUMNS]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, np.ndarray):
        first = " ".join(f"{number:.6g}" for number in value[:SHOWN])
        return f"[{len(value)}] {first}{' ...' if len(value) > SHOWN else ''}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def statistics_lines(found: Run) -> list[str]:
    """Statistics of each column as a table: those of the manifest, or counted now for a run."""
    if found.kind == SHARDS:
        statistics = read_manifest(found.folder)["statistics"]
    else:
        sums: dict[str, Any] = {"columns": {}}
        for partition in partitions([found]):
            partition.check_files()
            for table in partition.tables():
                sums = joined_sums(sums, table_sums(table, 0))
        statistics = {name: summary(column) for name, column in sums["columns"].items()}
    lines = [
        f"{'column':<18} {'rows':>10} {'nulls':>10} {'values':>12} {'min':>12} {'max':>12} {'mean':>12} {'std':>12}"
    ]
    for name, values in statistics.items():
        numbers = [f"{values[key]:>12.6g}" if key in values else f"{'-':>12}" for key in ("min", "max", "mean", "std")]
        lines.append(
            f"{name:<18} {values['rows']:>10} {values['nulls']:>10} {values.get('values', '-'):>12} {' '.join(numbers)}"
        )
    return lines
