"""dp3d-data evaluate-cse: score a CSE network on held-out synthetic images and on annotated photographs."""

from __future__ import annotations

import click

from dp3d_data.commandline import command, config_options
from dp3d_data.training.recipe import EvaluateCseConfig


@command("evaluate-cse", example="dp3d-data evaluate-cse --count 200 --out scores.json")
@config_options(EvaluateCseConfig)
def evaluate_cse(config: EvaluateCseConfig) -> None:
    """Score a CSE network where the truth is known.

    Detection (AP50), mask IoU, and on renders of the network's own template the geodesic error of the matched vertices
    and the error of the pooled keypoints.
    """
    from pipelines.evaluate_cse import run

    for part, scores in run(config).items():
        click.echo(part + ": " + " · ".join(f"{name} {value:.4g}" for name, value in scores.items()))
