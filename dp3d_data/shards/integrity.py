"""Whether shards are what the manifest says: files, hashes, schema, ids, finite values; each fault with its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dp3d_data.config import file_digest
from dp3d_data.errors import Dp3dError, ShardError
from dp3d_data.shards.files import BASIS, MANIFEST, read_basis, read_manifest
from dp3d_data.shards.index import content_hashes
from dp3d_data.shards.inputs import open_parquet, read_group
from dp3d_data.shards.runs import MARKER, TEMPLATE, Run
from dp3d_data.shards.schema import PER_VERTEX
from dp3d_data.shards.table import list_values

# The schema version from which rows carry the hash of their content.
HASHED = 3

# What people read beside the shards: no data, in no list of hashes.
COMPANIONS = ("README.md", "report.html")


# A file, and what is wrong with it.
Fault = tuple[str, str]


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
        return [(MANIFEST, f"{error.what} (got {error.got}, expected {error.expected})")]
    faults = list(_file_faults(folder, manifest["files"])) + list(_foreign_files(folder, manifest["files"]))
    damaged = {file for file, _ in faults}
    if not damaged & {TEMPLATE, BASIS}:
        faults += _template_faults(folder, manifest)
    names: dict[str, str] = {}
    for entry in manifest["shards"]:
        if entry["name"] not in damaged:
            texts = shard_faults(folder / entry["name"], entry, manifest, names)
            faults += [(entry["name"], text) for text in texts]
    return faults + [(MANIFEST, text) for text in _count_faults(manifest)]


def require_files(folder: str | Path) -> None:
    """Pass if every file of a shard folder is there and what the manifest says, and no other; content is not read.

    Raises:
        InputMissing: no finished shards here.
        ShardError: names the first bad file and counts the others.
    """
    files = read_manifest(folder)["files"]
    faults = [*_file_faults(Path(folder), files), *_foreign_files(Path(folder), files)]
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise ShardError(faults[0][1] + more, path=Path(folder) / faults[0][0])


def _verify_run(folder: Path) -> list[Fault]:
    try:
        run = Run.open(folder)
        if faults := list(_file_faults(folder, run.marker["files"])):
            return faults
        found, expected = sum(table.num_rows for table in run.instances(["instance_id"])), run.counts["instances"]
        return [] if found == expected else [(MARKER, f"{expected} instances announced, {found} found")]
    except ShardError as error:
        return [(Path(error.path or MARKER).name, f"{error.what} (got {error.got})")]


def _file_faults(folder: Path, files: dict[str, str]) -> Iterator[Fault]:
    for name, expected in sorted(files.items()):
        if not (folder / name).is_file():
            yield (name, "missing")
        elif (found := file_digest(folder / name)) != expected:
            yield (name, f"damaged or replaced: SHA-256 {found[:16]}..., the manifest has {expected[:16]}...")


def _foreign_files(folder: Path, files: dict[str, str]) -> Iterator[Fault]:
    for path in sorted(folder.iterdir()):
        if path.name not in (*files, *COMPANIONS, MANIFEST) and not path.name.startswith("."):
            yield (path.name, "foreign: not listed in the manifest")


def _template_faults(folder: Path, manifest: dict[str, Any]) -> Iterator[Fault]:
    from dp3d_data.geometry.template import Template

    try:
        template, basis = Template.load(folder / TEMPLATE), read_basis(folder / BASIS)
    except Dp3dError as error:
        yield (Path(error.path or TEMPLATE).name, error.what)
        return
    if template.content_hash != (expected := manifest["template"]["hash"]):
        yield (TEMPLATE, f"another template: {template.content_hash}, the manifest has {expected}")
    if len(basis.functions) != template.num_vertices or not np.isfinite(basis.functions).all():
        yield (BASIS, f"not a finite basis of {template.num_vertices} vertices: {basis.functions.shape}")


def _count_faults(manifest: dict[str, Any]) -> Iterator[str]:
    """Sums of the manifest that do not agree with each other."""
    for name, split in manifest["splits"].items():
        entries = [entry for entry in manifest["shards"] if entry["split"] == name]
        found = sum(entry["instances"] for entry in entries)
        if (found, len(entries)) != (split["instances"], split["shards"]):
            announced = f"{name} has {split['instances']} instances in {split['shards']} shards"
            yield f"{announced}, the shards listed {found} in {len(entries)}"
    kept, found = manifest["account"]["kept"], sum(entry["instances"] for entry in manifest["shards"])
    if kept != found:
        yield f"{kept} instances kept, the shards listed hold {found}"


def _repeats(table: pa.Table, split: str, names: dict[str, str], group_too: bool) -> Iterator[str]:
    """Instance ids that came before, and images, or groups too, that came in another split."""
    expected = len(names) + table.num_rows
    names |= {f"instance_id {name}": split for name in table.column("instance_id").to_pylist()}
    if len(names) < expected:
        yield f"{expected - len(names)} instance ids twice"
    for kind in ("group", "image_hash") if group_too else ("image_hash",):
        keys = table.column(kind).drop_null().unique().to_pylist()
        torn = [key for key in keys if names.setdefault(f"{kind} {key}", split) != split]
        if torn:
            yield f"{kind} {torn[0]} lies in two splits"


def shard_faults(path: Path, entry: dict[str, Any], manifest: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    """What is wrong with the content of one shard, whose row groups are read one after the other.

    Args:
        names: the instance ids, groups and images of all shards before, with their splits; those of this one are added.
    """
    group_too = manifest.get("settings", {}).get("together", "group") == "group"
    rows, texts = 0, dict[str, None]()
    try:
        with open_parquet(path) as file:
            for group in range(file.num_row_groups):
                table = read_group(file, path, group)
                rows += table.num_rows
                texts |= dict.fromkeys(_group_faults(table, entry, manifest))
                texts |= dict.fromkeys(_repeats(table, entry["split"], names, group_too))
    except Dp3dError as error:
        yield f"{error.what}: {error.got}"
        return
    if rows != entry["instances"]:
        yield f"{rows} instances, the manifest has {entry['instances']}"
    yield from texts


def _group_faults(table: pa.Table, entry: dict[str, Any], manifest: dict[str, Any]) -> Iterator[str]:
    for name, expected in (("template_hash", manifest["template"]["hash"]), ("split", entry["split"])):
        other = set(table.column(name).unique().to_pylist()) - {expected}
        if other:
            yield f"{name} {other.pop()}, expected {expected}"
    faults = list(value_faults(table, manifest["template"]["num_vertices"]))
    yield from faults
    if not faults and manifest["schema_version"] >= HASHED:
        wrong = [a != b for a, b in zip(table.column("content_hash").to_pylist(), content_hashes(table), strict=True)]
        if any(wrong):
            name = table.column("instance_id")[wrong.index(True)]
            yield f"instance {name}: its content is not what its content_hash says"


def value_faults(table: pa.Table, num_vertices: int) -> Iterator[str]:
    """Lists of unequal length, vertex ids out of range or order, numbers that are not finite."""
    offsets, flat = list_values(table.column("vertex_ids"))
    for name in PER_VERTEX[1:]:
        column = table.column(name).combine_chunks()
        filled = column.is_valid().to_numpy(zero_copy_only=False)
        if not np.array_equal(np.diff(list_values(column)[0]), np.where(filled, np.diff(offsets), 0)):
            yield f"{name} and vertex_ids differ in length"
    if len(flat) and (flat.min() < 0 or flat.max() >= num_vertices):
        yield f"vertex id {flat.min() if flat.min() < 0 else flat.max()} outside the template's 0..{num_vertices - 1}"
    inside = np.ones(max(len(flat) - 1, 0), dtype=bool)
    starts = offsets[1:-1]
    inside[starts[(starts > 0) & (starts < len(flat))] - 1] = False
    if (np.diff(flat)[inside] <= 0).any():
        yield "vertex ids do not ascend"
    for name, length in (("true_vertices", 3 * num_vertices), ("camera_matrix", 12)):
        lengths = table.column(name).drop_null().combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
        if (lengths != length).any():
            yield f"{name} hold {lengths[lengths != length][0]} numbers, expected {length}"
    for field in table.schema:
        values = table.column(field.name).drop_null().combine_chunks()
        values = values.flatten() if pa.types.is_list(field.type) else values
        if pa.types.is_floating(values.type) and not np.isfinite(values.to_numpy(zero_copy_only=False)).all():
            yield f"{field.name} holds a number that is not finite"
