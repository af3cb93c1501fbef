"""dp3d-model robustness: how errors grow with noisy, sparse and one-sided keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dp3d_data.config import workspace
from dp3d_model.config import TrainConfig, preset_values
from pipelines.cli.commandline import GroupedOption, command, config_options, say
from pipelines.cli.evaluate import named_runs

FIGURES = ("noise", "training-noise", "lower-half")
_SHARE = click.FloatRange(0, 100)


def _option(group: str, *names: str, **settings: Any) -> Any:
    """An option under a heading."""
    return click.option(*names, cls=GroupedOption, group=group, **settings)


@command("robustness", example="dp3d-model robustness --category dog\ndp3d-model robustness --figure lower-half --steps 400")
@_option("Figures", "--figure", "figures", multiple=True, default=FIGURES[:1], type=click.Choice(FIGURES), help="What to measure.")
@_option("Input", "--model", "models", multiple=True, metavar="RUN", help="Model, also as NAME=PATH.  [default: the category's]")
@_option("Input", "--shards", metavar="PATH", help="Shards to learn from.  [default: the category's]")
@_option("Input", "--split", default="train", help="Split to learn from.")
@_option("Input", "--test-shards", metavar="PATH", help="Shards with truth.  [default: those of --shards]")
@_option("Input", "--test-split", default="val", help="Split to measure on.")
@_option("Input", "--count", default=0, type=click.IntRange(0), help="First test instances; 0 takes all.")
@_option("Input", "--category", default="dog", help="Whose part of the workspace to use.")
@_option("Input", "--threads", default=1, type=click.IntRange(0), help="Threads that read ahead.")
@_option("Levels", "--level", "levels", multiple=True, default=(0, 1, 2, 5, 10), type=_SHARE, help="Noise, % of the box.")
@_option("Levels", "--hidden", multiple=True, default=(0, 50, 80, 90, 95), type=_SHARE, help="Hidden keypoints, %.")
@_option("Levels", "--rate", "rates", multiple=True, default=(0, 25, 50, 75, 100), type=_SHARE, help="Lost lower halves, %.")
@_option("Levels", "--up", default="z", type=click.Choice(["x", "y", "z"]), help="Upward axis of the template.")
@_option("Output", "--out", metavar="DIR", help="Folder of the results.  [default: the category's]")
@_option("Output", "--overwrite", is_flag=True, help="Discard runs of another recipe.")
@config_options(TrainConfig, preset_values())
def robustness(config: TrainConfig, figures: tuple[str, ...], category: str, out: str | None, **given: Any) -> None:
    """Measure how errors grow as keypoints get worse.

    noise: Gaussian noise and hidden keypoints when measuring (Figure 1 of the supplement). training-noise: the same when
    learning, one run in each cell. lower-half: the lower half of the body hidden in a growing share of the training
    instances (Figure 2), one run at each rate. Writes NAME.json, NAME.md and NAME.png of each; runs lie in DIR/runs and go on
    where they were stopped.
    """
    folder = Path(out) if out else workspace(category) / "robustness"
    chosen = config
    given["shards"] = given["shards"] or str(workspace(category) / "shards")
    for figure in dict.fromkeys(figures):
        if figure == "noise":
            _noise(given, given["models"] or (str(workspace(category) / "model"),), chosen.seed, folder)
        else:
            _learnt(figure, given, chosen, folder)
    say(f"  written to {folder}")


def _noise(given: dict[str, Any], models: tuple[str, ...], seed: int, folder: Path) -> None:
    """Figure 1, corrupted when measuring."""
    from dp3d_data.config import file_digest
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.experiments import robustness as work
    from dp3d_model.experiments.figures import draw_noise
    from dp3d_model.experiments.study import Report, open_test
    from dp3d_model.lifting.model_file import check_template, load_model, model_path

    source = given["test_shards"] or given["shards"]
    lifters = {name: (load_model(path), file_digest(model_path(path))) for name, path in named_runs(models).items()}
    reader, report = ShardReader(source), Report()
    for lifter, _ in lifters.values():
        check_template(lifter, reader.template.name, reader.template.content_hash, source)
    test, identity = open_test(reader, given["test_split"], given["count"])
    with report.progress():
        result = work.measure_noise(lifters, test, identity, _grid(given, seed), folder, report.show)
    title = "Noise and hidden keypoints"
    work.write(result, work.noise_markdown(result, title), folder, "noise")
    draw_noise(result, folder / "noise.png", title)
    for name, rows in result["models"].items():
        say(f"{name}: clean MPJPE {rows[0]['mpjpe']:.4f} on {len(test)} instances")
        for line in work.judged(rows):
            say(f"  {line}")


def _learnt(figure: str, given: dict[str, Any], config: TrainConfig, folder: Path) -> None:
    """Figure 1, corrupted when learning, or Figure 2."""
    from dp3d_model.experiments import robustness as work
    from dp3d_model.experiments.figures import draw_halves, draw_noise
    from dp3d_model.experiments.study import Inputs, open_study

    inputs = Inputs(given["shards"], given["split"], given["test_shards"] or given["shards"], given["test_split"], given["count"])
    study = open_study(inputs, folder, given["threads"], given["overwrite"], fields=("ids",))
    test, say = (study.test, study.test_identity), study.report.say
    with study.report.progress():
        if figure == "lower-half":
            rates = [rate / 100.0 for rate in given["rates"]]
            result = work.lose_lower_halves(config, study.runs, *test, rates, config.seed, given["up"], say)
        else:
            result = work.train_noise(config, study.runs, *test, _grid(given, config.seed), say)
    if figure == "lower-half":
        work.write(result, work.halves_markdown(result), folder, figure)
        draw_halves(result, folder / f"{figure}.png")
    else:
        title = "Noise and hidden keypoints in training"
        work.write(result, work.noise_markdown(result, title), folder, figure)
        draw_noise(result, folder / f"{figure}.png", title)


def _grid(given: dict[str, Any], seed: int) -> Any:
    """The levels asked for, with the clean case first."""
    from dp3d_model.experiments.robustness import Grid

    noise, hidden = (tuple(sorted({0.0, *(value / 100.0 for value in given[name])})) for name in ("levels", "hidden"))
    return Grid(noise, hidden, seed)
