"""dp3d-model view: lifted instances on one HTML page, to look at and to turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dp3d_data.config import workspace
from pipelines.cli.commandline import GroupedOption, command, say
from pipelines.cli.predict import lifting_options, model_and_instances

EXAMPLE = """
dp3d-model view --category dog --count 8
dp3d-model view --images photos/
"""


@command("view", example=EXAMPLE)
@lifting_options
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the page.  [default: the category's]")
@click.option("--count", default=12, type=click.IntRange(0), cls=GroupedOption, group="Output", help="Instances to show; 0 for all.")
def view(out: str | None, count: int, **given: Any) -> None:
    """Show lifted instances on one self-contained page, view.html.

    Each stands beside its photograph with the keypoints, from the photograph's camera and turning, coloured by part, by visibility, and
    by error where the truth is known. The page fetches nothing and needs no WebGL.
    """
    from dp3d_model.lifting.prediction import predict
    from pipelines.view import write_view

    folder = Path(out) if out else workspace(given["category"]) / "view"
    lifter, instances = model_and_instances(folder, count, **given)
    lifted = list(predict(lifter, instances))
    path = write_view(lifter, instances, lifted, folder / "view.html", f"{given['category']}: lifted instances")
    say(f"  written to {path}")
