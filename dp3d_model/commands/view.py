"""dp3d-model view: lifted instances on one HTML page, to look at and to turn."""

from __future__ import annotations

from pathlib import Path

import click

from dp3d_data.commandline import GroupedOption, command
from dp3d_data.config import workspace
from dp3d_model.commands.predict import find_instances, lifting_options

EXAMPLE = """
dp3d-model view --category dog --count 8
dp3d-model view --images photos/
"""


@command("view", example=EXAMPLE)
@lifting_options
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the page.  [default: the category's]")
@click.option("--count", default=12, type=click.IntRange(0), cls=GroupedOption, group="Output", help="Instances to show; 0 for all.")
def view(
    shards: str | None,
    images: tuple[str, ...],
    keypoints: str | None,
    model: str | None,
    category: str,
    split: str,
    remeshed: bool,
    score: float,
    min_vertices: int,
    out: str | None,
    count: int,
) -> None:
    """Show lifted instances on one self-contained page, view.html.

    Each stands beside its photograph with the keypoints, from the photograph's camera and turning, coloured by part, by visibility, and
    by error where the truth is known. The page draws with WebGL and fetches nothing.
    """
    from dp3d_model.gallery import photographs_first
    from dp3d_model.model_file import load_model
    from pipelines.view import write_view

    folder = Path(out) if out else workspace(category) / "view"
    lifter, found = find_instances(
        load_model(model or workspace(category) / "model"), folder, category, shards, images, keypoints, split, remeshed,
        score=score, min_vertices=min_vertices,
    )  # fmt: skip
    instances = photographs_first(found.instances, count)
    click.echo(f"{category}: {len(instances)} instances of {found.source} · template {lifter.surface.name}")
    path = write_view(lifter, instances, folder / "view.html", f"{category}: lifted instances")
    click.echo(f"  written to {path}")
