"""dp3d-model evaluate: trained models on shards that carry the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dp3d_data.commandline import GroupedOption, command, say
from dp3d_data.config import workspace
from dp3d_data.errors import UsageError


@command("evaluate", example="dp3d-model evaluate --category dog --split val")
@click.option("--shards", metavar="PATH", cls=GroupedOption, group="Input", help="Shards with truth.  [default: the category's]")
@click.option("--model", metavar="PATH", cls=GroupedOption, group="Input", help="Model file or folder.  [default: the category's]")
@click.option(
    "--compare",
    metavar="RUN...",
    multiple=True,
    cls=GroupedOption,
    group="Input",
    help="Model files or folders to compare, each also as NAME=PATH.",
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use.")
@click.option("--split", default="val", cls=GroupedOption, group="Input", help='Split to measure on; "all" takes every split.')
@click.option("--count", default=0, type=click.IntRange(0), cls=GroupedOption, group="Input", help="First instances only; 0 takes all.")
@click.option("--remeshed", is_flag=True, cls=GroupedOption, group="Input", help="Accept shards on another meshing of the template.")
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the report.  [default: the category's]")
def evaluate(
    shards: str | None,
    model: str | None,
    compare: tuple[str, ...],
    runs: tuple[str, ...],
    category: str,
    split: str,
    count: int,
    remeshed: bool,
    out: str | None,
) -> None:
    """Measure trained models, beside the rigid template under its closed-form camera.

    Position error (MPJPE) plain and with the depth-flip oracle, after a similarity (PA-MPJPE), and stress; with the scale
    given and estimated; by view, visible share and group; and what a predicted noise tells. Writes evaluation.json,
    evaluation.md and evaluation.png.
    """
    if runs and not compare:
        raise UsageError("models to compare stand after --compare", got=" ".join(runs), hint=f"--compare {' '.join(runs)}")
    if model and compare:
        raise UsageError("--model is one model, --compare several", hint=f"--compare {model} {' '.join(compare + runs)}")
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.evaluation import evaluate as measure
    from dp3d_model.evaluation_report import write_report
    from dp3d_model.instances import load_split
    from dp3d_model.model_file import load_model
    from dp3d_model.remeshing import lifter_for

    source = Path(shards) if shards else workspace(category) / "shards"
    paths = named_runs(compare + runs) if compare else {"model": model or str(workspace(category) / "model")}
    lifters = {name: load_model(path) for name, path in paths.items()}
    reader = ShardReader(source)
    lifters = {name: lifter_for(lifter, reader.template, remeshed, source) for name, lifter in lifters.items()}
    instances = load_split(reader, split)
    result = measure(lifters, instances.take(range(min(count, len(instances)))) if count else instances)
    folder = write_report(result, out or workspace(category) / "evaluation")
    say_figures(result, category)
    say(f"  written to {folder} · next: dp3d-model predict --category {category}")


def say_figures(result: dict[str, Any], category: str) -> None:
    """The main figures of every model, a line each."""
    from dp3d_model.evaluation import METRICS
    from dp3d_model.evaluation_report import TITLES

    say(f"{category}: {result['instances']} instances with truth · errors in template extents, scale given (estimated)")
    for name, means in result["models"].items():
        values = " · ".join(f"{TITLES[m]} {means['given'][m]:.4f} ({means['estimated'][m]:.4f})" for m in METRICS[:4])
        say(f"  {name}: {values}")


def named_runs(runs: tuple[str, ...]) -> dict[str, str]:
    """Name -> path of models given as PATH or NAME=PATH; a path is named by as many of its last folders as tell all apart.

    Raises:
        UsageError: two models have one name.
    """
    given = [run.partition("=")[::2] if "=" in run else ("", run) for run in runs]
    parts = [Path(path).resolve().parts for _, path in given]
    depth = 1
    while len({part[-depth:] for part in parts}) < len({*parts}):
        depth += 1
    named = [(name or "/".join(part[-depth:]), path) for (name, path), part in zip(given, parts, strict=True)]
    doubled = sorted({name for name, _ in named if sum(name == other for other, _ in named) > 1})
    if doubled:
        raise UsageError("two models have one name", got=doubled[0], hint=f"name them: --compare one={given[0][1]} two={given[-1][1]}")
    return dict(named)
