"""What shards are built from: finished runs and other shards, seen alike, and the partitions in which they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.config import file_digest
from dp3d_data.errors import NothingToDo, ShardError, UsageError
from dp3d_data.files import check_digest
from dp3d_data.shards.files import MANIFEST, read_manifest, reading
from dp3d_data.shards.runs import MARKER, TEMPLATE, Run
from dp3d_data.shards.schema import INSTANCE_SCHEMA, current, schema_problem

SHARDS = "shards"
# Rows are read in partitions of about so many bytes, each of which tells how well it is encoded: other partitions,
# other shards.
PARTITION_BYTES = 96 << 20


def open_input(folder: str | Path) -> Run:
    """Open a finished run, or finished shards, which are seen as a run of the kind SHARDS.

    Raises:
        InputMissing: neither.
        ShardError: its marker is damaged or of another schema version.
    """
    folder = Path(folder)
    if (folder / MARKER).is_file() or not (folder / MANIFEST).is_file():
        return Run.open(folder)
    manifest = read_manifest(folder)
    files = {entry["name"]: entry["sha256"] for entry in manifest["shards"]}
    marker = {
        "kind": SHARDS,
        "recipe": manifest["recipe"],
        "counts": {"instances": sum(entry["instances"] for entry in manifest["shards"])},
        "template": {name: manifest["template"][name] for name in ("name", "hash")},
        "files": files | {TEMPLATE: manifest["files"].get(TEMPLATE)},
        "extra": {"subset": manifest.get("subset")},
    }
    return Run(folder, marker)


def open_inputs(folders: Sequence[str | Path]) -> list[Run]:
    """Open inputs and put them in an order that does not depend on where they lie.

    Raises:
        NothingToDo: no folder.
        InputMissing: a folder is no finished run and holds no finished shards.
        UsageError: they use different templates or subsets of its vertices.
    """
    if not folders:
        hint = "extract some first: dp3d-data extract --category dog, or: dp3d-data synth --category dog"
        raise NothingToDo("no instances to build shards from", hint=hint)
    inputs = sorted((open_input(folder) for folder in folders), key=lambda one: (one.kind, one.digest))
    hint = "build them apart: dp3d-data build-shards --input DIR --out DIR"
    if any(one.subset != inputs[0].subset for one in inputs):
        got = "; ".join(f"{one.folder} has {one.subset['count'] if one.subset else 'all'}" for one in inputs)
        raise UsageError("these runs keep different vertices", got=got, expected="one subset", hint=hint)
    if len({one.template_notes.get("hash") for one in inputs}) > 1:
        got = "; ".join(f"{one.folder} has {one.template_notes.get('name')}" for one in inputs)
        raise UsageError("these runs use different templates", got=got, expected="one template", hint=hint)
    return inputs


@dataclass(frozen=True)
class Partition:
    """Consecutive rows of the inputs, read together.

    Attributes:
        start, rows: their place in the order of all inputs.
        parts: file, its SHA-256 and the row groups of it.
    """

    start: int
    rows: int
    parts: tuple[tuple[Path, str, tuple[int, ...]], ...]

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows with today's columns, or those named, row group by row group; see `open_parquet`."""
        for path, _, groups in self.parts:
            with open_parquet(path) as file:
                for group in groups:
                    yield read_group(file, path, group, columns)

    def check_files(self) -> None:
        """Compare the hash of each file that begins here.

        Raises:
            ShardError: a file is not what its run says; names it.
        """
        for path, expected, groups in self.parts:
            if 0 in groups:
                check_digest(file_digest(path), expected, path)


def partitions(inputs: Sequence[Run], partition_bytes: int | None = None) -> list[Partition]:
    """Cut the inputs into partitions of whole row groups, of PARTITION_BYTES where nothing else is said; see
    `open_parquet`."""
    result: list[Partition] = []
    parts: list[tuple[Path, str, tuple[int, ...]]] = []
    start = rows = held = 0
    limit = PARTITION_BYTES if partition_bytes is None else partition_bytes
    for path, digest in ((one.folder / name, digest) for one in inputs for name, digest in one.instance_hashes.items()):
        with open_parquet(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            sizes = [(group.num_rows, group.total_byte_size) for group in groups]
        first = 0
        for group, (count, size) in enumerate(sizes):
            if held and held + size > limit:
                parts += [(path, digest, tuple(range(first, group)))] if group > first else []
                result.append(Partition(start, rows, tuple(parts)))
                start, rows, held, parts, first = start + rows, 0, 0, [], group
            rows, held = rows + count, held + size
        parts.append((path, digest, tuple(range(first, len(sizes)))))
    if parts:
        result.append(Partition(start, rows, tuple(parts)))
    return result


def open_parquet(path: Path) -> pq.ParquetFile:
    """A file of instances.

    Raises:
        InputMissing: no such file.
        ShardError: not a Parquet file, a damaged one, or one of another schema; names it.
    """
    with reading(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    problem = schema_problem(file.schema_arrow, INSTANCE_SCHEMA)
    if problem:
        file.close()
        raise ShardError("not a table of instances", got=problem, path=path)
    return file


def read_group(file: pq.ParquetFile, path: Path, group: int, columns: list[str] | None = None) -> pa.Table:
    """One row group with today's columns, or those named.

    Raises:
        ShardError: damaged; names the file.
    """
    known = set(file.schema_arrow.names)
    wanted = None if columns is None else [name for name in columns if name in known]
    with reading(path):
        return current(file.read_row_group(group, columns=wanted, use_threads=False), columns)
