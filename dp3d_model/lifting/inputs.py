"""Instances to lift, wherever they come from: shards, or the run folder of dp3d-data extract, synth or project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_data.errors import NothingToDo
from dp3d_data.geometry.template import Template
from dp3d_data.shards.batch import KeypointBatch
from dp3d_data.shards.reader import ShardReader, whole_batch
from dp3d_data.shards.runs import MARKER, Run
from dp3d_model.geometry.surface import Surface


@dataclass(frozen=True)
class ToLift:
    """Instances, the template whose vertices they see, and where they lie."""

    instances: KeypointBatch
    template: Template
    source: Path


def open_to_lift(source: str | Path, split: str = "all") -> ToLift:
    """The instances of shards, or of a finished run.

    Args:
        split: of shards; "all" takes every split. A run has none.

    Raises:
        InputMissing: neither shards nor a finished run.
        UsageError: no such split.
        ShardError: a file is missing or damaged.
        NothingToDo: a run without an instance.
    """
    if (Path(source) / MARKER).is_file():
        return _of_run(Path(source))
    reader = ShardReader(source)
    return ToLift(reader.split(split), reader.template, Path(source))


def _of_run(folder: Path) -> ToLift:
    run = Run.open(folder)
    template = run.template()
    tables = [table for table in run.instances() if table.num_rows]
    if not tables:
        counts = run.counts
        got = f"{counts['inputs']} inputs, {counts['rejects']} rejects, {counts['failures']} failures"
        hint = f"see why: dp3d-data failures {folder}"
        raise NothingToDo("no instance to lift", got=got, hint=hint, path=folder)
    return ToLift(whole_batch(tables, template.num_vertices), template, folder)


def template_of(surface: Surface) -> Template:
    """The model's own template, for what must know it before there are shards."""
    return Template(surface.name, surface.vertices.numpy(), surface.faces.numpy(), surface.unit, surface.factor)
