"""dp3d-data evaluate-cse: score a CSE network on held-out synthetic images and on annotated photographs."""

from __future__ import annotations

from dataclasses import dataclass

import click

from dp3d_data.commandline import command, config_options
from dp3d_data.config import setting


@dataclass(frozen=True, kw_only=True)
class EvaluateCseConfig:
    """What to score, and on what."""

    category: str = setting("dog", "Category of the network.", group="Network")
    model: str = setting("dog-synth-1", "Network: dp3d-data zoo list.", group="Network")
    weights: str = setting("", "Checkpoint to score; empty for the embedded one.", group="Network")
    count: int = setting(200, "Synthetic images.", group="Synthetic images", minimum=0)
    seed: int = setting(0, "Seed of the training; the world of the evaluation is its held-out twin.", group="Synthetic images")
    size: int = setting(256, "Side of the images, pixels.", group="Synthetic images", minimum=64)
    template: str = setting("", "Render this one; a mesh other than the network's has no geodesic error.", group="Synthetic images")
    stanford_extra: str = setting("", "StanfordExtra json of annotated photographs.", group="Photographs")
    images: str = setting("", "Folder that the json's image paths start from.", group="Photographs")
    device: str = setting("cpu", "cpu, cuda or cuda:N.", group="Machine")
    out: str = setting("", "Write the measures to this json file too.", group="Machine")


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
