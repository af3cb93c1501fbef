"""The words of dp3d-data: its subcommands, each imported only when it is asked for."""

from __future__ import annotations

import click

from dp3d_data import __version__
from pipelines.cli.commandline import LazyGroup

COMMANDS = {
    "doctor": (
        "pipelines.doctor:doctor",
        "What is installed, and the command that mends what is missing.",
    ),
    "install-detectron2": ("pipelines.doctor:install_detectron2", "Install detectron2 without a compiler."),
    "template": ("pipelines.cli.template:template", "List, look at and import template meshes."),
    "body": ("pipelines.cli.body:body", "List, look at and import body models: SMPL, SMAL and its dogs."),
    "zoo": ("pipelines.cli.cse:zoo", "List the networks, look at one, check a file of weights."),
    "synth": ("pipelines.cli.extract:synth", "Render a synthetic world of a rigged template, with its truth."),
    "train-cse": ("pipelines.cli.cse:train_cse", "Train a CSE network on the synthetic world."),
    "evaluate-cse": ("pipelines.cli.cse:evaluate_cse", "Measure a CSE network on renders whose truth is known."),
    "extract": ("pipelines.cli.extract:extract", "Photographs to visible template keypoints."),
    "project": ("pipelines.cli.extract:project", "Published model fits to keypoints with their truth."),
    "failures": ("pipelines.cli.inspect:failures", "Read the table of images that a run could not process."),
    "build-shards": ("pipelines.cli.shards:build_shards", "Filter, split, shuffle and write keypoints as shards."),
    "merge": ("pipelines.cli.shards:merge", "Join folders of shards into one; duplicates are left out."),
    "split": ("pipelines.cli.shards:split", "Divide shards into new splits, in a new folder."),
    "inspect": ("pipelines.cli.inspect:inspect", "What a folder of shards holds: summary, one instance, statistics."),
    "explore": ("pipelines.cli.inspect:explore", "Look through instances on a page, compare and choose among them."),
    "verify": ("pipelines.cli.shards:verify", "Check every file of a shard folder against its manifest."),
    "report": ("pipelines.cli.inspect:report", "Statistics and overlays of a folder on one HTML page."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Photographs of a kind of animal to 2D surface keypoints.

    Results lie in one workspace folder, ./dp3d-out or $DP3D_WORKSPACE, so that commands follow each other without
    paths: dp3d-data extract, dp3d-data build-shards, dp3d-model train.
    """


if __name__ == "__main__":
    main()
