"""dp3d-model calibrate: teach a model how sure to be of its answers."""

from __future__ import annotations

from pathlib import Path

import click

from dp3d_data.config import workspace
from pipelines.cli.commandline import GroupedOption, command, say

EXAMPLE = """
dp3d-data synth --annotate --count 500 --seed 7 --out world/
dp3d-model calibrate --shards world/
"""


@command("calibrate", writes="file", example=EXAMPLE)
@click.option(
    "--shards",
    metavar="PATH",
    cls=GroupedOption,
    group="Input",
    help="Shards or run with truth.  [default: the category's]",
)
@click.option(
    "--model",
    metavar="PATH",
    cls=GroupedOption,
    group="Input",
    help="Model file or folder.  [default: the workspace's]",
)
@click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use.")
@click.option(
    "--split", default="all", cls=GroupedOption, group="Input", help='Split of shards; "all" takes every split.'
)
@click.option(
    "--out", metavar="FILE", cls=GroupedOption, group="Output", help="Model file to write.  [default: the model itself]"
)
@click.option(
    "--half", is_flag=True, cls=GroupedOption, group="Output", help="Keep the weights in 16 bits, for half the space."
)
def calibrate(shards: str | None, model: str | None, category: str, split: str, out: str | None, half: bool) -> None:
    """Compare what a model says of its answers with their true errors, and keep what was learned in the model file.

    From then on every prediction carries a confidence: the probability that the mean error is below a tenth of the
    body's extent. The instances should be new to the model, and seen by the network whose keypoints it will lift:
    dp3d-data synth --annotate.
    """
    from dp3d_model.evaluation.evaluator import calibrated
    from dp3d_model.lifting.inputs import open_to_lift
    from dp3d_model.lifting.model_file import check_template, load_model, model_path, origin_of, save_model

    path = model_path(model or workspace(category) / "model")
    lifter = load_model(path)
    found = open_to_lift(shards or workspace(category) / "shards", split)
    check_template(lifter, found.template.name, found.template.content_hash, found.source)
    lifter, result = calibrated(lifter, found.instances.with_truth())
    target = save_model(lifter, Path(out) if out else path, **origin_of(path), half=half)
    say(f"{category}: {result['instances']} instances with truth · mean error {result['error']:.4f} template extents")
    say(f"  rank correlation of confidence and error {result['rank_correlation']:.2f}")
    say(f"  mean error of the surest half {result['surest_half']:.4f}, of the best half {result['best_half']:.4f}")
    say(f"  written to {target}")
