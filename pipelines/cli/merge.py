"""dp3d-data merge: several folders of shards to one."""

from __future__ import annotations

from dataclasses import dataclass

import click

from dp3d_data.config import setting
from dp3d_data.filters import KEEP_ALL
from pipelines.cli.build_shards import SplitOptions
from pipelines.cli.commandline import command, config_options, say


@dataclass(frozen=True, kw_only=True)
class MergeConfig(SplitOptions):
    """Where the joined shards go, and how they are divided."""

    out: str = setting("", "Folder of the new shards.", group="Input and output")
    overwrite: bool = setting(False, "Discard the shards of another recipe in this folder.", group="Input and output")
    split: str = setting(
        "kept",
        "Sides as they are (kept), by ratio, or as the source says (official); what has no such side goes by ratio.",
        group="Split", choices=("kept", "ratio", "official"),
    )  # fmt: skip


@command("merge", example="dp3d-data merge shards-a shards-b --out shards")
@click.argument("shards", nargs=-1, required=True)
@config_options(MergeConfig)
def merge(shards: tuple[str, ...], config: MergeConfig) -> None:
    """Join SHARDS, folders of build-shards with one template, into one shuffled folder; exact duplicates are left out.

    The inputs stay as they are. Shards of an earlier schema version become shards of today's.
    """
    from pipelines.rebuild import rebuild

    plan = config.plan(KEEP_ALL)
    rebuild(shards, config.out, plan, overwrite=config.overwrite, say=say, workers=config.workers)
