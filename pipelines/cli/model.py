"""The words of dp3d-model: its subcommands, each imported only when it is asked for."""

from __future__ import annotations

import click

from dp3d_data import __version__
from pipelines.cli.commandline import LazyGroup

COMMANDS = {
    "train": ("pipelines.cli.train:train", "Learn the parts model from shards."),
    "evaluate": ("pipelines.cli.evaluate:evaluate", "Measure a trained model, beside the rigid template."),
    "predict": (
        "pipelines.cli.predict:predict",
        "Lift photographs, keypoints or shards: meshes, rigs, tables, pictures.",
    ),
    "view": ("pipelines.cli.predict:view", "Show lifted instances on one HTML page, to look at and to turn."),
    "calibrate": ("pipelines.cli.predict:calibrate", "Teach a model how sure to be of its answers."),
    "study": ("pipelines.cli.train:study", "Ablations and robustness of a recipe: many trainings in one table."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """2D surface keypoints to 3D shapes.

    Results lie in one workspace folder, ./dp3d-out or $DP3D_WORKSPACE; shards come from dp3d-data build-shards.
    """


if __name__ == "__main__":
    main()
