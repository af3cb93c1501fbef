"""dp3d-data verify: whether a folder of shards, or of a run, is what its manifest says."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dp3d_data.config import workspace
from dp3d_data.errors import InputMissing, ShardError
from pipelines.cli.commandline import command, say


@command("verify", example="dp3d-data verify dp3d/dog/shards")
@click.argument("path", required=False)
@click.option("--category", default="dog", help="Category whose shards are checked where no path is given.")
def verify(path: str | None, category: str) -> None:
    """Check every file of PATH against its hash, its schema and the template; name each one that is bad.

    PATH is a folder of build-shards, extract or synth; by default the shards in the workspace.
    """
    from dp3d_data.shards.integrity import verify as find_faults

    folder = Path(path) if path else workspace(category) / "shards"
    if not folder.is_dir():
        raise InputMissing("no such folder", path=folder, hint="build the shards: dp3d-data build-shards")
    faults = find_faults(folder)
    for fault in faults:
        say(f"{folder / fault.file}: {fault.text}", err=True)
    if faults:
        say(f"{len(faults)} faults; build the shards again, or fetch the files again", err=True)
        sys.exit(ShardError.exit_code)
    say(f"{folder}: every file is what the manifest says")
