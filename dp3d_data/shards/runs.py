"""A run folder: what extract, synth and project leave behind, written in parts that survive a kill, read by build-shards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dp3d_data.config import file_digest, fingerprint
from dp3d_data.errors import InputMissing, RecipeMismatch, ShardError
from dp3d_data.shards.files import read_json, read_table, sweep, write_json, write_table
from dp3d_data.shards.instances import Row, instance_batch, rows_batch
from dp3d_data.shards.schema import FAILURE_SCHEMA, INSTANCE_SCHEMA, READABLE, REJECT_SCHEMA, SCHEMA_VERSION, current, schema_problem

if TYPE_CHECKING:
    from dp3d_data.bodies.template import Template

MARKER = "run.json"
TEMPLATE = "template.npz"
OVERLAYS = "overlays"
_PARTS = ".parts"
_PART = re.compile(r"(instances|failures|rejects)-\d{5}\.parquet|\d{5}\.json|start\.json")


class RunWriter:
    """Writes a run part by part; run.json comes last and marks the folder as complete.

    Use: writer = RunWriter(folder, kind="extract", recipe=...); for each part not in writer.done, in any order and from
    any number of processes: writer.commit(index, instances, failures, rejects, inputs); then writer.finish(...).
    A part must be a function of its index alone; then the same inputs give the same bytes, whatever the workers.

    Args:
        folder: made where missing. An unfinished run of the same recipe is taken up again; one that never finished a
            part stands in nobody's way.
        kind: "extract", "synth" or "project".
        recipe: fingerprint of all that shapes the result.
        overwrite: discard the results of another run.

    Raises:
        RecipeMismatch: the folder holds the results of another recipe.
    """

    def __init__(self, folder: str | Path, *, kind: str, recipe: str, overwrite: bool = False) -> None:
        self.folder, self.kind, self.recipe = Path(folder), kind, recipe
        self.parts = self.folder / _PARTS
        found = self._found()
        if found not in (None, (kind, recipe)):
            if not overwrite and (self.complete or self.done):
                got, expected = (f"{a} {b}" for a, b in (found, (kind, recipe)))
                raise RecipeMismatch("this folder holds the results of another recipe", got=got, expected=expected, path=folder)
            discard_run(self.folder)
        if not self.complete:
            write_json(self.parts / "start.json", {"kind": kind, "recipe": recipe})

    def _found(self) -> tuple[str, str] | None:
        for path in (self.folder / MARKER, self.parts / "start.json"):
            if path.is_file():
                content = read_json(path, "run marker")
                return str(content.get("kind")), str(content.get("recipe"))
        return None

    @property
    def complete(self) -> bool:
        """Whether this very run has been finished before."""
        return (self.folder / MARKER).is_file()

    @property
    def done(self) -> set[int]:
        """Indices of the parts already committed."""
        return {int(path.stem) for path in self.parts.glob("[0-9]*.json")}

    def commit(
        self, index: int, instances: Iterable[Row], failures: Iterable[Row] = (), rejects: Iterable[Row] = (), *, inputs: int
    ) -> None:
        """Write part `index`: rows of the three tables, and how many inputs (images) they account for."""
        tables = {
            "instances": instance_batch(instances),
            "failures": rows_batch(failures, FAILURE_SCHEMA),
            "rejects": rows_batch(rejects, REJECT_SCHEMA),
        }
        write_table(instance_path(self.folder, index), tables["instances"])
        for name in ("failures", "rejects"):
            write_table(self.parts / f"{name}-{index:05d}.parquet", tables[name])
        counts = {name: batch.num_rows for name, batch in tables.items()}
        write_json(self.parts / f"{index:05d}.json", {"inputs": inputs, **counts})

    def finish(
        self, *, template: Template | None, category: str, config: dict[str, Any], extra: dict[str, Any] | None = None
    ) -> Run:
        """Gather failures and rejects, store the template, write run.json and drop the traces of the parts.

        Args:
            template: stored as template.npz; None where only vertex ids are known.
            config: settings as plain values, kept for the record.
            extra: more to keep in run.json; plain values without times or machine names.
        """
        done = sorted(self.done)
        counts = {"inputs": 0, "instances": 0, "failures": 0, "rejects": 0}
        for index in done:
            part = read_json(self.parts / f"{index:05d}.json", "part marker")
            counts = {name: counts[name] + int(part[name]) for name in counts}
        for name, schema in (("failures", FAILURE_SCHEMA), ("rejects", REJECT_SCHEMA)):
            tables = [read_table(self.parts / f"{name}-{index:05d}.parquet") for index in done]
            write_table(self.folder / f"{name}.parquet", pa.concat_tables([schema.empty_table(), *tables]))
        names = [instance_path(self.folder, index).name for index in done] + ["failures.parquet", "rejects.parquet"]
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
        remove_parts(self.folder)
        sweep(self.folder)
        return Run.open(self.folder)


@dataclass(frozen=True)
class Run:
    """A finished run folder.

    Attributes:
        folder: where it lies.
        marker: content of run.json.
    """

    folder: Path
    marker: dict[str, Any] = field(repr=False)

    @staticmethod
    def open(folder: str | Path) -> Run:
        """Open a finished run.

        Raises:
            InputMissing: no run.json here: not a run, or one that was not finished.
            ShardError: run.json is damaged or of another schema version.
        """
        folder = Path(folder)
        if not (folder / MARKER).is_file():
            unfinished = (folder / _PARTS).is_dir()
            what = "this run was not finished" if unfinished else "no run.json here, so this is no folder of extract, synth or project"
            hint = "run the same command again: it goes on where it stopped" if unfinished else "dp3d-data extract --help"
            raise InputMissing(what, path=folder, hint=hint)
        marker = read_json(folder / MARKER, "run.json")
        version = marker.get("schema_version")
        if version not in READABLE:
            raise ShardError("unknown schema version", got=version, expected=READABLE, path=folder / MARKER)
        return Run(folder, marker)

    @property
    def kind(self) -> str:
        return self.marker["kind"]

    @property
    def counts(self) -> dict[str, int]:
        """inputs (images), instances, rejects, failures."""
        return self.marker["counts"]

    @cached_property
    def digest(self) -> str:
        """Fingerprint of the run's content, wherever it lies."""
        return fingerprint(self.kind, self.marker["recipe"], self.marker["files"])

    @property
    def instance_files(self) -> list[Path]:
        return [self.folder / name for name in sorted(self.marker["files"]) if name.startswith("instances-")]

    def instances(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The instance tables, file by file, in order.

        Raises:
            InputMissing: a file of the run is gone.
            ShardError: a file is damaged or of another schema; names it.
        """
        for path in self.instance_files:
            table = read_table(path, columns)
            wanted = INSTANCE_SCHEMA if columns is None else pa.schema([INSTANCE_SCHEMA.field(name) for name in columns])
            problem = schema_problem(table.schema, wanted)
            if problem:
                raise ShardError("not a table of instances", got=problem, path=path)
            yield current(table, columns)

    def failures(self) -> pa.Table:
        return read_table(self.folder / "failures.parquet")

    def rejects(self) -> pa.Table:
        return read_table(self.folder / "rejects.parquet")

    def template(self) -> Template:
        """The template whose vertices the ids are.

        Raises:
            InputMissing: the run knows vertex ids only.
        """
        from dp3d_data.bodies.template import Template

        if self.marker["template"] is None:
            hint = "import the mesh and extract again: dp3d-data template import MESH --name NAME"
            raise InputMissing("this run has vertex ids but no template geometry", path=self.folder, hint=hint)
        return Template.load(self.folder / TEMPLATE)

    @property
    def overlays(self) -> list[Path]:
        """Pictures of instances with their keypoints, in order of name."""
        return sorted(p for p in (self.folder / OVERLAYS).glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))


def instance_path(folder: Path, index: int) -> Path:
    return Path(folder) / f"instances-{index:05d}.parquet"


def remove_parts(folder: Path) -> None:
    """Drop what only an unfinished run needs."""
    parts = folder / _PARTS
    if parts.is_dir():
        for path in parts.iterdir():
            if _PART.fullmatch(path.name) or path.suffix == ".tmp":
                path.unlink()
        parts.rmdir()


def discard_run(folder: Path) -> None:
    """Delete the files a run has written, marker first, and nothing else."""
    (folder / MARKER).unlink(missing_ok=True)
    remove_parts(folder)
    for path in folder.glob("*.parquet"):
        if _PART.fullmatch(path.name) or path.name in ("failures.parquet", "rejects.parquet"):
            path.unlink()
    (folder / TEMPLATE).unlink(missing_ok=True)
    if (folder / OVERLAYS).is_dir():
        for path in (folder / OVERLAYS).glob("*.jpg"):
            path.unlink()
