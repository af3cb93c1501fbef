"""dp3d-model evaluate: a trained model on shards that carry the truth."""

from __future__ import annotations

from pathlib import Path

import click

from dp3d_data.commandline import GroupedOption, command
from dp3d_data.config import workspace


@command("evaluate", example="dp3d-model evaluate --category dog --split val")
@click.option("--shards", metavar="PATH", cls=GroupedOption, group="Input", help="Shards with truth.  [default: the category's]")
@click.option("--model", metavar="PATH", cls=GroupedOption, group="Input", help="Model file or folder.  [default: the category's]")
@click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use.")
@click.option("--split", default="val", cls=GroupedOption, group="Input", help='Split to measure on; "all" takes every split.')
@click.option("--remeshed", is_flag=True, cls=GroupedOption, group="Input", help="Accept shards on another meshing of the template.")
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the report.  [default: the category's]")
def evaluate(shards: str | None, model: str | None, category: str, split: str, remeshed: bool, out: str | None) -> None:
    """Measure a trained model, beside the rigid template under its closed-form camera.

    Position error (MPJPE) plain and with the depth-flip oracle, after a similarity (PA-MPJPE), and stress; with the scale
    given and estimated; by view and by visible share. Writes evaluation.json, evaluation.md and evaluation.png.
    """
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.evaluation import METRICS
    from dp3d_model.evaluation import evaluate as measure
    from dp3d_model.evaluation_report import TITLES, write_report
    from dp3d_model.instances import load_split
    from dp3d_model.model_file import load_model
    from dp3d_model.remeshing import lifter_for

    source = Path(shards) if shards else workspace(category) / "shards"
    lifter = load_model(model or workspace(category) / "model")
    reader = ShardReader(source)
    lifter = lifter_for(lifter, reader.template, remeshed, source)
    result = measure(lifter, load_split(reader, split))
    folder = write_report(result, out or workspace(category) / "evaluation")
    click.echo(f"{category}: {result['instances']} instances with truth · errors in template extents, scale given (estimated)")
    for name, means in result["models"].items():
        values = " · ".join(f"{TITLES[m]} {means['given'][m]:.4f} ({means['estimated'][m]:.4f})" for m in METRICS[:4])
        click.echo(f"  {name}: {values}")
    click.echo(f"  written to {folder} · next: dp3d-model predict --category {category}")
