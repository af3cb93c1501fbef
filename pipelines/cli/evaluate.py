"""dp3d-model evaluate: trained models on shards, with truth or without, and on annotated photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dp3d_data.config import workspace
from dp3d_data.errors import UsageError
from pipelines.cli.commandline import GroupedOption, command, say

if TYPE_CHECKING:
    from dp3d_model.networks.lifter import Lifter


EXAMPLE = """
dp3d-model evaluate --category dog --split val
dp3d-model evaluate --stanford-extra StanfordExtra_v12.json --images Images/
dp3d-model evaluate --coco keypoints.json --images photos/ --keypoints vertices.csv
"""


@command("evaluate", example=EXAMPLE)
@click.option("--shards", metavar="PATH", cls=GroupedOption, group="Input", help="Shards.  [default: the category's]")
@click.option("--stanford-extra", metavar="JSON", cls=GroupedOption, group="Photographs", help="StanfordExtra's annotation.")
@click.option("--coco", metavar="JSON", cls=GroupedOption, group="Photographs", help="COCO's annotation with masks and keypoints.")
@click.option("--images", metavar="DIR", default="", cls=GroupedOption, group="Photographs", help="Folder of the photographs.")
@click.option(
    "--keypoints",
    metavar="CSV",
    default="",
    cls=GroupedOption,
    group="Photographs",
    help="index,vertex of the annotated keypoints.  [default: the built-in dog's]",
)
@click.option(
    "--model", metavar="PATH", cls=GroupedOption, group="Input", help="Model file or folder.  [default: the workspace's or embedded one]"
)
@click.option(
    "--compare",
    metavar="RUN...",
    multiple=True,
    cls=GroupedOption,
    group="Input",
    help="Model files or folders to compare, each also as NAME=PATH.",
)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--category", default="dog", cls=GroupedOption, group="Input", help="Whose part of the workspace to use.")
@click.option("--split", default="val", cls=GroupedOption, group="Input", help='Split to measure on; "all" takes every split.')
@click.option("--count", default=0, type=click.IntRange(0), cls=GroupedOption, group="Input", help="First instances only; 0 takes all.")
@click.option("--remeshed", is_flag=True, cls=GroupedOption, group="Input", help="Accept shards on another meshing of the template.")
@click.option("--out", metavar="DIR", cls=GroupedOption, group="Output", help="Folder of the report.  [default: the category's]")
def evaluate(
    shards: str | None,
    stanford_extra: str | None,
    coco: str | None,
    images: str,
    keypoints: str,
    model: str | None,
    compare: tuple[str, ...],
    runs: tuple[str, ...],
    category: str,
    split: str,
    count: int,
    remeshed: bool,
    out: str | None,
) -> None:
    """Measure trained models, beside the rigid template under its closed-form camera.

    Position error (MPJPE) plain and with the depth-flip oracle, after a similarity (PA-MPJPE), and stress; with the scale
    given and estimated; by view, visible share and group; and what a predicted noise tells. Writes evaluation.json,
    evaluation.md and evaluation.png. Without truth: reprojection error, overlap with the mask, stretched edges,
    agreement with the lift of the mirror image, and confidence.

    On annotated photographs, from detected and from given boxes: overlap of the lifted silhouette with the mask, and PCK of the
    reprojected vertices, each keypoint by itself too. Writes photographs.json, photographs.md and sheets of pictures.
    """
    if runs and not compare:
        raise UsageError("models to compare stand after --compare", got=" ".join(runs), hint=f"--compare {' '.join(runs)}")
    if model and compare:
        raise UsageError("--model is one model, --compare several", hint=f"--compare {model} {' '.join(compare + runs)}")
    if stanford_extra and coco:
        raise UsageError("--stanford-extra and --coco are two annotations", hint="measure on one after the other")
    from dp3d_model.lifting.model_file import find_model, load_model

    folder = Path(out) if out else workspace(category) / "evaluation"
    paths = named_runs(compare + runs) if compare else {"model": str(find_model(category, model))}
    lifters = {name: load_model(path) for name, path in paths.items()}
    if path := stanford_extra or coco:
        source = "stanford-extra" if stanford_extra else "coco"
        on_photographs(lifters, folder, source=source, path=path, images=images, keypoints=keypoints, category=category)
    else:
        on_shards(lifters, Path(shards) if shards else workspace(category) / "shards", split, count, remeshed, category, folder)
    say(f"  written to {folder} · next: dp3d-model predict --category {category}")


def on_shards(lifters: dict[str, Lifter], source: Path, split: str, count: int, remeshed: bool, category: str, folder: Path) -> None:
    """Measure on instances whose true shapes are known, or, where none is, what can be measured without."""
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.evaluation.evaluator import evaluate as measure
    from dp3d_model.evaluation.evaluator import evaluate_unknown
    from dp3d_model.evaluation.report import write_report, write_unknown
    from dp3d_model.geometry.remeshing import lifter_for
    from dp3d_model.training.instances import load_split

    reader = ShardReader(source)
    lifters = {name: lifter_for(lifter, reader.template, remeshed, source) for name, lifter in lifters.items()}
    instances = load_split(reader, split)
    instances = instances.take(range(min(count, len(instances)))) if count else instances
    if bool(instances.known.any()):
        result = measure(lifters, instances)
        write_report(result, folder)
        say_figures(result, category)
        return
    result = evaluate_unknown(lifters, instances)
    write_unknown(result, folder)
    say(f"{category}: {result['instances']} instances without truth · median (worst)")
    for name, own in result["models"].items():
        figures = (f"{measure} {values['median']:.4f} ({values['worst']:.4f})" for measure, values in own.items())
        say(f"  {name}: {' · '.join(figures)}")


def on_photographs(lifters: dict[str, Lifter], folder: Path, **given: str) -> None:
    """Measure on annotated photographs; a line for each model and kind of boxes."""
    from pipelines.evaluate_lifter import AnnotatedInput, run

    parts = {title: part for title, part in run(lifters, AnnotatedInput(**given), folder).items() if "silhouette_iou" in part}
    first = next(iter(parts.values()))
    say(f"{given['category']}: {first['listed']} photographs listed, {first['on_disk']} on disk, {len(first['left_out'])} left out")
    for name, why in (first["left_out"] | first["annotations_left_out"]).items():
        say(f"  left out: {name}: {why}")
    for title, part in parts.items():
        pck = f" · PCK 0.10 {part['pck_10']:.3f} · 0.15 {part['pck_15']:.3f}" if "pck_10" in part else ""
        found = f"{part['found']:.0f} of {part['objects']:.0f} found"
        say(f"  {title} boxes: {found} · silhouette IoU {part['silhouette_iou']:.3f}{pck}")


def say_figures(result: dict[str, Any], category: str) -> None:
    """The main figures of every model, a line each."""
    from dp3d_model.evaluation.evaluator import METRICS
    from dp3d_model.evaluation.report import TITLES

    say(f"{category}: {result['instances']} instances with truth · errors in template extents, scale given (estimated)")
    for name, means in result["models"].items():
        values = " · ".join(f"{TITLES[m]} {means['given'][m]:.4f} ({means['estimated'][m]:.4f})" for m in METRICS[:4])
        say(f"  {name}: {values}")


def named_runs(runs: tuple[str, ...]) -> dict[str, str]:
    """Name -> path of models given as PATH or NAME=PATH; a path is named by as many of its last folders as tell all apart.

    Raises:
        UsageError: two models have one name.
    """
    given = [run.partition("=")[::2] if "=" in run else ("", run) for run in runs]
    parts = [Path(path).resolve().parts for _, path in given]
    depth = 1
    while len({part[-depth:] for part in parts}) < len({*parts}):
        depth += 1
    named = [(name or "/".join(part[-depth:]), path) for (name, path), part in zip(given, parts, strict=True)]
    doubled = sorted({name for name, _ in named if sum(name == other for other, _ in named) > 1})
    if doubled:
        raise UsageError("two models have one name", got=doubled[0], hint=f"name them: --compare one={given[0][1]} two={given[-1][1]}")
    return dict(named)
