"""dp3d-model predict: photographs, keypoints or shards to meshes, rigs, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dp3d_data.config import workspace
from pipelines.cli.commandline import GroupedOption, command, say
from pipelines.extract_settings import ExtractConfig

if TYPE_CHECKING:
    from dp3d_data.shards.batch import KeypointBatch
    from dp3d_model.config import TrainConfig
    from dp3d_model.networks.lifter import Lifter

FORMATS = ("glb", "obj", "ply", "npz", "turn", "table")
EXAMPLE = """
dp3d-model predict --images photos/
dp3d-model predict --category dog --split all --count 8
dp3d-model predict --keypoints keypoints.npz --format table --no-pictures
"""


def lifting_options(function: Callable) -> Callable:
    """The options that say what is lifted and by which model."""
    text = "Run folder of extract, synth or project, or shards.  [default: the category's shards, else the sample photographs]"
    options = (
        click.option("--shards", metavar="PATH", cls=GroupedOption, group="Input", help=text),
        click.option(
            "--images", multiple=True, metavar="PATH", cls=GroupedOption, group="Input",
            help="Folder, file or pattern of photographs, extracted first; may be repeated.",
        ),
        click.option(
            "--keypoints", metavar="FILE", cls=GroupedOption, group="Input",
            help="Keypoints of template vertices: .npz, .csv or .parquet (docs/use.md).",
        ),
        click.option(
            "--model", metavar="PATH", cls=GroupedOption, group="Input",
            help="Model file or folder.  [default: the workspace's or embedded one]",
        ),
        click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use."),
        click.option("--device", default="cpu", cls=GroupedOption, group="Input", help="Where to compute: cpu, cuda, cuda:1, ..."),
        click.option("--split", default="all", cls=GroupedOption, group="Input", help='Split of shards; "all" takes every split.'),
        click.option(
            "--optimise/--no-optimise", default=None, cls=GroupedOption, group="Input",
            help="Fit each instance to its own keypoints and mask after the network.  [default: photographs, and as the model says]",
        ),
        click.option(
            "--remeshed", is_flag=True, cls=GroupedOption, group="Input", help="Accept shards on another meshing of the template."
        ),
        click.option(
            "--score", default=ExtractConfig.score, type=click.FloatRange(0, 1), cls=GroupedOption, group="Input",
            help="Detections in photographs below this score are not looked at.",
        ),
        click.option(
            "--min-vertices", default=20, type=click.IntRange(1), cls=GroupedOption, group="Input",
            help="Instances of photographs and keypoint files with fewer visible vertices are rejected.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@command("predict", example=EXAMPLE)
@lifting_options
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the results.  [default: the category's]")
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("glb", "npz"),
    type=click.Choice(FORMATS),
    cls=GroupedOption,
    group="Output",
    help="Files to write; turn is an animated picture, table one predictions.parquet of all.",
)
@click.option("--rig", is_flag=True, cls=GroupedOption, group="Output", help="GLB files with a skeleton: a joint for each part.")
@click.option("--count", default=24, type=click.IntRange(0), cls=GroupedOption, group="Output", help="Instances to write; 0 for all.")
@click.option("--pictures/--no-pictures", default=True, cls=GroupedOption, group="Output", help="Draw each instance, and a page.")
@click.option(
    "--min-confidence", default=0.1, type=click.FloatRange(0, 1), cls=GroupedOption, group="Output",
    help="Instances that the model is less sure of are rejected.",
)  # fmt: skip
def predict(
    out: str | None, formats: tuple[str, ...], rig: bool, count: int, pictures: bool, min_confidence: float, **given: Any
) -> None:
    """Lift instances to 3D.

    Without any input and without shards in the workspace, the sample photographs are lifted. For each instance: an npz with the posed
    vertices, the camera, the part motions and the figures; a mesh, with the photograph as its texture where there is one; and a row of
    pictures. lifted.png shows those that the model is surest of, view.html all of them to turn, figures.csv what is known of each.
    Photographs and keypoint files become a run folder, OUT/extract, first: dp3d-data failures tells what could not be used.
    """
    from dp3d_model.export.gallery import Output, write_predictions
    from pipelines.view import write_view

    folder = Path(out) if out else workspace(given["category"]) / "predictions"
    lifter, instances = model_and_instances(folder, count, **given)
    with click.progressbar(length=len(instances), label="lift") as bar:
        written = write_predictions(lifter, instances, folder, Output(formats, pictures, rig, min_confidence), bar.update)
    if pictures and len(written.kept):
        write_view(lifter, written.kept, written.predictions, folder / "view.html", f"{given['category']}: lifted instances")
    rejected = f" · rejected {len(written.rejected)}: little confidence (figures.csv)" if written.rejected else ""
    say(f"  wrote {len(written.kept)} of {len(instances)} instances{rejected}")
    say(f"  written to {folder}: {', '.join(formats)}, figures.csv{', png, lifted.png, view.html' if pictures else ''}")


def model_and_instances(
    folder: Path,
    count: int,
    *,
    shards: str | None,
    images: tuple[str, ...],
    keypoints: str | None,
    model: str | None,
    category: str,
    device: str,
    split: str,
    remeshed: bool,
    optimise: bool | None,
    **filters: Any,
) -> tuple[Lifter, KeypointBatch]:
    """What `lifting_options` name: the model, and at most `count` instances on its template; the program says what they are.

    Args:
        folder: of the results; photographs and keypoint files are extracted into it.
        filters: the settings of that extraction.

    Raises:
        UsageError: more than one kind of input, or no such device.
        TemplateMismatch: instances of another template.
    """
    from dp3d_data.device import require_device
    from dp3d_data.errors import UsageError
    from dp3d_model.export.gallery import photographs_first
    from dp3d_model.geometry.remeshing import lifter_for
    from dp3d_model.lifting.inputs import open_to_lift
    from dp3d_model.lifting.model_file import embedded_model, find_model, load_model

    named = [name for name, value in (("--shards", shards), ("--images", images), ("--keypoints", keypoints)) if value]
    if len(named) > 1:
        raise UsageError("more than one kind of input", got=" and ".join(named), expected="one of --shards, --images and --keypoints")
    require_device(device)
    path = find_model(category, model)
    lifter = load_model(path, device)
    lifter.config = with_optimisation(lifter.config, not (shards or keypoints) if optimise is None else optimise, optimise is None)
    say(f"{category}: the embedded model" if path == embedded_model(category) else f"{category}: model {path}")
    source = Path(shards) if shards else workspace(category) / "shards"
    if images or keypoints or not (shards or source.is_dir()):
        source = _extracted(lifter, images or keypoints, folder, ExtractConfig(category=category, device=device, **filters))
    found = open_to_lift(source, split)
    lifter = lifter_for(lifter, found.template, remeshed, source)
    instances = photographs_first(found.instances, count)
    say(f"{category}: {len(instances)} instances of {found.source} · template {lifter.surface.name}")
    return lifter, instances


def with_optimisation(config: TrainConfig, wanted: bool, by_default: bool) -> TrainConfig:
    """The settings of a model with test-time optimisation, its own or the usual one, or without."""
    from dataclasses import replace

    from dp3d_model.config import TEST_TIME

    if wanted and not config.refine_steps:
        return replace(config, **TEST_TIME)
    return config if wanted or by_default else replace(config, refine_steps=0)


def _extracted(lifter: Lifter, given: tuple[str, ...] | str | None, folder: Path, config: ExtractConfig) -> Path:
    """The run folder of photographs (several paths) or of a keypoint file."""
    from dp3d_model.lifting.inputs import template_of
    from pipelines.lift import from_keypoints, from_photographs

    template = template_of(lifter.surface)
    if isinstance(given, str):
        outcome = from_keypoints(given, template, folder, config)
    else:
        outcome = from_photographs(given or (), template, folder, config)
    fate = outcome.images
    say(f"{fate.inputs} images: {fate.kept} with instances, {sum(fate.rejected.values())} rejected, {fate.failed} failed")
    return outcome.run.folder
