"""Whether shards are what the manifest says: files, hashes, schema, ids, finite values; every fault named with its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dp3d_data.config import file_digest
from dp3d_data.errors import Dp3dError, ShardError
from dp3d_data.shards.basis import BASIS, read_basis
from dp3d_data.shards.files import read_table
from dp3d_data.shards.manifest import MANIFEST, read_manifest
from dp3d_data.shards.runs import MARKER, TEMPLATE, Run
from dp3d_data.shards.schema import INSTANCE_SCHEMA, PER_VERTEX, current, schema_problem


@dataclass(frozen=True)
class Fault:
    """A file and what is wrong with it."""

    file: str
    text: str


def verify(folder: str | Path) -> list[Fault]:
    """All faults of a shard folder or of a finished run folder; an empty list means that it can be trusted.

    Raises:
        InputMissing: neither shards nor a finished run.
    """
    folder = Path(folder)
    if (folder / MARKER).is_file() and not (folder / MANIFEST).is_file():
        return _verify_run(folder)
    try:
        manifest = read_manifest(folder)
    except ShardError as error:
        return [Fault(MANIFEST, f"{error.what} (got {error.got}, expected {error.expected})")]
    faults = list(_file_faults(folder, manifest["files"])) + list(_foreign_files(folder, manifest["files"]))
    damaged = {fault.file for fault in faults}
    if not damaged & {TEMPLATE, BASIS}:
        faults += _template_faults(folder, manifest)
    seen = _Seen()
    for entry in manifest["shards"]:
        if entry["name"] not in damaged:
            faults += [Fault(entry["name"], text) for text in shard_faults(folder / entry["name"], entry, manifest, seen)]
    return faults


def require_whole(folder: str | Path) -> None:
    """Pass in silence, or refuse the folder.

    Raises:
        ShardError: names the first bad file and counts the others.
    """
    faults = verify(folder)
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise ShardError(faults[0].text + more, path=Path(folder) / faults[0].file)


def _verify_run(folder: Path) -> list[Fault]:
    try:
        run = Run.open(folder)
        faults = list(_file_faults(folder, run.marker["files"]))
        return faults or _run_counts(run)
    except ShardError as error:
        return [Fault(Path(error.path or MARKER).name, f"{error.what} (got {error.got})")]


def _run_counts(run: Run) -> list[Fault]:
    found = sum(table.num_rows for table in run.instances(["instance_id"]))
    expected = run.counts["instances"]
    return [] if found == expected else [Fault(MARKER, f"{expected} instances announced, {found} found")]


def _file_faults(folder: Path, files: dict[str, str]) -> Iterator[Fault]:
    for name, expected in sorted(files.items()):
        if not (folder / name).is_file():
            yield Fault(name, "missing")
        elif (found := file_digest(folder / name)) != expected:
            yield Fault(name, f"damaged or replaced: SHA-256 {found[:16]}..., the manifest has {expected[:16]}...")


def _foreign_files(folder: Path, files: dict[str, str]) -> Iterator[Fault]:
    for path in sorted(folder.iterdir()):
        if path.name not in files and path.name != MANIFEST and not path.name.startswith("."):
            yield Fault(path.name, "foreign: not listed in the manifest")


def _template_faults(folder: Path, manifest: dict[str, Any]) -> Iterator[Fault]:
    from dp3d_data.bodies.template import Template

    try:
        template, basis = Template.load(folder / TEMPLATE), read_basis(folder / BASIS)
    except Dp3dError as error:
        yield Fault(Path(error.path or TEMPLATE).name, error.what)
        return
    if template.content_hash != manifest["template"]["hash"]:
        yield Fault(TEMPLATE, f"another template: {template.content_hash}, the manifest has {manifest['template']['hash']}")
    if len(basis.functions) != template.num_vertices or not np.isfinite(basis.functions).all():
        yield Fault(BASIS, f"not a finite basis of {template.num_vertices} vertices: {basis.functions.shape}")


class _Seen:
    """What must not repeat across shards: instance ids, and groups or images on two sides of the split."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.side: dict[str, str] = {}

    def faults(self, table: pa.Table) -> Iterator[str]:
        ids = table.column("instance_id").to_pylist()
        repeated = [name for name in ids if name in self.ids]
        self.ids.update(ids)
        if repeated or len(set(ids)) != len(ids):
            yield f"instance id twice: {(repeated or ids)[0]}"
        splits = table.column("split").to_pylist()
        for kind in ("group", "image_hash"):
            for key, split in zip(table.column(kind).to_pylist(), splits, strict=True):
                if key is not None and self.side.setdefault(f"{kind} {key}", split) != split:
                    yield f"{kind} {key} lies on both sides of the split"
                    break


def shard_faults(path: Path, entry: dict[str, Any], manifest: dict[str, Any], seen: _Seen) -> Iterator[str]:
    """What is wrong with the content of one shard."""
    try:
        table = read_table(path)
    except Dp3dError as error:
        yield f"{error.what}: {error.got}"
        return
    problem = schema_problem(table.schema, INSTANCE_SCHEMA)
    if problem:
        yield problem
        return
    table = current(table)
    if table.num_rows != entry["instances"]:
        yield f"{table.num_rows} instances, the manifest has {entry['instances']}"
    for name, expected in (("template_hash", manifest["template"]["hash"]), ("split", entry["split"])):
        other = set(table.column(name).to_pylist()) - {expected}
        if other:
            yield f"{name} {other.pop()}, expected {expected}"
    yield from value_faults(table, manifest["template"]["num_vertices"])
    yield from seen.faults(table)


def value_faults(table: pa.Table, num_vertices: int) -> Iterator[str]:
    """Lists of unequal length, vertex ids out of range or order, numbers that are not finite."""
    ids = table.column("vertex_ids").combine_chunks()
    offsets, flat = ids.offsets.to_numpy(), ids.flatten().to_numpy()
    offsets = offsets - (offsets[0] if len(offsets) else 0)
    for name in PER_VERTEX[1:]:
        column = table.column(name).combine_chunks()
        lengths, filled = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), column.is_valid()
        if not np.array_equal(lengths, np.where(filled, np.diff(offsets), 0)):
            yield f"{name} and vertex_ids differ in length"
    if len(flat) and (flat.min() < 0 or flat.max() >= num_vertices):
        yield f"vertex id {flat.min() if flat.min() < 0 else flat.max()} outside the template's 0..{num_vertices - 1}"
    inside = np.ones(max(len(flat) - 1, 0), dtype=bool)
    starts = offsets[1:-1]
    inside[starts[(starts > 0) & (starts < len(flat))] - 1] = False
    if (np.diff(flat)[inside] <= 0).any():
        yield "vertex ids do not ascend"
    truth = table.column("true_vertices").drop_null().combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
    if (truth != 3 * num_vertices).any():
        yield f"true_vertices hold {truth[0]} numbers, expected {3 * num_vertices}"
    for field in table.schema:
        values = table.column(field.name).drop_null().combine_chunks()
        values = values.flatten() if pa.types.is_list(field.type) else values
        if pa.types.is_floating(values.type) and not np.isfinite(values.to_numpy(zero_copy_only=False)).all():
            yield f"{field.name} holds a number that is not finite"
