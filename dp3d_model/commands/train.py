"""dp3d-model train: the parts model from shards."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dp3d_data.commandline import GroupedOption, command, config_options, say
from dp3d_data.config import read_toml, workspace
from dp3d_data.errors import RecipeMismatch
from dp3d_model.config import EVALUATION_ONLY, PRESETS, TrainConfig, preset

if TYPE_CHECKING:
    from dp3d_model.lifter import Lifter
    from dp3d_model.trainer import Trainer


@command("train", example="dp3d-model train --shards dp3d/dog/shards --preset quick")
@click.option(
    "--shards",
    metavar="PATH",
    cls=GroupedOption,
    group="Input",
    help="Shards to learn from, also at an fsspec address.  [default: the category's]",
)
@click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use.")
@click.option("--threads", default=1, type=click.IntRange(0), cls=GroupedOption, group="Input", help="Threads that read ahead.")
@click.option("--device", default="cpu", cls=GroupedOption, group="Input", help="Where to compute: cpu, cuda, cuda:1, ...")
@click.option("--split", default="train", cls=GroupedOption, group="Input", help="Split to learn from.")
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the model.  [default: the category's]")
@click.option("--overwrite", is_flag=True, cls=GroupedOption, group="Output", help="Discard a run of another recipe.")
@click.option("--resume", is_flag=True, cls=GroupedOption, group="Output", help="Go on from the saved state with other settings.")
@click.option("--tensorboard", is_flag=True, cls=GroupedOption, group="Output", help="Write event files for TensorBoard too.")
@click.option(
    "--preset",
    "preset_name",
    default="quick",
    type=click.Choice([*PRESETS, *EVALUATION_ONLY]),
    cls=GroupedOption,
    help="Settings to start from; others win.",
)
@config_options(TrainConfig)
def train(
    config: TrainConfig,
    shards: str | None,
    category: str,
    split: str,
    threads: int,
    out: str | None,
    overwrite: bool,
    resume: bool,
    preset_name: str,
    device: str,
    tensorboard: bool,
) -> None:
    """Learn the model from shards.

    A run that was stopped goes on where it stopped when the same command is given again, with the same losses. On several GPUs or
    machines: torchrun --nproc-per-node 4 -m dp3d_model.cli train --device cuda ...
    """
    chosen = with_preset(config, preset_name)
    address = shards or str(workspace(category) / "shards")
    folder = Path(out) if out else workspace(category) / "model"

    import numpy as np

    from dp3d_data.loader import ShardFolder, ShardSource
    from dp3d_data.ranks import join_ranks, leave_ranks
    from dp3d_data.shards import require_files
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.surface import surface_of
    from dp3d_model.trainer import Trainer, fields_of

    shard_folder = ShardFolder(address)
    if not shard_folder.remote:
        require_files(shard_folder.folder)
    perspective = chosen.projection == "perspective"
    source, reader = ShardSource(shard_folder, split, fields_of(chosen)), ShardReader(shard_folder.folder)
    surface = surface_of(reader.template, reader.basis.functions, chosen.basis)
    remark = ""
    if perspective:
        known = np.isfinite(source.read(0).cameras).all(1)
        remark = f"perspective: {int(known.sum())} of the first {len(known)} instances know their intrinsics"
    ranks, device = join_ranks(device)
    try:
        trainer = Trainer(surface, source, chosen, folder, threads=threads, device=device, ranks=ranks, tensorboard=tensorboard)
        if overwrite:
            trainer.discard()
        what = f"{category}: {trainer.instances} instances · {surface.name}, {len(surface.vertices)} vertices"
        _train(trainer, resume, what, remark)
    finally:
        leave_ranks()
    if ranks.writes:
        say(f"  written to {folder} · next: dp3d-model evaluate --category {category}")


def _train(trainer: Trainer, resume: bool, what: str, remark: str) -> None:
    """Say what is there, and do what is left, the picture of the parts last; only the first of several processes speaks and draws."""
    from dp3d_model.gallery import draw_parts
    from dp3d_model.model_file import load_model
    from dp3d_model.trainer import PICTURE_FILE

    done = trainer.finished()
    found = "trained already" if done else "goes on" if _resume(trainer, resume) else "starts"
    if trainer.ranks.writes:
        several = f" · {trainer.ranks.count} processes" if trainer.ranks.count > 1 else ""
        say(f"{what} · recipe {trainer.recipe}{several}")
        if remark:
            say(f"  {remark}")
        say(f"  {found}: {trainer.folder}" if done else f"  {found} at step {trainer.step} of {trainer.steps}")
    lifter = None if done else _run(trainer)
    picture = trainer.folder / PICTURE_FILE
    if trainer.ranks.writes and not picture.is_file():
        draw_parts(lifter or load_model(trainer.folder), picture)


def with_preset(config: TrainConfig, name: str) -> TrainConfig:
    """The preset's settings, changed by the configuration file and then by what stands on the command line."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    file = context.params.get("config_file")
    given = {key.replace("-", "_") for key in read_toml(file)} if file else set()
    given |= {field.name for field in fields(TrainConfig) if context.get_parameter_source(field.name) is not default}
    return preset(name, **{key: getattr(config, key) for key in given})


def _resume(trainer: Trainer, other_settings: bool) -> bool:
    try:
        return trainer.resume(other_settings=other_settings)
    except RecipeMismatch as error:
        if other_settings:
            error.hint = "the network's shape differs, so the state cannot be used: choose another folder with --out, or --overwrite"
        raise


def _run(trainer: Trainer) -> Lifter:
    """Train with a line of progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    started = time.monotonic()
    columns = (TextColumn("train"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, disable=not trainer.ranks.writes) as bar:
        task = bar.add_task("", total=trainer.steps, completed=trainer.step)

        def show(step: int, steps: int, losses: dict[str, float]) -> None:
            bar.update(task, completed=step, description=f"loss {losses['total']:.4f} · reprojection {losses['reprojection']:.4f}")

        lifter = trainer.run(show)
    if trainer.ranks.writes:
        seconds = time.monotonic() - started
        say(f"  {trainer.steps} steps in {seconds:.0f} s · {trainer.waited:.1%} of the time waiting for batches")
    return lifter
