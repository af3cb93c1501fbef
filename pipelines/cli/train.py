"""dp3d-model train: the parts model from shards."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dp3d_data.categories import SEVERAL, categories, folder_of
from dp3d_data.config import workspace
from dp3d_data.errors import InputMissing, NothingToDo, RecipeMismatch, TemplateMismatch
from dp3d_model.config import TrainConfig, model_fields, preset_values
from pipelines.cli.commandline import GroupedOption, command, config_options, each, say

if TYPE_CHECKING:
    from dp3d_data.geometry import Template
    from dp3d_data.loader import BlockSource, Source
    from dp3d_model.geometry.surface import Surface
    from dp3d_model.networks.lifter import Lifter
    from dp3d_model.training.trainer import Trainer

# Instances below which a training by itself is not worth much, synthetic views beside them, and the weight of their truth.
FEW, MIXED, TRUTH_OF_MIX = 300, 1000, 3.0


@command("train", example="dp3d-model train --shards dp3d-out/dog/shards --preset quick")
@click.option(
    "--shards",
    metavar="PATH",
    cls=GroupedOption,
    group="Input",
    help="Shards to learn from, also at an fsspec address.  [default: the category's]",
)
@click.option(
    "--category", default="dog", cls=GroupedOption, group="Input",
    help=f"Whose part of the workspace to use. {SEVERAL}",
)  # fmt: skip
@click.option("--threads", default=1, type=click.IntRange(0), cls=GroupedOption, group="Input", help="Threads that read ahead.")
@click.option("--device", default="cpu", cls=GroupedOption, group="Input", help="Where to compute: cpu, cuda, cuda:1, ...")
@click.option("--split", default="train", cls=GroupedOption, group="Input", help="Split to learn from.")
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the model.  [default: the category's]")
@click.option("--overwrite", is_flag=True, cls=GroupedOption, group="Output", help="Discard a run of another recipe.")
@click.option("--resume", is_flag=True, cls=GroupedOption, group="Output", help="Go on from the saved state with other settings.")
@click.option(
    "--init", metavar="MODEL", cls=GroupedOption, group="Input",
    help="Start from this model's weights and settings of the network; embedded: the one that comes with the package.",
)
@click.option(
    "--mix", type=click.Choice(["synth"]), cls=GroupedOption, group="Input",
    help="Learn from synthetic views with their truth too, made in the workspace where they are not there yet.",
)  # fmt: skip
@click.option("--tensorboard", is_flag=True, cls=GroupedOption, group="Output", help="Write event files for TensorBoard too.")
@config_options(TrainConfig, preset_values())
def train(
    config: TrainConfig,
    shards: str | None,
    category: str,
    split: str,
    threads: int,
    out: str | None,
    overwrite: bool,
    resume: bool,
    device: str,
    tensorboard: bool,
    init: str | None,
    mix: str | None,
) -> None:
    """Learn the model from shards.

    A run that was stopped goes on where it stopped when the same command is given again, with the same losses. On several GPUs or
    machines: torchrun --nproc-per-node 4 -m pipelines.cli.model train --device cuda ...
    """
    from dp3d_data.datasets.addresses import is_address
    from dp3d_data.ranks import join_ranks, leave_ranks
    from dp3d_model.training.trainer import Trainer

    names = categories(category)
    ranks, device = join_ranks(device)

    def work(name: str) -> None:
        chosen, start = config, initial_model(init, name)
        if start is not None:
            chosen = replace(chosen, **{field: getattr(start.config, field) for field in model_fields()})
        if mix:
            chosen = replace(chosen, truth_weight=chosen.truth_weight or TRUTH_OF_MIX)
        folder = folder_of(out, name, names) if out else workspace(name) / "model"
        inputs = str(folder_of(shards, name, names)) if shards and len(names) > 1 else shards or str(workspace(name) / "shards")
        if len(names) > 1 and not is_address(inputs) and not Path(inputs).is_dir():
            raise NothingToDo("no shards of this category", path=inputs, hint=f"dp3d-data build-shards --category {name}")
        source, surface = opened(inputs, split, name, chosen, start, mixed=bool(mix))
        trainer = Trainer(surface, source, chosen, folder, threads=threads, device=device, ranks=ranks, tensorboard=tensorboard)
        if start is not None:
            trainer.start_from(start)
        if overwrite:
            trainer.discard()
        _train(trainer, resume, f"{name}: {trainer.instances} instances · {surface.name}, {len(surface.vertices)} vertices")
        if ranks.writes:
            say(f"  written to {folder} · next: dp3d-model evaluate --category {name}")

    try:
        each(names, work)
    finally:
        leave_ranks()


def opened(address: str, split: str, category: str, config: TrainConfig, start: Lifter | None, mixed: bool) -> tuple[Source, Surface]:
    """What to learn from, and the template; the program says what is worth knowing of it.

    Args:
        start: the model whose weights the training begins with.
        mixed: add synthetic views.

    Raises:
        InputMissing, ShardError, UsageError: no such shards.
        TemplateMismatch: they are of another template than the model or the views.
    """
    import numpy as np

    from dp3d_data.loader import Joined, ShardFolder, ShardSource
    from dp3d_data.shards import require_files
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.geometry.surface import surface_of
    from dp3d_model.lifting.model_file import check_template
    from dp3d_model.training.targets import fields_of

    folder, fields = ShardFolder(address), fields_of(config)
    if not folder.remote:
        require_files(folder.folder)
    source, reader = ShardSource(folder, split, fields), ShardReader(folder.folder)
    if "cameras" in fields and (cameras := source.read(0).cameras) is not None:
        known = np.isfinite(cameras).all(axis=1)
        say(f"{category}: perspective: {int(known.sum())} of the first {len(cameras)} instances know their intrinsics")
    if start is not None:
        check_template(start, reader.template.name, reader.template.content_hash, address)
    surface = surface_of(reader.template, reader.basis.functions, config.basis) if start is None else start.surface
    if mixed:
        return Joined([source, synthetic_views(category, reader.template, fields)]), surface
    if sum(source.sizes) < FEW:
        mend = f"dp3d-model train --category {category} --init embedded --mix synth"
        say(f"{category}: {sum(source.sizes)} instances are few to learn from; better: {mend}")
    return source, surface


def initial_model(init: str | None, category: str) -> Lifter | None:
    """The model that --init names; None without.

    Raises:
        InputMissing: no such model, or none is embedded for the category.
        CheckpointError: no model file.
    """
    if not init:
        return None
    from dp3d_model.lifting.model_file import embedded_model, load_model

    if init != "embedded":
        return load_model(init)
    path = embedded_model(category)
    if path is None:
        raise InputMissing(f"no model of {category!r} comes with the package", hint="name one: --init MODEL, or leave it out")
    return load_model(path)


def synthetic_views(category: str, template: Template, fields: tuple[str, ...]) -> BlockSource:
    """Views of the synthetic world with their truth, in the workspace's folder "mix"; made once.

    Raises:
        UsageError, TemplateError: the category has no built-in template, or the shards are of another one.
    """
    import pyarrow as pa

    from dp3d_data.loader.block import block_of
    from dp3d_data.loader.source import BlockSource
    from pipelines.synth import make_plan, synth
    from pipelines.synth_settings import SynthConfig

    out = workspace(category) / "mix"
    plan = make_plan(SynthConfig(category=category, count=MIXED, images=False, perspective=1.0, identity_images=1, seed=3, out=str(out)))
    if plan.template.content_hash != template.content_hash:
        got, expected = f"{template.name} {template.content_hash}", f"{plan.template.name} {plan.template.content_hash}"
        raise TemplateMismatch("synthetic views are made of the built-in template alone", got=got, expected=expected)
    say(f"{category}: {MIXED} synthetic views in {out}")
    run, _ = synth(plan)
    table = pa.concat_tables(run.instances())
    return BlockSource(block_of(table, 0, template.num_vertices, fields), template.num_vertices)


def _train(trainer: Trainer, resume: bool, what: str) -> None:
    """Say what is there, and do what is left, the picture of the parts last; only the first of several processes speaks and draws."""
    from dp3d_model.export.gallery import draw_parts
    from dp3d_model.lifting.model_file import load_model
    from dp3d_model.training.trainer import PICTURE_FILE

    done = trainer.finished()
    found = "trained already" if done else "goes on" if _resume(trainer, resume) else "starts"
    if trainer.ranks.writes:
        several = f" · {trainer.ranks.count} processes" if trainer.ranks.count > 1 else ""
        say(f"{what} · recipe {trainer.recipe}{several}")
        say(f"  {found}: {trainer.folder}" if done else f"  {found} at step {trainer.step} of {trainer.steps}")
    lifter = None if done else _run(trainer)
    picture = trainer.folder / PICTURE_FILE
    if trainer.ranks.writes and not picture.is_file():
        draw_parts(lifter or load_model(trainer.folder), picture)


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
