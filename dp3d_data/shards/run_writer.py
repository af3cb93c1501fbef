"""Writes a run chunk by chunk, so that it survives a kill, for one process at a time; takes up failed inputs again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dp3d_data.config import file_digest
from dp3d_data.errors import FingerprintMismatch, Unaccounted
from dp3d_data.files import locked, read_json, sweep, write_json
from dp3d_data.shards import runs
from dp3d_data.shards.files import read_table, write_table
from dp3d_data.shards.instances import rows_batch
from dp3d_data.shards.schema import SCHEMA_VERSION, SCHEMAS

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template


_CHUNK = re.compile(r"(instances|failures|rejects)-\d{5}\.parquet|\d{5}\.json|start\.json")


class RunWriter:
    """Writes a run chunk by chunk; run.json comes last and marks the folder as complete.

    Use: with RunWriter(folder, kind="extract", fingerprint=...) as writer: for each chunk not in writer.done, in any
    order and from any number of processes: writer.commit(index, instances, failures, rejects, inputs); then
    writer.finish(...). A chunk must be a function of its index alone; then the same inputs give the same bytes,
    whatever the workers.

    The writer holds the folder until it is finished, closed or forgotten; copies of it in worker processes only write
    chunks.

    Args:
        folder: made where missing. An unfinished run of the same fingerprint is taken up again; one that never finished
            a chunk stands in nobody's way.
        kind: "extract", "synth" or "project".
        fingerprint: a hash of all that shapes the result.
        overwrite: discard what the folder holds.

    Raises:
        FolderBusy: another process writes here.
        FingerprintMismatch: the folder holds the results of other settings.
        ShardError: what says whose results these are is damaged.
    """

    def __init__(self, folder: str | Path, *, kind: str, fingerprint: str, overwrite: bool = False) -> None:
        self.folder, self.kind, self.fingerprint = Path(folder), kind, fingerprint
        self.chunks = self.folder / runs.CHUNKS
        self.retries = False
        with ExitStack() as held:
            held.enter_context(locked(self.folder))
            self._begin(overwrite)
            self._held = held.pop_all()

    def _begin(self, overwrite: bool) -> None:
        """Take up what the folder holds of this run, and nothing of another."""
        if overwrite:
            discard_run(self.folder)
        found, own = runs.found_run(self.folder), (self.kind, self.fingerprint)
        if found is not None and found != own:
            if self.complete or self.done:
                what, got = "this folder holds the results of other settings", " ".join(found)
                raise FingerprintMismatch(what, got=got, expected=" ".join(own), path=self.folder)
            discard_run(self.folder)
        if self.complete:
            tidy(self.folder)
            return
        if (self.chunks / runs.START).is_file():
            self.retries = read_json(self.chunks / runs.START, "run marker", runs.START_KINDS)["retries"]
        write_json(self.chunks / runs.START, {"kind": self.kind, "recipe": self.fingerprint, "retries": self.retries})

    def close(self) -> None:
        """Let go of the folder."""
        self._held.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """The folder stays in the hands of one process."""
        return {**self.__dict__, "_held": ExitStack()}

    @property
    def complete(self) -> bool:
        """Whether this very run has been finished before."""
        return (self.folder / runs.MARKER).is_file()

    @property
    def done(self) -> set[int]:
        """Indices of the chunks already committed."""
        return runs.done_chunks(self.folder)

    def holds(self, index: int) -> bool:
        """Whether a chunk is committed."""
        return runs.marker_path(self.folder, index).is_file()

    def commit(
        self,
        index: int,
        instances: Iterable[dict[str, Any]] | pa.RecordBatch,
        failures: Iterable[dict[str, Any]] = (),
        rejects: Iterable[dict[str, Any]] = (),
        *,
        inputs: int,
    ) -> None:
        """Write chunk `index`: rows of the three tables, and how many inputs (images) they account for.

        Args:
            instances: rows, or a batch of INSTANCE_SCHEMA.
        """
        batch = instances if isinstance(instances, pa.RecordBatch) else rows_batch(instances, SCHEMAS["instances"])
        tables = {"instances": batch, "rejects": rows_batch(rejects, SCHEMAS["rejects"])}
        self.commit_tables(index, tables | {"failures": rows_batch(failures, SCHEMAS["failures"])}, inputs=inputs)

    def commit_tables(self, index: int, tables: dict[str, pa.Table | pa.RecordBatch], *, inputs: int) -> None:
        """Write chunk `index` from its tables "instances", "rejects" and "failures"; the marker comes last.

        Failures come after the others: a retry that is killed in between finds every image that it has to do again.

        Raises:
            FingerprintMismatch: another run took the folder while this chunk was made.
        """
        self._require_own()
        for name, path in runs.chunk_files(self.folder, index).items():
            write_table(path, tables[name])
        runs.mark_chunk(
            self.folder, index, {"inputs": inputs, **{name: table.num_rows for name, table in tables.items()}}
        )

    def _require_own(self) -> None:
        if runs.found_run(self.folder) != (self.kind, self.fingerprint) or self.complete:
            what, expected = "this folder was given to another run meanwhile", f"{self.kind} {self.fingerprint}"
            raise FingerprintMismatch(what, expected=expected, path=self.folder)

    def finish(
        self,
        *,
        template: Template | None,
        category: str,
        config: dict[str, Any],
        extra: dict[str, Any] | None = None,
        chunks: int | None = None,
    ) -> runs.Run:
        """Gather failures and rejects, store the template, write run.json, drop the chunks, let go of the folder.

        Args:
            template: stored as template.npz; None where only vertex ids are known.
            config: settings as plain values, kept for the record.
            extra: more to keep in run.json; plain values without times or machine names.
            chunks: how many chunks there must be; by default as many as there are.

        Raises:
            Unaccounted: a chunk is missing.
            ShardError: a chunk is damaged; names its file.
            FingerprintMismatch: another run took or finished the folder meanwhile.
        """
        self._require_own()
        done = sorted(self.done)
        if done != list(range(len(done) if chunks is None else chunks)):
            got, hint = f"{len(done)} chunks: {str(done)[:60]}", "run the same command again: it makes what is missing"
            raise Unaccounted("chunks of this run are missing", got=got, expected=chunks, hint=hint, path=self.folder)
        counts, names = dict.fromkeys(runs.COUNTS, 0), ["failures.parquet", "rejects.parquet"]
        for index in done:
            chunk = runs.check_chunk(self.folder, index)
            counts = {name: counts[name] + chunk[name] for name in counts}
        for name in ("failures", "rejects"):
            tables = [read_table(runs.chunk_path(self.folder, name, index)) for index in done]
            write_table(self.folder / f"{name}.parquet", pa.concat_tables([SCHEMAS[name].empty_table(), *tables]))
        names += [runs.chunk_path(self.folder, "instances", index).name for index in done]
        notes = None
        if template is not None:
            template.save(self.folder / runs.TEMPLATE)
            names.append(runs.TEMPLATE)
            notes = {"file": runs.TEMPLATE, "name": template.name, "hash": template.content_hash}
        marker = {
            "kind": self.kind,
            "recipe": self.fingerprint,
            "category": category,
            "config": config,
            "counts": counts,
            "schema_version": SCHEMA_VERSION,
            "template": notes,
            "files": {name: file_digest(self.folder / name) for name in names},
            "extra": extra or {},
        }
        write_json(self.folder / runs.MARKER, marker)
        tidy(self.folder)
        self.close()
        return runs.Run.open(self.folder)


def tidy(folder: Path) -> None:
    """Drop what only an unfinished run needs, what names the run last, and what killed writers left."""
    chunks = folder / runs.CHUNKS
    if chunks.is_dir():
        for path in sorted(chunks.iterdir(), key=lambda path: path.name == runs.START):
            if _CHUNK.fullmatch(path.name) or path.suffix == ".tmp":
                path.unlink()
        chunks.rmdir()
    sweep(folder)


def discard_run(folder: Path) -> None:
    """Delete the files a run has written and nothing else; a kill in between leaves a folder that says so."""
    if (folder / runs.MARKER).is_file():
        write_json(folder / runs.CHUNKS / runs.START, {"kind": "discarded", "recipe": "", "retries": False})
        (folder / runs.MARKER).unlink()
    for path in folder.glob("*.parquet"):
        if _CHUNK.fullmatch(path.name) or path.name in ("failures.parquet", "rejects.parquet"):
            path.unlink()
    (folder / runs.TEMPLATE).unlink(missing_ok=True)
    if (folder / runs.OVERLAYS).is_dir():
        for path in (folder / runs.OVERLAYS).glob("*.jpg"):
            path.unlink()
    tidy(folder)


def reopen(run: runs.Run, chunks: Sequence[Sequence[str]], fingerprint: str) -> int:
    """Make a finished run an unfinished one whose chunks with failures are to be done.

    Args:
        chunks: ids of the inputs of each chunk, in order.
        fingerprint: of the run that goes on; it may differ from the old one where failed files were mended.

    Returns:
        The number of inputs to try again. 0 leaves the run as it is.
    """
    failures, rejects = run.failures(), run.rejects()
    if not failures.num_rows:
        return 0
    for name in run.marker["files"]:
        run.check(name)
    chunk_of = {name: index for index, names in enumerate(chunks) for name in names}
    tables = (_split(table, chunk_of, chunks) for table in (failures, rejects))
    for index, (failed, rejected) in enumerate(zip(*tables, strict=True)):
        write_table(runs.chunk_path(run.folder, "failures", index), failed)
        write_table(runs.chunk_path(run.folder, "rejects", index), rejected)
        marker = runs.marker_path(run.folder, index)
        if failed.num_rows:
            marker.unlink(missing_ok=True)
        else:
            instances = pq.read_metadata(runs.chunk_path(run.folder, "instances", index)).num_rows
            counts = {"inputs": len(chunks[index]), "instances": instances, "rejects": rejected.num_rows, "failures": 0}
            runs.mark_chunk(run.folder, index, counts)
    write_json(run.folder / runs.CHUNKS / runs.START, {"kind": run.kind, "recipe": fingerprint, "retries": True})
    (run.folder / runs.MARKER).unlink()
    return len(failures["image_id"].unique())


def _split(table: pa.Table, chunk_of: dict[str, int], chunks: Sequence[Sequence[str]]) -> list[pa.Table]:
    """The rows of each chunk; the table holds them chunk after chunk."""
    owners = np.array([chunk_of[name] for name in table["image_id"].to_pylist()], dtype=np.int64)
    ends = np.searchsorted(owners, np.arange(len(chunks) + 1)).tolist()
    return [table.slice(start, end - start) for start, end in zip(ends, ends[1:], strict=False)]


def failed_in(folder: Path, index: int) -> set[str]:
    """The inputs of a chunk of a reopened run that are still to be tried again."""
    return set(read_table(runs.chunk_path(folder, "failures", index))["image_id"].to_pylist())


def amend(
    writer: RunWriter, index: int, names: Sequence[str], retried: set[str], rows: dict[str, list[dict[str, Any]]]
) -> None:
    """Write a chunk anew with other rows for the inputs that were tried again.

    Args:
        names: ids of the chunk's inputs, in order; the rows of the chunk follow it.
        retried: the inputs whose rows are replaced.
        rows: new rows of "instances", "rejects" and "failures".
    """
    place = {name: number for number, name in enumerate(names)}
    tables: dict[str, pa.Table | pa.RecordBatch] = {}
    for kind, path in runs.chunk_files(writer.folder, index).items():
        old, new = read_table(path), pa.Table.from_batches([rows_batch(rows[kind], SCHEMAS[kind])])
        kept = old.filter(pa.array([name not in retried for name in old["image_id"].to_pylist()], type=pa.bool_()))
        table = pa.concat_tables([kept.cast(new.schema), new])
        order = np.argsort([place[name] for name in table["image_id"].to_pylist()], kind="stable")
        tables[kind] = table.take(pa.array(order, type=pa.int64())).combine_chunks()
    writer.commit_tables(index, tables, inputs=len(names))
