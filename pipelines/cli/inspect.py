"""dp3d-data inspect: what a folder of shards or of a run holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from dp3d_data.config import setting, workspace
from dp3d_data.errors import InputMissing, UsageError
from pipelines.cli.commandline import command, config_options, say


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """What is shown."""

    category: str = setting("dog", "Category whose shards are shown where no path is given.")
    instance: str | None = setting(None, "Show the row of this instance id.")
    row: int | None = setting(None, "Show the row of this number, counted from 0 over all files.", minimum=0)
    statistics: bool = setting(False, "Show count, range, mean and deviation of each column.")


@command("inspect", example="dp3d-data inspect dp3d-out/dog/shards --row 0")
@click.argument("path", required=False)
@config_options(InspectConfig)
def inspect(path: str | None, config: InspectConfig) -> None:
    """Show what PATH holds, a folder of build-shards, extract, synth or project; by default the shards in the
    workspace.

    Without an option: where it comes from, what was kept and left out, its sides, files and template.
    """
    from dp3d_data.shards.inputs import Input
    from pipelines.inspection import find_row, row_lines, statistics_lines, summary_lines

    folder = Path(path) if path else workspace(config.category) / "shards"
    if not folder.is_dir():
        raise InputMissing("no such folder", path=folder, hint="build the shards: dp3d-data build-shards")
    if config.instance is not None and config.row is not None:
        raise UsageError("two rows at once", got="--instance and --row", expected="one of them")
    found = Input.open(folder)
    lines: list[str] = []
    if config.instance is not None or config.row is not None:
        lines += row_lines(find_row(found, config.instance if config.row is None else config.row))
    if config.statistics:
        lines += statistics_lines(found)
    for line in lines or summary_lines(found):
        say(line)
