"""The words of dp3d-model: its subcommands, each imported only when it is asked for."""

from __future__ import annotations

import click

from dp3d_data.commandline import LazyGroup

COMMANDS = {
    "train": ("dp3d_model.commands.train:train", "Learn the parts model from shards."),
    "evaluate": ("dp3d_model.commands.evaluate:evaluate", "Measure a trained model, beside the rigid template."),
    "predict": ("dp3d_model.commands.predict:predict", "Lift photographs, keypoints or shards: meshes, rigs, tables, pictures."),
    "view": ("dp3d_model.commands.view:view", "Show lifted instances on one HTML page, to look at and to turn."),
    "calibrate": ("dp3d_model.commands.calibrate:calibrate", "Teach a model how sure to be of its answers."),
    "ablate": ("dp3d_model.commands.ablate:ablate", "Train variants and other methods; compare them in one table."),
    "robustness": ("dp3d_model.commands.robustness:robustness", "Errors over noisy, hidden and one-sided keypoints."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"max_content_width": 110})
@click.version_option(package_name="dp3d")
def main() -> None:
    """2D surface keypoints to 3D shapes.

    Results lie in one workspace folder, ./dp3d or $DP3D_WORKSPACE; shards come from dp3d-data build-shards.
    """


if __name__ == "__main__":
    main()
