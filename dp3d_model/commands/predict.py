"""dp3d-model predict: instances of shards to meshes and pictures."""

from __future__ import annotations

from pathlib import Path

import click

from dp3d_data.commandline import GroupedOption, command
from dp3d_data.config import workspace

FORMATS = ("glb", "obj", "ply")


@command("predict", example="dp3d-model predict --category dog --split all --count 8")
@click.option("--shards", metavar="PATH", cls=GroupedOption, group="Input", help="Shards to lift.  [default: the category's]")
@click.option("--model", metavar="PATH", cls=GroupedOption, group="Input", help="Model file or folder.  [default: the category's]")
@click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use.")
@click.option("--split", default="all", cls=GroupedOption, group="Input", help='Split to lift; "all" takes every split.')
@click.option("--remeshed", is_flag=True, cls=GroupedOption, group="Input", help="Accept shards on another meshing of the template.")
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the results.  [default: the category's]")
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("glb",),
    type=click.Choice(FORMATS),
    cls=GroupedOption,
    group="Output",
    help="Mesh files to write.",
)
@click.option("--count", default=24, type=click.IntRange(0), cls=GroupedOption, group="Output", help="Instances to write; 0 for all.")
@click.option("--pictures/--no-pictures", default=True, cls=GroupedOption, group="Output", help="Draw each instance beside its photograph.")
def predict(
    shards: str | None,
    model: str | None,
    category: str,
    split: str,
    remeshed: bool,
    out: str | None,
    formats: tuple[str, ...],
    count: int,
    pictures: bool,
) -> None:
    """Lift instances to 3D.

    For each instance: an npz with the posed vertices, the camera and the part motions, a mesh with the parts as vertex colours, and a
    picture (photograph with keypoints, body over it, body alone, then a turntable); lifted.png shows the first ones.
    """
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.gallery import photographs_first, write_predictions
    from dp3d_model.instances import load_split
    from dp3d_model.model_file import load_model
    from dp3d_model.remeshing import lifter_for

    source = Path(shards) if shards else workspace(category) / "shards"
    folder = Path(out) if out else workspace(category) / "predictions"
    lifter = load_model(model or workspace(category) / "model")
    reader = ShardReader(source)
    lifter = lifter_for(lifter, reader.template, remeshed, source)
    instances = load_split(reader, split)
    instances = photographs_first(instances, count)
    click.echo(f"{category}: {len(instances)} instances of {source} · {lifter.config.parts} parts of template {lifter.surface.name}")
    with click.progressbar(length=len(instances), label="lift") as bar:
        write_predictions(lifter, instances, folder, formats, pictures, lambda: bar.update(1))
    click.echo(f"  written to {folder}: {', '.join((*formats, 'npz'))}{', png, lifted.png' if pictures else ''}")
