"""dp3d-model view: lifted instances on one HTML page, to look at and to turn."""

from __future__ import annotations

from pipelines.cli.commandline import command, config_options, say
from pipelines.cli.predict import model_and_instances
from pipelines.lift_settings import ViewConfig

EXAMPLE = """
dp3d-model view --category dog --count 8
dp3d-model view --images photos/
"""


@command("view", example=EXAMPLE)
@config_options(ViewConfig)
def view(config: ViewConfig) -> None:
    """Show lifted instances on one self-contained page, view.html.

    Each stands beside its photograph with the keypoints, from the photograph's camera and turning, coloured by part, by
    visibility, and by error where the truth is known. The page fetches nothing and needs no WebGL.
    """
    from dp3d_model.lifting.prediction import predict
    from pipelines.view import write_view

    folder = config.folder("view")
    lifter, instances = model_and_instances(folder, config.count, config)
    lifted = list(predict(lifter, instances))
    path = write_view(lifter, instances, lifted, folder / "view.html", f"{config.category}: lifted instances")
    say(f"  written to {path}")
