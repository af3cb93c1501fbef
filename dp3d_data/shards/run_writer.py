"""Writes a run part by part, so that it survives a kill and only one process at a time has it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dp3d_data.config import file_digest
from dp3d_data.errors import RecipeMismatch, Unaccounted
from dp3d_data.files import locked, read_json, sweep, write_json
from dp3d_data.shards.files import read_table, write_table
from dp3d_data.shards.instances import Row, instance_batch, rows_batch
from dp3d_data.shards.run_parts import COUNTS, PARTS, check_part, done_parts, instance_path, mark_part, marker_path, part_path
from dp3d_data.shards.runs import MARKER, OVERLAYS, START, START_KINDS, TEMPLATE, Run, found_run
from dp3d_data.shards.schema import FAILURE_SCHEMA, REJECT_SCHEMA, SCHEMA_VERSION

if TYPE_CHECKING:
    from dp3d_data.geometry.template import Template

_PART = re.compile(r"(instances|failures|rejects)-\d{5}\.parquet|\d{5}\.json|start\.json")


class RunWriter:
    """Writes a run part by part; run.json comes last and marks the folder as complete.

    Use: with RunWriter(folder, kind="extract", recipe=...) as writer: for each part not in writer.done, in any order and
    from any number of processes: writer.commit(index, instances, failures, rejects, inputs); then writer.finish(...).
    A part must be a function of its index alone; then the same inputs give the same bytes, whatever the workers.

    The writer holds the folder until it is finished, closed or forgotten; copies of it in worker processes only write parts.

    Args:
        folder: made where missing. An unfinished run of the same recipe is taken up again; one that never finished a
            part stands in nobody's way.
        kind: "extract", "synth" or "project".
        recipe: fingerprint of all that shapes the result.
        overwrite: discard what the folder holds.

    Raises:
        FolderBusy: another process writes here.
        RecipeMismatch: the folder holds the results of another recipe.
        ShardError: what says whose results these are is damaged.
    """

    def __init__(self, folder: str | Path, *, kind: str, recipe: str, overwrite: bool = False) -> None:
        self.folder, self.kind, self.recipe = Path(folder), kind, recipe
        self.parts = self.folder / PARTS
        self.retries = False
        with ExitStack() as held:
            held.enter_context(locked(self.folder))
            self._begin(overwrite)
            self._held = held.pop_all()

    def _begin(self, overwrite: bool) -> None:
        """Take up what the folder holds of this run, and nothing of another."""
        if overwrite:
            discard_run(self.folder)
        found, own = found_run(self.folder), (self.kind, self.recipe)
        if found not in (None, own):
            if self.complete or self.done:
                got, expected = (f"{a} {b}" for a, b in (found, own))
                raise RecipeMismatch("this folder holds the results of another recipe", got=got, expected=expected, path=self.folder)
            discard_run(self.folder)
        if self.complete:
            tidy(self.folder)
            return
        if (self.parts / START).is_file():
            self.retries = read_json(self.parts / START, "run marker", START_KINDS)["retries"]
        write_json(self.parts / START, {"kind": self.kind, "recipe": self.recipe, "retries": self.retries})

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
        return (self.folder / MARKER).is_file()

    @property
    def done(self) -> set[int]:
        """Indices of the parts already committed."""
        return done_parts(self.folder)

    def holds(self, index: int) -> bool:
        """Whether a part is committed."""
        return marker_path(self.folder, index).is_file()

    def commit(
        self,
        index: int,
        instances: Iterable[Row] | pa.RecordBatch,
        failures: Iterable[Row] = (),
        rejects: Iterable[Row] = (),
        *,
        inputs: int,
    ) -> None:
        """Write part `index`: rows of the three tables, and how many inputs (images) they account for.

        Args:
            instances: rows, or a batch of INSTANCE_SCHEMA.
        """
        tables = {
            "instances": instances if isinstance(instances, pa.RecordBatch) else instance_batch(instances),
            "rejects": rows_batch(rejects, REJECT_SCHEMA),
            "failures": rows_batch(failures, FAILURE_SCHEMA),
        }
        self.commit_tables(index, tables, inputs=inputs)

    def commit_tables(self, index: int, tables: dict[str, pa.Table | pa.RecordBatch], *, inputs: int) -> None:
        """Write part `index` from its tables "instances", "rejects" and "failures"; the marker comes last.

        Failures come after the others: a retry that is killed in between finds every image that it has to do again.

        Raises:
            RecipeMismatch: another run took the folder while this part was made.
        """
        self._require_own()
        write_table(instance_path(self.folder, index), tables["instances"])
        for name in ("rejects", "failures"):
            write_table(part_path(self.folder, name, index), tables[name])
        mark_part(self.folder, index, {"inputs": inputs, **{name: table.num_rows for name, table in tables.items()}})

    def _require_own(self) -> None:
        if found_run(self.folder) != (self.kind, self.recipe) or self.complete:
            raise RecipeMismatch("this folder was given to another run meanwhile", expected=f"{self.kind} {self.recipe}", path=self.folder)

    def finish(
        self,
        *,
        template: Template | None,
        category: str,
        config: dict[str, Any],
        extra: dict[str, Any] | None = None,
        parts: int | None = None,
    ) -> Run:
        """Gather failures and rejects, store the template, write run.json, drop the traces of the parts, let go of the folder.

        Args:
            template: stored as template.npz; None where only vertex ids are known.
            config: settings as plain values, kept for the record.
            extra: more to keep in run.json; plain values without times or machine names.
            parts: how many parts there must be; by default as many as there are.

        Raises:
            Unaccounted: a part is missing.
            ShardError: a part is damaged; names its file.
            RecipeMismatch: another run took or finished the folder meanwhile.
        """
        self._require_own()
        done = sorted(self.done)
        if done != list(range(len(done) if parts is None else parts)):
            got, hint = f"{len(done)} parts: {str(done)[:60]}", "run the same command again: it makes the parts that are missing"
            raise Unaccounted("parts of this run are missing", got=got, expected=parts, hint=hint, path=self.folder)
        counts, names = dict.fromkeys(COUNTS, 0), ["failures.parquet", "rejects.parquet"]
        for index in done:
            part = check_part(self.folder, index)
            counts = {name: counts[name] + part[name] for name in counts}
        for name, schema in (("failures", FAILURE_SCHEMA), ("rejects", REJECT_SCHEMA)):
            tables = [read_table(part_path(self.folder, name, index)) for index in done]
            write_table(self.folder / f"{name}.parquet", pa.concat_tables([schema.empty_table(), *tables]))
        names += [instance_path(self.folder, index).name for index in done]
        if template is not None:
            template.save(self.folder / TEMPLATE)
            names.append(TEMPLATE)
        marker = {
            "kind": self.kind,
            "recipe": self.recipe,
            "category": category,
            "config": config,
            "counts": counts,
            "schema_version": SCHEMA_VERSION,
            "template": None if template is None else {"file": TEMPLATE, "name": template.name, "hash": template.content_hash},
            "files": {name: file_digest(self.folder / name) for name in names},
            "extra": extra or {},
        }
        write_json(self.folder / MARKER, marker)
        tidy(self.folder)
        self.close()
        return Run.open(self.folder)


def tidy(folder: Path) -> None:
    """Drop what only an unfinished run needs, and what killed writers left."""
    remove_parts(folder)
    sweep(folder)


def remove_parts(folder: Path) -> None:
    """Drop the parts of an unfinished run, what names the run last."""
    parts = folder / PARTS
    if parts.is_dir():
        for path in sorted(parts.iterdir(), key=lambda path: path.name == START):
            if _PART.fullmatch(path.name) or path.suffix == ".tmp":
                path.unlink()
        parts.rmdir()


def discard_run(folder: Path) -> None:
    """Delete the files a run has written and nothing else; a kill in between leaves a folder that says so."""
    if (folder / MARKER).is_file():
        write_json(folder / PARTS / START, {"kind": "discarded", "recipe": "", "retries": False})
        (folder / MARKER).unlink()
    for path in folder.glob("*.parquet"):
        if _PART.fullmatch(path.name) or path.name in ("failures.parquet", "rejects.parquet"):
            path.unlink()
    (folder / TEMPLATE).unlink(missing_ok=True)
    if (folder / OVERLAYS).is_dir():
        for path in (folder / OVERLAYS).glob("*.jpg"):
            path.unlink()
    tidy(folder)
