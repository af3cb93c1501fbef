"""dp3d-data build-shards: extracted and synthetic instances to shards that a model trains on."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from dp3d_data.categories import SEVERAL, categories, folder_of
from dp3d_data.config import rare, setting, workspace
from dp3d_data.errors import ConfigError, UsageError
from dp3d_data.filters import FilterConfig
from pipelines.cli.commandline import command, config_options, each, say

if TYPE_CHECKING:
    from pipelines.shards import ShardPlan

RUNS = ("extract", "synth", "project")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """How instances are divided, and how large shards are."""

    split: str = setting(
        "ratio",
        "Sides by ratio, as the source says (official), or as in earlier shards (kept); what has no such side goes by"
        " ratio.",
        group="Split",
        choices=("ratio", "official", "kept"),
    )
    split_list: str | None = setting(
        None,
        "File of names and sides, a line each: NAME,train; an instance id, image id or group. The rest is left out."
        " NAME,out leaves NAME out; where nothing else is listed, the rest goes as without a list.",
        group="Split",
    )
    split_ratio: float = setting(0.9, "Share of instances that train.", group="Split", minimum=0, maximum=1)
    test_ratio: float = setting(
        0.0, "Share of instances kept for a test; the rest is for validation.", group="Split", minimum=0, maximum=1
    )
    together: str = rare(
        "group",
        "What never lies on two sides: groups and images, or images alone.",
        group="Split",
        choices=("group", "image"),
    )
    seed: int = rare(0, "Seed of the split and of the order of instances.", group="Split", minimum=0)
    shard_size: str = setting("64MB", "Size of one shard on disk: 500kB, 64MB, 1GiB.", group="Shards")
    workers: int = setting(
        0, "Processes; 0 for one per core where there is enough to do. The result is the same.", minimum=0
    )

    def plan(self, filters: FilterConfig) -> ShardPlan:
        """What the options mean.

        Raises:
            ConfigError: no size.
            InputMissing, InputCorrupt: no list of a split.
            UsageError: a list and another rule.
        """
        from dp3d_data.shards.splits import OUT, read_split_list
        from pipelines.shards import ShardPlan

        listed = read_split_list(self.split_list) if self.split_list else {}
        left_out = frozenset(name for name, split in listed.items() if split == OUT)
        listed = {name: split for name, split in listed.items() if split != OUT}
        if listed and self.split != "ratio":
            hint = "leave one of --split and --split-list away"
            raise UsageError(
                "two rules for one split", got=f"--split {self.split} and --split-list", expected="one", hint=hint
            )
        return ShardPlan(
            filters=filters,
            shard_bytes=parse_size(self.shard_size),
            split_ratio=self.split_ratio,
            test_ratio=self.test_ratio,
            seed=self.seed,
            split="list" if listed or (self.split_list and not left_out) else self.split,
            together=self.together,
            listed=listed or None,
            left_out=left_out,
        )


@dataclass(frozen=True, kw_only=True)
class ShardOptions(SplitOptions):
    """Inputs, split and size of shards."""

    category: str = setting("dog", f"Category whose part of the workspace is used. {SEVERAL}", group="Input and output")
    input: tuple[str, ...] = setting(
        (),
        "Folder of extract, synth, project or shards; again for more. Default: all runs in the workspace.",
        group="Input and output",
    )
    out: str | None = setting(
        None, "Folder of the shards. Default: <workspace>/<category>/shards.", group="Input and output"
    )
    overwrite: bool = setting(False, "Discard the shards of another recipe in this folder.", group="Input and output")


@dataclass(frozen=True, kw_only=True)
class BuildShardsConfig(FilterConfig, ShardOptions):
    """Inputs, split and size of shards, and the filters."""

    @property
    def filters(self) -> FilterConfig:
        return FilterConfig(**{field.name: getattr(self, field.name) for field in fields(FilterConfig)})


@command("build-shards", example="dp3d-data build-shards --category dog --shard-size 256MB --workers 2")
@config_options(BuildShardsConfig)
def build_shards(config: BuildShardsConfig) -> None:
    """Filter, split, shuffle and write the instances of extract, synth and project as Parquet shards.

    Instances of one image, video or subject never lie on both sides of the split; exact duplicates are left out.
    A build that was stopped goes on where it was. Of several categories each has shards of its own; a folder that is
    given then holds a folder for each.
    """
    from pipelines.shards import build

    names, plan = categories(config.category), config.plan(config.filters)

    def work(name: str) -> None:
        root = workspace(name)
        folders = [folder_of(folder, name, names) for folder in config.input]
        folders = folders or [root / run for run in RUNS if (root / run / "run.json").is_file()]
        out = folder_of(config.out, name, names) if config.out else root / "shards"
        build(folders, out, name, plan, overwrite=config.overwrite, say=say, workers=config.workers)
        say(f"  written to {out}" + (f" · next: dp3d-model train --shards {out}" if len(names) == 1 else ""))

    each(names, work)
    if len(names) > 1:
        own = f" --shards {config.out}" if config.out else ""
        say(f"  next: dp3d-model train --category {config.category}{own}")


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
