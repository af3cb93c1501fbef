"""Tables, the manifest and the spectral basis as files, each whole or not at all; same content, same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from dp3d_data.config import file_digest
from dp3d_data.errors import InputCorrupt, InputMissing, ShardError
from dp3d_data.files import bare_name, check_digest, growing, json_digest, read_json, require_keys, write_json
from dp3d_data.limits import read_arrays
from dp3d_data.shards.schema import COLUMNS, INSTANCE_SCHEMA, READABLE, SCHEMA_VERSION, current, schema_problem

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template


def table_options(schema: pa.Schema) -> dict[str, Any]:
    """How tables are encoded: each column as the schema says, then zstd; pages carry checksums."""
    known = [COLUMNS[name] for name in schema.names if name in COLUMNS]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [column.path for column in known if column.encoding == "DICTIONARY"],
        "column_encoding": {column.path: column.encoding for column in known if column.encoding != "DICTIONARY"},
        "write_page_checksum": True,
        "store_schema": True,
    }


def write_table(path: str | Path, table: pa.Table | pa.RecordBatch) -> Path:
    """One Parquet file, whole or not at all."""
    whole = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
    with growing(path) as stream:
        pq.write_table(whole, stream, **table_options(whole.schema))
    return Path(path)


def arrow_bytes(path: str | Path) -> pa.Buffer:
    """A file's bytes in memory of Arrow's own.

    A thread of Arrow's may be the last to let go of them, at times when the interpreter has ended already: were they
    Python's, the process would abort there, after all its work is done.
    """
    with open(path, "rb") as file:
        data = pa.allocate_buffer(os.fstat(file.fileno()).st_size)
        file.readinto(memoryview(data))
    return data


def read_table(path: str | Path, columns: list[str] | None = None, sha256: str | None = None) -> pa.Table:
    """Read a Parquet file.

    Args:
        sha256: of the file; the content that was hashed is the content that is decoded.

    Raises:
        InputMissing: no such file.
        ShardError: not a Parquet file, or a damaged one; names it.
    """
    with reading(path):
        data = arrow_bytes(path)
        if sha256 is not None:
            check_digest(hashlib.sha256(data).hexdigest(), sha256, path)
        return pq.read_table(pa.BufferReader(data), columns=columns, partitioning=None)


def read_instances(path: str | Path, columns: list[str] | None = None, sha256: str | None = None) -> pa.Table:
    """Read a table of instances with today's columns, or those named.

    Raises:
        InputMissing, ShardError: as `read_table`, or of another schema; names it.
    """
    table = read_table(path, columns, sha256)
    wanted = pa.schema([INSTANCE_SCHEMA.field(name) for name in columns or INSTANCE_SCHEMA.names])
    if problem := schema_problem(table.schema, wanted):
        raise ShardError("not a table of instances", got=problem, path=path)
    return current(table, columns)


def checked_file(path: Path, sha256: object, gone: str, hint: str) -> Path:
    """The path of a file, once its bytes are what is written of it.

    Raises:
        InputMissing, ShardError: it is gone (for which `gone` and `hint` are said) or damaged; names it.
    """
    if not path.is_file():
        raise InputMissing(gone, path=path, hint=hint)
    check_digest(file_digest(path), sha256, path)
    return path


@contextmanager
def reading(path: str | Path, kind: str = "Parquet", **hint: str) -> Iterator[None]:
    """What goes wrong while a file is read, as one error that names it.

    Raises:
        InputMissing: no such file.
        ShardError: it is damaged, or of another kind.
    """
    if not Path(path).is_file():
        raise InputMissing("no such table", path=path, **hint)
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        got = str(error).splitlines()[0]
        raise ShardError(f"cannot be read as {kind}", got=got, expected=f"a whole {kind} file", path=path) from error


def write_arrow(path: str | Path, table: pa.Table) -> Path:
    """One Arrow file for our own later use, whole or not at all."""
    with growing(path) as stream, pa.ipc.new_file(stream, table.schema) as sink:
        sink.write_table(table)
    return Path(path)


def read_arrow(path: str | Path) -> pa.Table:
    """Read what write_arrow wrote.

    Raises:
        InputMissing: no such file.
        ShardError: damaged.
    """
    with reading(path, "Arrow"), pa.ipc.open_file(pa.BufferReader(arrow_bytes(path))) as file:
        return file.read_all()


MANIFEST = "manifest.json"
REJECTS = "rejects.parquet"
FORMAT = "dp3d-shards"
OWN_HASH = "manifest_sha256"
# What every version has, and what readers rely on.
_KINDS = {
    "recipe": str, "category": str, "files": dict, "shards": list, "splits": dict, "template": dict, "basis": dict,
    "account": dict, "inputs": list, "settings": dict, "statistics": dict, "normalisation": dict,
}  # fmt: skip
_TEMPLATE_KINDS = {"name": str, "hash": str, "num_vertices": int, "unit": str, "factor": (int, float)}
ENTRY_KINDS = {"name": str, "split": str, "instances": int, "bytes": int, "sha256": str}


def write_manifest(folder: Path, content: dict[str, Any]) -> Path:
    """Write the manifest with its format, schema version and own hash."""
    return write_json(folder / MANIFEST, {"format": FORMAT, "schema_version": SCHEMA_VERSION, **content}, OWN_HASH)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read and check a manifest.

    Raises:
        InputMissing: no manifest: not a shard folder, or a build that was not finished.
        ShardError: damaged, changed by hand, of another format or version, or with names that lead out of the folder.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise no_shards(folder)
    content = read_json(path, "manifest", seal="")
    if content.get("format") != FORMAT:
        raise ShardError("not a manifest of shards", got=content.get("format"), expected=FORMAT, path=path)
    if (version := content.get("schema_version")) not in READABLE:
        raise ShardError("shards of another schema version", got=version, expected=READABLE, path=path)
    found, expected = json_digest(content, OWN_HASH), content.get(OWN_HASH)
    if found != expected:
        raise ShardError("the manifest has been changed or damaged", got=found, expected=expected, path=path)
    require_keys(content, _KINDS, "manifest", path)
    require_keys(content["template"], _TEMPLATE_KINDS, "template of the manifest", path)
    for entry in content["shards"]:
        require_keys(entry if isinstance(entry, dict) else {}, ENTRY_KINDS, "list of shards", path)
    for name in (*content["files"], *(entry["name"] for entry in content["shards"])):
        bare_name(name, path)
    return content


def no_shards(address: str | Path) -> InputMissing:
    """The error of a place without a manifest."""
    hint = "build the shards, or finish a build that was stopped: dp3d-data build-shards"
    return InputMissing("no manifest.json here, so these are no finished shards", path=address, hint=hint)


BASIS = "basis.npz"
COUNT = 64


class Basis(NamedTuple):
    """Laplace-Beltrami eigenfunctions of a template.

    Attributes:
        eigenvalues: [J] ascending, per square template unit.
        functions: [K, J], mass-normalised, signs fixed.
    """

    eigenvalues: Float[np.ndarray, "J"]
    functions: Float[np.ndarray, "K J"]


def template_basis(template: Template) -> Basis:
    """The first eigenfunctions of a template; fewer than COUNT where it has few vertices."""
    from dp3d_data.geometry.laplacian import laplace_beltrami

    eigenvalues, functions = laplace_beltrami(template, min(COUNT, template.num_vertices - 2))
    return Basis(np.asarray(eigenvalues, dtype=np.float64), np.asarray(functions, dtype=np.float32))


def read_basis(path: str | Path) -> Basis:
    """The basis beside shards, an .npz of its two arrays.

    Raises:
        InputMissing: no such file.
        ShardError: damaged.
    """
    if not Path(path).is_file():
        hint = "build them again: dp3d-data build-shards --overwrite"
        raise InputMissing("no basis beside the shards", path=path, hint=hint)
    try:
        arrays = read_arrays(path)
        return Basis(arrays["eigenvalues"], arrays["functions"])
    except (InputCorrupt, KeyError) as error:
        raise ShardError("damaged basis", got=getattr(error, "got", f"no {error}"), path=path) from error
