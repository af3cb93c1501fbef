"""dp3d-model train and study: the parts model from shards; many trainings of one fingerprint in one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dp3d_data.categories import categories, folder_of
from dp3d_data.config import changed, file_digest, workspace
from dp3d_data.errors import FingerprintMismatch, InputMissing, NothingToDo, TemplateError, UsageError
from dp3d_model.config import EVALUATION_ONLY, TrainConfig, preset, presets
from pipelines.cli.commandline import LazyGroup, command, config_options, each, say
from pipelines.cli.evaluate import named_runs
from pipelines.settings import AblationConfig, RobustnessConfig, StudyConfig, TrainingConfig, place_of

if TYPE_CHECKING:
    from dp3d_data.geometry import Template
    from dp3d_data.loader import Source
    from dp3d_model.experiments.robustness import Corruption
    from dp3d_model.experiments.study import OnStep, Runs
    from dp3d_model.geometry.surface import Surface
    from dp3d_model.networks.lifter import Lifter
    from dp3d_model.training.trainer import Trainer


# Instances below which a training by itself is not worth much, synthetic views beside them, and the weight of their
# truth.
FEW, MIXED, TRUTH_OF_MIX = 300, 1000, 3.0
# Seconds between lines of progress where a bar cannot be drawn.
SILENCE = 30.0


@command("train", example="dp3d-model train --shards dp3d-out/dog/shards --preset quick")
@config_options(TrainingConfig, presets())
def train(config: TrainingConfig) -> None:
    """Learn the model from shards.

    A run that was stopped goes on where it stopped when the same command is given again, with the same losses.
    On several GPUs or machines: torchrun --nproc-per-node 4 -m pipelines.cli.model train --device cuda ...
    """
    from dp3d_data.datasets.locations import is_address
    from dp3d_data.ranks import join_ranks, leave_ranks
    from dp3d_model.training.trainer import Trainer

    names = categories(config.category)
    ranks, device = join_ranks(config.device)

    def work(name: str) -> None:
        chosen, start = config.recipe(), initial_model(config.init, name)
        if start is not None:
            chosen = with_network_of(start, chosen)
        if config.mix:
            chosen = changed(chosen, {"loss.truth": chosen.loss.truth or TRUTH_OF_MIX})
        folder = folder_of(config.out, name, names) if config.out else workspace(name) / "model"
        inputs, several = config.shards or str(workspace(name) / "shards"), len(names) > 1
        if config.shards and several:
            inputs = str(folder_of(config.shards, name, names))
        if several and not is_address(inputs) and not Path(inputs).is_dir():
            hint = f"dp3d-data build-shards --category {name}"
            raise NothingToDo("no shards of this category", path=inputs, hint=hint)
        source, surface = opened(inputs, config.split, name, chosen, start, mixed=bool(config.mix))
        places: dict[str, Any] = {"device": device, "ranks": ranks, "tensorboard": config.tensorboard}
        trainer = Trainer(surface, source, chosen, folder, threads=config.threads, **places)
        if start is not None:
            trainer.start_from(start)
        if config.overwrite:
            trainer.discard()
        what = f"{trainer.instances} instances · {surface.name}, {len(surface.vertices)} vertices"
        _train(trainer, config.resume, f"{name}: {what}")
        if ranks.writes:
            own = (f" --model {folder}" if config.out else "") + (f" --shards {inputs}" if config.shards else "")
            say(f"  written to {folder} · next: dp3d-model evaluate --category {name}{own}")

    try:
        each(names, work)
    finally:
        leave_ranks()


def opened(
    address: str, split: str, category: str, config: TrainConfig, start: Lifter | None, mixed: bool
) -> tuple[Source, Surface]:
    """What to learn from, and the template; the program says what is worth knowing of it.

    Args:
        start: the model whose weights the training begins with.
        mixed: add synthetic views.

    Raises:
        InputMissing, ShardError, UsageError: no such shards, or no such body.
        TemplateError: they are of another template than the model or the views.
    """
    import numpy as np

    from dp3d_data.loader import ShardReader, joined_source, shard_source
    from dp3d_data.shards import require_files
    from dp3d_model.bodies import body_class
    from dp3d_model.geometry.surface import surface_of
    from dp3d_model.lifting.model_file import check_template
    from dp3d_model.training.trainer import fields_of

    body_class(config.model.body)  # a wrong name is told before the shards are read
    reader, fields = ShardReader(address), fields_of(config)
    if not reader.remote:
        require_files(reader.folder)
    source = shard_source(reader, split, fields)
    if "intrinsics" in fields:
        known = np.isfinite(np.asarray(source.read(0).intrinsics)).all(axis=1)
        say(f"{category}: perspective: {int(known.sum())} of the first {known.size} instances know their intrinsics")
    if start is not None:
        check_template(start, reader.template, address)
        surface = start.surface
    else:
        surface = surface_of(reader.template, reader.basis.functions, config.model.basis)
    if sum(source.sizes) < FEW:
        more = f"dp3d-model train --category {category} --init embedded --mix synth"
        better = "more photographs" if mixed else more
        say(f"{category}: {sum(source.sizes)} instances are few to learn from; better: {better}")
    if mixed:
        return joined_source([source, synthetic_views(category, reader.template, fields)]), surface
    return source, surface


def initial_model(init: str, category: str) -> Lifter | None:
    """The model that --init names; None where it is empty.

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
        hint = "name one: --init MODEL, or leave it out"
        raise InputMissing(f"no model of {category!r} comes with the package", hint=hint)
    return load_model(path)


def with_network_of(start: Lifter, config: TrainConfig) -> TrainConfig:
    """The settings with the network of the model that the training begins with.

    Raises:
        UsageError: they ask for a network that is neither this one nor a preset's.
    """
    given, found = vars(config.model), start.config.model
    known = [found, *(preset(name).model for name in presets() if name not in EVALUATION_ONLY)]
    nearest = min(known, key=lambda one: sum(value != getattr(one, name) for name, value in given.items()))
    changes = [name for name, value in given.items() if value not in (getattr(nearest, name), getattr(found, name))]
    if changes:
        raise UsageError(
            "--init brings its own network, whose settings stay",
            got={f"model.{name}": given[name] for name in changes},
            expected={f"model.{name}": getattr(found, name) for name in changes},
            hint="leave them out, or train without --init",
        )
    return replace(config, model=found, run=replace(config.run, seed=start.config.run.seed))


def synthetic_views(category: str, template: Template, fields: tuple[str, ...]) -> Source:
    """Views of the synthetic world with their truth, in the workspace's folder "mix"; made once.

    Raises:
        UsageError, TemplateError: the category has no built-in template, or the shards are of another one.
    """
    import pyarrow as pa

    from dp3d_data.loader import InstanceTable, table_source
    from pipelines.chunks import make_run
    from pipelines.settings import SynthConfig
    from pipelines.synth import make_plan

    out = workspace(category) / "mix"
    views: dict[str, Any] = {"images": False, "perspective": 1.0, "identity_images": 1, "seed": 3}
    plan = make_plan(SynthConfig(category=category, count=MIXED, out=str(out), **views))
    if plan.template.content_hash != template.content_hash:
        got, expected = f"{template.name} {template.content_hash}", f"{plan.template.name} {plan.template.content_hash}"
        raise TemplateError("synthetic views are made of the built-in template alone", got=got, expected=expected)
    say(f"{category}: {MIXED} synthetic views in {out}")
    run, _ = make_run(plan)
    table = pa.concat_tables(run.instances())
    return table_source(InstanceTable.of(table, template.num_vertices, fields))


def _train(trainer: Trainer, resume: bool, what: str) -> None:
    """Say what is there, and do what is left, the picture of the parts last; the first process speaks and draws."""
    from dp3d_model.export.gallery import draw_parts
    from dp3d_model.lifting.model_file import load_model
    from dp3d_model.training.trainer import PICTURE_FILE

    done = trainer.finished()
    try:
        found = "trained already" if done else "goes on" if trainer.resume(other_settings=resume) else "starts"
    except FingerprintMismatch as error:
        if resume:
            reason = "the network's shape differs, so the state cannot be used"
            error.hint = f"{reason}: choose another folder with --out, or --overwrite"
        raise
    if trainer.ranks.writes:
        several = f" · {trainer.ranks.count} processes" if trainer.ranks.count > 1 else ""
        say(f"{what} · fingerprint {trainer.fingerprint}{several}")
        say(f"  {found}: {trainer.folder}" if done else f"  {found} at step {trainer.state.step} of {trainer.steps}")
    lifter = None if done else _run(trainer)
    picture = trainer.folder / PICTURE_FILE
    if trainer.ranks.writes and not picture.is_file():
        draw_parts(lifter or load_model(trainer.folder), picture)


def _run(trainer: Trainer) -> Lifter:
    """Train with a line of progress; where it cannot be drawn anew, with another one every so often."""
    from rich import progress as rich

    started = said = time.monotonic()
    columns = rich.TextColumn("train"), rich.BarColumn(), rich.MofNCompleteColumn()
    words = rich.TextColumn("{task.description}"), rich.TimeRemainingColumn()
    with rich.Progress(*columns, *words, disable=not trainer.ranks.writes) as bar:
        task = bar.add_task("", total=trainer.steps, completed=trainer.state.step)

        def show(step: int, steps: int, losses: dict[str, float]) -> None:
            nonlocal said
            text = f"loss {losses['total']:.4f} · reprojection {losses['reprojection']:.4f}"
            bar.update(task, completed=step, description=text)
            if trainer.ranks.writes and not bar.console.is_terminal and time.monotonic() >= said + SILENCE:
                said = time.monotonic()
                say(f"  step {step} of {steps} · {text} · {said - started:.0f} s")

        lifter = trainer.run(show)
    if trainer.ranks.writes:
        seconds = time.monotonic() - started
        say(f"  {trainer.steps} steps in {seconds:.0f} s · {trainer.waited:.1%} of the time waiting for batches")
    return lifter


COMMANDS = {
    "ablation": ("pipelines.cli.train:ablation", "Train variants of a recipe and other methods; compare them."),
    "robustness": ("pipelines.cli.train:robustness", "Errors over noisy, hidden and one-sided keypoints."),
}
ABLATIONS = """
dp3d-model study ablation --set optim.steps=400 --row supplement
dp3d-model study ablation --preset best --minutes 30 --add "wide:model.width=2048,model.blocks=4"
"""
FIGURES = """
dp3d-model study robustness --category dog
dp3d-model study robustness --figure lower-half --set optim.steps=400
"""


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"max_content_width": 110})
def study() -> None:
    """Studies of a recipe: --preset, --config and --set say which, as in dp3d-model train."""


@command("ablation", example=ABLATIONS)
@config_options(AblationConfig, presets(), sections=False)
def ablation(config: AblationConfig) -> None:
    """Train the full model, each variant of it and other methods, and measure all on the same instances.

    Every variant has the steps of the full model; C3DPO has as many as take the same time. What is trained already is
    found again, and a stopped row goes on where it stopped. Writes ablation.json, ablation.md, ablation.png and
    ablation-examples.png; each row is an ordinary run in DIR/runs.
    """
    from dp3d_model.experiments.ablation import chosen_rows, run_ablation

    rows = chosen_rows(config.recipe(), config.row, config.add)
    folder = place_of(config.out, config.category, "ablation")
    with _reported() as (line, show):
        runs = _opened(config, folder, show)
        counts = f"{sum(runs.source.sizes)} instances to learn from, {len(runs.test)} to measure on"
        say(f"{config.category}: {len(rows)} rows · {counts}")
        run_ablation(rows, runs, line, config.minutes, config.examples)
    say(f"  written to {folder} · next: open {folder / 'ablation.png'}")


@command("robustness", example=FIGURES)
@config_options(RobustnessConfig, presets(), sections=False)
def robustness(config: RobustnessConfig) -> None:
    """Measure how errors grow as keypoints get worse.

    noise: Gaussian noise and hidden keypoints when measuring (Figure 1 of the supplement). training-noise: the same
    when learning, one run in each cell. lower-half: the lower half of the body hidden in a growing share of the
    training instances (Figure 2), one run at each rate. Writes NAME.json, NAME.md and NAME.png of each; runs lie in
    DIR/runs and go on where they were stopped.
    """
    from dp3d_model.experiments import robustness as work
    from dp3d_model.experiments.study import write_result

    folder, recipe = place_of(config.out, config.category, "robustness"), config.recipe()
    # the clean case first
    noise, hidden = (sorted({0.0, *(value / 100.0 for value in values)}) for values in (config.levels, config.hidden))
    levels = work.levels(noise, hidden, config.run.seed)
    for figure in dict.fromkeys(config.figure):
        if figure == "noise":
            result = _noise(config, levels, folder)
        else:
            with _reported() as (line, show):
                runs = _opened(config, folder, show, fields=("ids",))
                if figure == "lower-half":
                    rates = [rate / 100.0 for rate in config.rates]
                    result = work.lose_lower_halves(recipe, runs, rates, config.up, line)
                else:
                    result = work.train_noise(recipe, runs, levels, line)
        if figure == "lower-half":
            write_result(folder / figure, result, work.halves_markdown(result))
            work.draw_halves(result, folder / f"{figure}.png")
        else:
            title = "Noise and hidden keypoints" + (" in training" if figure == "training-noise" else "")
            write_result(folder / figure, result, work.noise_markdown(result, title))
            work.draw_noise(result, folder / f"{figure}.png", title)
        if figure == "noise":
            for name, rows in result["models"].items():
                say(f"{name}: clean MPJPE {rows[0]['mpjpe']:.4f} on {result['instances']} instances")
                for text in work.judged(rows):
                    say(f"  {text}")
    say(f"  written to {folder}")


@contextmanager
def _reported() -> Iterator[tuple[Callable[[str], None], OnStep]]:
    """Says lines that stay, and shows below them the progress of the run at work, while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console, tasks = Console(highlight=False, soft_wrap=True), dict[str, TaskID]()
    with Progress(*columns, console=console, transient=True) as bar:

        def show(name: str, step: int, steps: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=steps)
            for other, task in tasks.items():
                bar.update(task, visible=other == name and step < steps)
            bar.update(tasks[name], completed=step)

        yield lambda line: console.print(f"  {line}", markup=False), show


def _opened(config: StudyConfig, folder: Path, show: OnStep, fields: tuple[str, ...] = ()) -> Runs:
    """The runs of a study, which tell `show` of their steps."""
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.experiments.study import open_runs, open_test

    reader, other = ShardReader(config.source()), ShardReader(config.test_source())
    options: dict[str, Any] = {"threads": config.threads, "overwrite": config.overwrite, "progress": show}
    test = open_test(other, config.test_split, config.count)
    return open_runs(reader, config.split, other, test, folder, fields, **options)


def _noise(config: RobustnessConfig, levels: Sequence[Corruption], folder: Path) -> dict[str, Any]:
    """Figure 1, corrupted when measuring."""
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.experiments.robustness import measure_noise
    from dp3d_model.experiments.study import open_test
    from dp3d_model.lifting.model_file import check_template, load_model, model_path

    named = named_runs(config.models or (str(workspace(config.category) / "model"),))
    lifters = {name: (load_model(path), file_digest(model_path(path))) for name, path in named.items()}
    reader = ShardReader(config.test_source())
    for lifter, _ in lifters.values():
        check_template(lifter, reader.template, config.test_source())
    test, identity = open_test(reader, config.test_split, config.count)
    with _reported() as (_, show):
        return measure_noise(lifters, test, identity, levels, folder, show)
