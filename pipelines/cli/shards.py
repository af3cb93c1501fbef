"""dp3d-data build-shards, merge, split and verify: instances to shards that a model trains on, and shards anew."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from dp3d_data.categories import SEVERAL, categories, folder_of
from dp3d_data.config import part_of, rare, setting, workspace
from dp3d_data.errors import ConfigError, ShardError, UsageError
from dp3d_data.filters import KEEP_ALL, FilterConfig
from pipelines.cli.commandline import command, config_options, each, runs_in, say, shards_folder

if TYPE_CHECKING:
    from pipelines.shards import ShardPlan


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Where shards go, how instances are divided among them, and how large they are."""

    out: str = setting("", "Folder of the new shards.", group="Input and output")
    overwrite: bool = setting(False, "Discard the shards of other settings in this folder.", group="Input and output")
    split: str = setting(
        "ratio",
        "By ratio, by the source (official), or as in earlier shards (kept); what has none goes by ratio.",
        group="Split",
        choices=("ratio", "official", "kept"),
    )
    split_list: str | None = setting(
        None, "File of lines NAME,train; an instance id, image id or group. The rest is left out.", group="Split"
    )
    split_ratio: float = setting(0.9, "Share of instances that train.", group="Split", minimum=0, maximum=1)
    test_ratio: float = setting(
        0.0, "Share of instances for a test; the rest is for validation.", group="Split", minimum=0, maximum=1
    )
    together: str = rare(
        "group", "What no split divides: groups and images, or images alone.", group="Split", choices=("group", "image")
    )
    seed: int = rare(0, "Seed of the split and of the order of instances.", group="Split", minimum=0)
    shard_size: str = setting("64MB", "Size of one shard on disk: 500kB, 64MB, 1GiB.", group="Shards")
    workers: int = setting(0, "Processes; 0 for one per core where there is enough to do.", minimum=0)

    def plan(self, filters: FilterConfig) -> ShardPlan:
        """What the options mean.

        Raises:
            ConfigError: no size.
            InputMissing, InputCorrupt: no list of a split.
            UsageError: a list and another rule.
        """
        from dp3d_data.shards.plan import OUT, read_split_list
        from pipelines.shards import ShardPlan

        listed = read_split_list(self.split_list) if self.split_list else {}
        left_out = frozenset(name for name, split in listed.items() if split == OUT)
        listed = {name: split for name, split in listed.items() if split != OUT}
        if listed and self.split != "ratio":
            got, hint = f"--split {self.split} and --split-list", "leave one of --split and --split-list away"
            raise UsageError("two rules for one split", got=got, expected="one", hint=hint)
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
class BuildShardsConfig(FilterConfig, SplitConfig):
    """Inputs, split and size of shards, and the filters."""

    category: str = setting("dog", f"Whose part of the workspace to use. {SEVERAL}", group="Input and output")
    input: tuple[str, ...] = setting(
        (), "Run folder or shards; again for more. None: all runs in the workspace.", group="Input and output"
    )
    out: str = setting("", "Folder of the shards. None: shards in the workspace.", group="Input and output")


@command("build-shards", example="dp3d-data build-shards --category dog --shard-size 256MB --workers 2")
@config_options(BuildShardsConfig)
def build_shards(config: BuildShardsConfig) -> None:
    """Filter, split, shuffle and write the instances of extract, synth and project as Parquet shards.

    Instances of one image, video or subject are never divided by the split; exact duplicates are left out.
    A build that was stopped goes on where it was. Of several categories each has shards of its own; a folder that is
    given then holds a folder for each.
    """
    from pipelines.shards import build

    names, plan = categories(config.category), config.plan(part_of(config, FilterConfig))

    def work(name: str) -> None:
        root = workspace(name)
        folders = [folder_of(folder, name, names) for folder in config.input] or runs_in(root)
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
    from dask.utils import parse_bytes

    try:
        size = parse_bytes(text) if text.strip()[:1].isdigit() else 0
    except (ValueError, OverflowError):
        size = 0
    if not size:
        raise ConfigError("not a size", got=text, expected="a number with B, kB, MB, GB, KiB, MiB or GiB, such as 64MB")
    return size


@dataclass(frozen=True, kw_only=True)
class MergeConfig(SplitConfig):
    """Where the joined shards go, and how they are divided."""

    split: str = setting(
        "kept",
        "As they are (kept), by ratio, or by the source (official); what has none goes by ratio.",
        group="Split", choices=("kept", "ratio", "official")
    )  # fmt: skip


@command("merge", example="dp3d-data merge shards-a shards-b --out shards")
@click.argument("shards", nargs=-1, required=True)
@config_options(MergeConfig)
def merge(shards: tuple[str, ...], config: MergeConfig) -> None:
    """Join SHARDS, folders of build-shards with one template, into one shuffled folder; exact duplicates are left out.

    The inputs stay as they are. Shards of an earlier schema version become shards of today's.
    """
    from pipelines.shards import rebuild

    rebuild(shards, config.out, config.plan(KEEP_ALL), overwrite=config.overwrite, say=say, workers=config.workers)


@command("split", example="dp3d-data split shards --out shards-5 --split-ratio 0.8 --test-ratio 0.1 --set seed=5")
@click.argument("shards")
@config_options(SplitConfig)
def split(shards: str, config: SplitConfig) -> None:
    """Divide the instances of SHARDS, a folder of build-shards, into new splits in a new folder.

    What belongs together stays together, as in build-shards.
    """
    from pipelines.shards import rebuild

    rebuild((shards,), config.out, config.plan(KEEP_ALL), overwrite=config.overwrite, say=say, workers=config.workers)


@command("verify", example="dp3d-data verify dp3d-out/dog/shards")
@click.argument("path", required=False)
@click.option("--category", default="dog", help="Category whose shards are checked where no path is given.")
def verify(path: str | None, category: str) -> None:
    """Check every file of PATH against its hash, its schema and the template; name each one that is bad.

    PATH is a folder of build-shards, extract or synth; by default the shards in the workspace.
    """
    from dp3d_data.shards.integrity import verify as find_faults

    folder = shards_folder(path, category)
    faults = find_faults(folder)
    for file, text in faults:
        say(f"{folder / file}: {text}", err=True)
    if faults:
        say(f"{len(faults)} faults; build the shards again, or fetch the files again", err=True)
        sys.exit(ShardError.exit_code)
    say(f"{folder}: every file is what the manifest says")
