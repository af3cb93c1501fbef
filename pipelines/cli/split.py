"""dp3d-data split: a folder of shards divided anew."""

from __future__ import annotations

from dataclasses import dataclass

import click

from dp3d_data.config import setting
from dp3d_data.filters import KEEP_ALL
from pipelines.cli.build_shards import SplitOptions
from pipelines.cli.commandline import command, config_options, say


@dataclass(frozen=True, kw_only=True)
class SplitConfig(SplitOptions):
    """Where the divided shards go, and how they are divided."""

    out: str = setting("", "Folder of the new shards.", group="Input and output")
    overwrite: bool = setting(False, "Discard the shards of another recipe in this folder.", group="Input and output")


@command("split", example="dp3d-data split shards --out shards-5 --split-ratio 0.8 --test-ratio 0.1 --seed 5")
@click.argument("shards")
@config_options(SplitConfig)
def split(shards: str, config: SplitConfig) -> None:
    """Divide the instances of SHARDS, a folder of build-shards, into new sides in a new folder.

    What belongs together stays together, as in build-shards.
    """
    from pipelines.rebuild import rebuild

    plan = config.plan(KEEP_ALL)
    rebuild((shards,), config.out, plan, overwrite=config.overwrite, say=say, workers=config.workers)
