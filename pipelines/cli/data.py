"""The words of dp3d-data: its subcommands, each imported only when it is asked for."""

from __future__ import annotations

import click

from dp3d_data import __version__
from pipelines.cli.commandline import LazyGroup

_ROOM = "pipelines.cli"

COMMANDS = {
    "doctor": (f"{_ROOM}.doctor:doctor", "What is installed, found and missing, with the command that mends each."),
    "install-detectron2": (f"{_ROOM}.install_detectron2:install_detectron2", "Install detectron2 without a compiler."),
    "template": (f"{_ROOM}.template:template", "List, look at and import template meshes."),
    "body": (f"{_ROOM}.body:body", "List, look at and import body models: SMPL, SMAL and its dogs."),
    "zoo": (f"{_ROOM}.zoo:zoo", "List the networks, look at one, check a file of weights."),
    "synth": (f"{_ROOM}.synth:synth", "Render a synthetic world of a rigged template, with its truth."),
    "train-cse": (f"{_ROOM}.train_cse:train_cse", "Train a CSE network on the synthetic world."),
    "evaluate-cse": (f"{_ROOM}.evaluate_cse:evaluate_cse", "Measure a CSE network on renders whose truth is known."),
    "extract": (f"{_ROOM}.extract:extract", "Photographs to visible template keypoints."),
    "project": (f"{_ROOM}.project:project", "Published model fits to keypoints with their truth."),
    "failures": (f"{_ROOM}.failures:failures", "Read the table of images that a run could not process."),
    "build-shards": (f"{_ROOM}.build_shards:build_shards", "Filter, split, shuffle and write keypoints as shards."),
    "merge": (f"{_ROOM}.merge:merge", "Join folders of shards into one; duplicates are left out."),
    "split": (f"{_ROOM}.split:split", "Divide shards into new sides, in a new folder."),
    "inspect": (f"{_ROOM}.inspect:inspect", "What a folder of shards holds: summary, one instance, statistics."),
    "explore": (f"{_ROOM}.explore:explore", "Look through instances on a page, compare and choose among them."),
    "verify": (f"{_ROOM}.verify:verify", "Check every file of a shard folder against its manifest."),
    "report": (f"{_ROOM}.report:report", "Statistics and overlays of a folder on one HTML page."),
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
