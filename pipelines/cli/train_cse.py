"""dp3d-data train-cse: a CSE network for a template, from synthetic images alone."""

from __future__ import annotations

from dp3d_data.detection.training.recipe import TrainCseConfig
from pipelines.cli.commandline import command, config_options, say


@command("train-cse", example="dp3d-data train-cse --category dog --config pipelines/recipes/dog-synth-2-trunk.toml")
@config_options(TrainCseConfig)
def train_cse(config: TrainCseConfig) -> None:
    """Train a CSE network on synthetic images of a template.

    The world renders the template in sampled poses, proportions, coats and scenes; the network learns boxes, masks and
    the embedding of every pixel. A run that was stopped goes on where it stopped when the same command is given again.
    In several processes, each with a batch of its own: torchrun --nproc-per-node 2 -m pipelines.cli.data train-cse.
    """
    from pipelines.train_cse import run

    result = run(config, say)
    say(f"  weights written to {result} · next: dp3d-data evaluate-cse --weights {result}")
