"""dp3d-data build-shards: extracted and synthetic instances to shards that a model trains on."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

import click

from dp3d_data.commandline import command, config_options
from dp3d_data.config import setting, workspace
from dp3d_data.errors import ConfigError
from dp3d_data.filters import FilterConfig

RUNS = ("extract", "synth", "project")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """Inputs, split and size of shards."""

    category: str = setting("dog", "Category whose part of the workspace is used.", group="Input and output")
    input: tuple[str, ...] = setting(
        (), "Folder of extract or synth; again for more. Default: all in the workspace.", group="Input and output"
    )
    out: str | None = setting(None, "Folder of the shards. Default: <workspace>/<category>/shards.", group="Input and output")
    overwrite: bool = setting(False, "Discard the shards of another recipe in this folder.", group="Input and output")
    shard_size: str = setting("64MB", "Size of one shard on disk: 500kB, 64MB, 1GiB.", group="Shards")
    split_ratio: float = setting(0.9, "Share of instances that train; groups stay together.", group="Shards", minimum=0, maximum=1)
    seed: int = setting(0, "Seed of the split.", group="Shards", minimum=0)


@dataclass(frozen=True, kw_only=True)
class BuildShardsConfig(FilterConfig, ShardOptions):
    """Inputs, split and size of shards, and the filters."""

    @property
    def filters(self) -> FilterConfig:
        return FilterConfig(**{field.name: getattr(self, field.name) for field in fields(FilterConfig)})


@command("build-shards", example="dp3d-data build-shards --category dog --shard-size 64MB")
@config_options(BuildShardsConfig)
def build_shards(config: BuildShardsConfig) -> None:
    """Filter, split and write the instances of extract and synth as Parquet shards.

    Instances of one image, video or subject never lie on both sides of the split; exact duplicates are left out.
    A build that was stopped goes on where it was.
    """
    from pipelines.shards import ShardPlan, build

    root = workspace(config.category)
    folders = [Path(name) for name in config.input] or [root / name for name in RUNS if (root / name / "run.json").is_file()]
    out = Path(config.out) if config.out else root / "shards"
    plan = ShardPlan(
        filters=config.filters, shard_bytes=parse_size(config.shard_size), split_ratio=config.split_ratio, seed=config.seed
    )
    build(folders, out, config.category, plan, overwrite=config.overwrite, say=click.echo)
    click.echo(f"  written to {out} · next: dp3d-model train --shards {out}")


def parse_size(text: str) -> int:
    """Bytes of a size such as "64MB", "1GiB" or "500000".

    Raises:
        ConfigError: not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b?)\s*", text.lower())
    unit = _UNITS.get(match[2], _UNITS.get(match[2] + "b")) if match else None
    if unit is None or not (size := int(float(match[1]) * unit)):
        raise ConfigError("not a size", got=text, expected="a number with B, kB, MB, GB, KiB, MiB or GiB, such as 64MB")
    return size
