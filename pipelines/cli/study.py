"""dp3d-model study: many trainings and measurements of one recipe, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dp3d_data.config import workspace
from dp3d_model.config import presets
from pipelines.cli.commandline import LazyGroup, command, config_options, say
from pipelines.cli.evaluate import named_runs
from pipelines.settings import AblationConfig, RobustnessConfig, StudyConfig

if TYPE_CHECKING:
    from dp3d_model.experiments.robustness import Grid
    from dp3d_model.experiments.study import Study

COMMANDS = {
    "ablation": (
        "pipelines.cli.study:ablation",
        "Train variants of a recipe and other methods; compare them in one table.",
    ),
    "robustness": ("pipelines.cli.study:robustness", "Errors over noisy, hidden and one-sided keypoints."),
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
    from dp3d_model.experiments.ablation import Ablation, chosen_rows, run_ablation

    rows = chosen_rows(config.recipe(), config.row, config.add)
    folder = config.folder("ablation")
    opened = _opened(config, folder)
    counts = f"{sum(opened.runs.source.sizes)} instances to learn from, {len(opened.test)} to measure on"
    say(f"{config.category}: {len(rows)} rows · {counts}")
    with opened.report.progress():
        asked = Ablation(rows, opened.test, opened.test_identity, config.minutes, config.examples)
        run_ablation(asked, opened.runs, opened.report.say)
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
    folder = config.folder("robustness")
    for figure in dict.fromkeys(config.figure):
        if figure == "noise":
            _noise(config, folder)
        else:
            _learnt(figure, config, folder)
    say(f"  written to {folder}")


def _opened(config: StudyConfig, folder: Path, fields: tuple[str, ...] = ()) -> Study:
    """The shards of a study, opened."""
    from dp3d_model.experiments.study import Inputs, open_study

    inputs = Inputs(config.source(), config.split, config.test_source(), config.test_split, config.count)
    return open_study(inputs, folder, config.threads, config.overwrite, fields)


def _noise(config: RobustnessConfig, folder: Path) -> None:
    """Figure 1, corrupted when measuring."""
    from dp3d_data.config import file_digest
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.experiments import robustness as work
    from dp3d_model.experiments.study import Report, open_test
    from dp3d_model.lifting.model_file import check_template, load_model, model_path

    source = config.test_source()
    named = named_runs(config.models or (str(workspace(config.category) / "model"),))
    lifters = {name: (load_model(path), file_digest(model_path(path))) for name, path in named.items()}
    reader, report = ShardReader(source), Report()
    for lifter, _ in lifters.values():
        check_template(lifter, reader.template.name, reader.template.content_hash, source)
    test, identity = open_test(reader, config.test_split, config.count)
    with report.progress():
        result = work.measure_noise(lifters, test, identity, _grid(config), folder, report.show)
    _write_noise(result, folder, "noise", "Noise and hidden keypoints")
    for name, rows in result["models"].items():
        say(f"{name}: clean MPJPE {rows[0]['mpjpe']:.4f} on {len(test)} instances")
        for line in work.judged(rows):
            say(f"  {line}")


def _learnt(figure: str, config: RobustnessConfig, folder: Path) -> None:
    """Figure 1, corrupted when learning, or Figure 2."""
    from dp3d_model.experiments import robustness as work
    from dp3d_model.experiments.figures import draw_halves

    opened, recipe = _opened(config, folder, fields=("ids",)), config.recipe()
    test, tell = (opened.test, opened.test_identity), opened.report.say
    with opened.report.progress():
        if figure == "lower-half":
            rates = [rate / 100.0 for rate in config.rates]
            result = work.lose_lower_halves(recipe, opened.runs, *test, rates, recipe.run.seed, config.up, tell)
        else:
            result = work.train_noise(recipe, opened.runs, *test, _grid(config), tell)
    if figure == "lower-half":
        work.write(result, work.halves_markdown(result), folder, figure)
        draw_halves(result, folder / f"{figure}.png")
    else:
        _write_noise(result, folder, figure, "Noise and hidden keypoints in training")


def _write_noise(result: dict[str, Any], folder: Path, name: str, title: str) -> None:
    """Figure 1 as json, Markdown and picture."""
    from dp3d_model.experiments import robustness as work
    from dp3d_model.experiments.figures import draw_noise

    work.write(result, work.noise_markdown(result, title), folder, name)
    draw_noise(result, folder / f"{name}.png", title)


def _grid(config: RobustnessConfig) -> Grid:
    """The levels asked for, with the clean case first."""
    from dp3d_model.experiments.robustness import Grid

    noise, hidden = (
        tuple(sorted({0.0, *(value / 100.0 for value in values)})) for values in (config.levels, config.hidden)
    )
    return Grid(noise, hidden, config.run.seed)
