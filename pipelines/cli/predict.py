"""dp3d-model predict, view and calibrate: a trained model at work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dp3d_data.config import changed, workspace
from dp3d_data.errors import UsageError
from dp3d_model.config import preset
from pipelines.cli.commandline import command, config_options, progress, say
from pipelines.settings import ExtractConfig, LiftConfig, PredictConfig, place_of

if TYPE_CHECKING:
    from dp3d_data.shards.batch import KeypointBatch
    from dp3d_model.networks.lifter import Lifter


EXAMPLE = """
dp3d-model predict --images photos/
dp3d-model predict --category dog --set split=val --count 8
dp3d-model predict --keypoints keypoints.npz --format table --no-pictures
"""


@command("predict", example=EXAMPLE)
@config_options(PredictConfig)
def predict(config: PredictConfig) -> None:
    """Lift instances to 3D.

    Without any input and without shards in the workspace, the sample photographs are lifted. For each instance: an npz
    with the posed vertices, the camera, the part motions and the figures; a mesh, with the photograph as its texture
    where there is one; and a row of pictures. lifted.png shows those that the model is surest of, view.html all of them
    to turn, figures.csv what is known of each. Photographs and keypoint files become a run folder, OUT/extract, first:
    dp3d-data failures tells what could not be used.
    """
    from dp3d_model.export.gallery import write_predictions
    from dp3d_model.lifting.prediction import lift_to_keep
    from pipelines.lift import write_view

    folder = place_of(config.out, config.category, "predictions")
    lifter, instances = model_and_instances(folder, config)
    with progress("lift", len(instances), "instances/s") as advance:
        lifted, rejects = lift_to_keep(lifter, instances, config.min_confidence, advance)
    with progress("write", len(instances) - len(rejects), "instances/s") as advance:
        kept, predictions = write_predictions(
            lifter,
            instances,
            lifted,
            rejects,
            folder,
            formats=config.format,
            pictures=config.pictures,
            rig=config.rig,
            done=advance,
        )
    if config.pictures and len(kept):
        write_view(lifter, kept, predictions, folder / "view.html", f"{config.category}: lifted instances")
    rejected = f" · rejected {len(rejects)}: why, in figures.csv" if rejects else ""
    say(f"  wrote {len(kept)} of {len(instances)} instances{rejected}")
    files = [*config.format, "figures.csv", *(["png", "lifted.png", "view.html"] if config.pictures else [])]
    say(f"  written to {folder}: {', '.join(files)}")


def model_and_instances(folder: Path, config: LiftConfig) -> tuple[Lifter, KeypointBatch]:
    """The model, and at most `config.count` instances on its template; the program says what they are.

    Args:
        folder: of the results; photographs and keypoint files are extracted into it.

    Raises:
        UsageError: more than one kind of input, or no such device.
        TemplateError: instances of another template.
    """
    from dp3d_data.device import require_device
    from dp3d_model.export.gallery import photographs_first
    from dp3d_model.lifting.model_file import embedded_model, find_model, lifter_for, load_model
    from dp3d_model.lifting.prediction import open_to_lift

    category, shards = config.category, config.shards
    named = [f"--{name}" for name in ("shards", "images", "keypoints") if getattr(config, name)]
    if len(named) > 1:
        expected = "one of --shards, --images and --keypoints"
        raise UsageError("more than one kind of input", got=" and ".join(named), expected=expected)
    require_device(config.device)
    path = find_model(category, config.model or None)
    lifter = load_model(path, config.device)
    wanted = not (shards or config.keypoints) if config.optimise is None else config.optimise
    if wanted and not lifter.config.refine.steps:
        lifter.config = replace(lifter.config, refine=preset("photographs").refine)
    elif config.optimise is False:
        lifter.config = changed(lifter.config, {"refine.steps": 0})
    say(f"{category}: the embedded model" if path == embedded_model(category) else f"{category}: model {path}")
    if lifter.calibration is None:  # never made, or by an earlier version
        say(f"  how sure it is is not known: dp3d-model calibrate --model {path}")
    source = Path(shards) if shards else workspace(category) / "shards"
    if config.images or config.keypoints or not (shards or source.is_dir()):
        source = _extracted(lifter, folder, config)
    instances, template = open_to_lift(source, config.split)
    lifter = lifter_for(lifter, template, config.remeshed, source)
    instances = photographs_first(instances, config.count)
    say(f"{category}: {len(instances)} instances of {source} · template {lifter.surface.name}")
    return lifter, instances


def _extracted(lifter: Lifter, folder: Path, given: LiftConfig) -> Path:
    """The run folder of photographs or of a keypoint file."""
    from dp3d_model.lifting.prediction import template_of
    from pipelines.lift import from_keypoints, from_photographs

    template = template_of(lifter.surface)
    config = ExtractConfig(
        category=given.category,
        device=given.device,
        score=given.score,
        recognise=given.recognise,
        min_vertices=given.min_vertices,
        mirror=template.symmetry is not None,
    )
    if given.keypoints:
        outcome = from_keypoints(given.keypoints, template, folder, config)
    else:
        outcome = from_photographs(given.images, template, folder, config)
    fate = outcome.images
    rejected = sum(fate.rejected.values())
    say(f"{fate.inputs} images: {fate.kept} with instances, {rejected} rejected, {fate.failed} failed")
    return outcome.run.folder


VIEW_EXAMPLE = """
dp3d-model view --category dog --count 8
dp3d-model view --images photos/
"""


@command("view", example=VIEW_EXAMPLE)
@config_options(LiftConfig)
def view(config: LiftConfig) -> None:
    """Show lifted instances on one self-contained page, view.html.

    Each stands beside its photograph with the keypoints, from the photograph's camera and turning, coloured by part, by
    visibility, and by error where the truth is known. The page fetches nothing and needs no WebGL.
    """
    from dp3d_model.lifting.prediction import predict
    from pipelines.lift import write_view

    folder = place_of(config.out, config.category, "view")
    lifter, instances = model_and_instances(folder, config)
    lifted = list(predict(lifter, instances))
    path = write_view(lifter, instances, lifted, folder / "view.html", f"{config.category}: lifted instances")
    say(f"  written to {path}")


CALIBRATE_EXAMPLE = """
dp3d-data synth --annotate --count 500 --seed 7 --out world/
dp3d-model calibrate --shards world/
"""


@command("calibrate", writes="file", example=CALIBRATE_EXAMPLE)
@click.option("--shards", metavar="PATH", help="Shards or run with truth.  [default: the category's]")
@click.option("--model", metavar="PATH", help="Model file or folder.  [default: the workspace's]")
@click.option("--category", default="dog", help="Whose part of the workspace to use.")
@click.option("--split", default="all", help='Split of shards; "all" takes every split.')
@click.option("--out", metavar="FILE", help="Model file to write.  [default: the model itself]")
@click.option("--small", is_flag=True, help="Keep the weights in 8 bits, for a third of the space.")
def calibrate(shards: str | None, model: str | None, category: str, split: str, out: str | None, small: bool) -> None:
    """Compare what a model says of its answers with their true errors, and keep what was learned in the model file.

    From then on every prediction carries a confidence: the probability that the mean error is below a tenth of the
    body's extent. The instances should be new to the model, and seen by the network whose keypoints it will lift:
    dp3d-data synth --annotate.
    """
    from dp3d_model.evaluation.evaluator import calibrated
    from dp3d_model.lifting.model_file import check_template, load_model, model_path, origin_of, save_model
    from dp3d_model.lifting.prediction import open_to_lift

    path = model_path(model or workspace(category) / "model")
    lifter = load_model(path)
    source = Path(shards) if shards else workspace(category) / "shards"
    instances, template = open_to_lift(source, split)
    check_template(lifter, template, source)
    lifter, result = calibrated(lifter, instances.with_truth())
    target = save_model(lifter, Path(out) if out else path, **origin_of(path), small=small)
    say(f"{category}: {result['instances']} instances with truth · mean error {result['error']:.4f} template extents")
    say(f"  rank correlation of confidence and error {result['rank_correlation']:.2f}")
    say(f"  mean error of the surest half {result['surest_half']:.4f}, of the best half {result['best_half']:.4f}")
    say(f"  written to {target}")
