"""dp3d-model evaluate: trained models on shards, with truth or without, and on annotated photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dp3d_data.config import rare, setting
from dp3d_data.errors import UsageError
from pipelines.cli.commandline import command, config_options, say
from pipelines.settings import place_of

if TYPE_CHECKING:
    from dp3d_model.networks.lifter import Lifter


EXAMPLE = """
dp3d-model evaluate --category dog --set split=test
dp3d-model evaluate --stanford-extra StanfordExtra_v12.json --images Images/
dp3d-model evaluate --coco keypoints.json --images photos/ --set keypoints=vertices.csv
"""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which models are measured, and on what."""

    shards: str = setting("", "Shards. None: the category's.", group="Input")
    model: str = setting("", "Model file or folder. None: the workspace's or embedded one.", group="Input")
    compare: tuple[str, ...] = setting(
        (), "Model to compare, also as NAME=PATH; again for more, or all after one --compare.", group="Input"
    )
    category: str = setting("dog", "Whose part of the workspace to use.", group="Input")
    split: str = rare("val", 'Split to measure on; "all" takes every split.', group="Input")
    count: int = rare(0, "First instances only; 0 takes all.", group="Input", minimum=0)
    remeshed: bool = rare(False, "Accept shards on another meshing of the template.", group="Input")
    stanford_extra: str = setting("", "StanfordExtra's annotation, json.", group="Photographs")
    coco: str = setting("", "COCO's annotation with masks and keypoints, json.", group="Photographs")
    images: str = setting("", "Folder of the photographs.", group="Photographs")
    keypoints: str = rare("", "csv: index,vertex of the keypoints. None: the built-in dog's.", group="Photographs")
    out: str = setting("", "Folder of the report. None: evaluation in the workspace.", group="Output")

    def models(self, more: tuple[str, ...]) -> dict[str, str]:
        """Name -> path of the models.

        Raises:
            UsageError: one model and several, or two of one name.
        """
        from dp3d_model.lifting.model_file import find_model

        if more and not self.compare:
            got = " ".join(more)
            raise UsageError("models to compare stand after --compare", got=got, hint=f"--compare {got}")
        if self.model and self.compare:
            hint = f"--compare {self.model} {' '.join(self.compare + more)}"
            raise UsageError("--model is one model, --compare several", hint=hint)
        if self.compare:
            return named_runs(self.compare + more)
        return {"model": str(find_model(self.category, self.model or None))}


@command("evaluate", example=EXAMPLE)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@config_options(EvaluateConfig)
def evaluate(config: EvaluateConfig, runs: tuple[str, ...]) -> None:
    """Measure trained models, beside the rigid template under its closed-form camera.

    Position error (MPJPE) plain and with the depth-flip oracle, after a similarity (PA-MPJPE), and stress; with the
    scale given and estimated; by view, visible share and group; and what a predicted noise tells. Writes
    evaluation.json, evaluation.md and evaluation.png. Without truth: reprojection error, overlap with the mask,
    stretched edges, agreement of the lifts of halves of the keypoints, and confidence.

    On annotated photographs, from detected and from given boxes: overlap of the lifted silhouette with the mask, and
    PCK of the reprojected vertices, each keypoint by itself too. Writes photographs.json, photographs.md and sheets of
    pictures.
    """
    if config.stanford_extra and config.coco:
        raise UsageError("--stanford-extra and --coco are two annotations", hint="measure on one after the other")
    paths = config.models(runs)
    from dp3d_model.lifting.model_file import load_model

    folder = place_of(config.out, config.category, "evaluation")
    lifters = {name: load_model(path) for name, path in paths.items()}
    if config.stanford_extra or config.coco:
        on_photographs(lifters, folder, config)
    else:
        on_shards(lifters, folder, config)
    own = (f" --model {config.model}" if config.model else "") + (f" --shards {config.shards}" if config.shards else "")
    say(f"  written to {folder} · next: dp3d-model predict --category {config.category}{own}")


def on_shards(lifters: dict[str, Lifter], folder: Path, config: EvaluateConfig) -> None:
    """Measure on instances whose true shapes are known, or, where none is, what can be measured without."""
    from dp3d_data.shards.reader import ShardReader
    from dp3d_model.evaluation.evaluator import METRICS, evaluate_unknown
    from dp3d_model.evaluation.evaluator import evaluate as measure
    from dp3d_model.evaluation.report import TITLES, write_report, write_unknown
    from dp3d_model.lifting.model_file import lifter_for

    source = place_of(config.shards, config.category, "shards")
    reader = ShardReader(source)
    lifters = {name: lifter_for(lifter, reader.template, config.remeshed, source) for name, lifter in lifters.items()}
    instances = reader.split(config.split)
    instances = instances.take(range(min(config.count, len(instances)))) if config.count else instances
    if bool(instances.has_truth.any()):
        result = measure(lifters, instances)
        write_report(result, folder)
        told = f"{result['instances']} instances with truth · errors in template extents, scale given (estimated)"
        say(f"{config.category}: {told}")
        for name, means in result["models"].items():
            given, estimated = means["given"], means["estimated"]
            values = " · ".join(f"{TITLES[m]} {given[m]:.4f} ({estimated[m]:.4f})" for m in METRICS[:4])
            say(f"  {name}: {values}")
        return
    result = evaluate_unknown(lifters, instances)
    write_unknown(result, folder)
    say(f"{config.category}: {result['instances']} instances without truth · median (worst)")
    for name, own in result["models"].items():
        figures = (f"{measure} {values['median']:.4f} ({values['worst']:.4f})" for measure, values in own.items())
        say(f"  {name}: {' · '.join(figures)}")


def on_photographs(lifters: dict[str, Lifter], folder: Path, config: EvaluateConfig) -> None:
    """Measure on annotated photographs; a line for each model and kind of boxes."""
    from pipelines.annotated import annotated
    from pipelines.evaluate_lifter import run

    source, path = ("stanford-extra", config.stanford_extra) if config.stanford_extra else ("coco", config.coco)
    photographs = annotated(source, path, config.images, config.category)
    scores = run(lifters, photographs, folder, config.keypoints)
    parts = {title: part for title, part in scores.items() if "silhouette_iou" in part}
    first = next(iter(parts.values()))
    there = f"{first['listed']} photographs listed, {first['on_disk']} on disk, {len(first['left_out'])} left out"
    say(f"{config.category}: {there}")
    for name, why in (first["left_out"] | first["annotations_left_out"]).items():
        say(f"  left out: {name}: {why}")
    for title, part in parts.items():
        pck = f" · PCK 0.10 {part['pck_10']:.3f} · 0.15 {part['pck_15']:.3f}" if "pck_10" in part else ""
        found = f"{part['found']:.0f} of {part['objects']:.0f} found"
        say(f"  {title} boxes: {found} · silhouette IoU {part['silhouette_iou']:.3f}{pck}")


def named_runs(runs: tuple[str, ...]) -> dict[str, str]:
    """Name -> path of models given as PATH or NAME=PATH; a path is named by as few last folders as tell all apart.

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
        one, two = [path for name, path in named if name == doubled[0]][:2]
        hint = f"name them: --compare one={one} two={two}"
        raise UsageError("two models have one name", got=doubled[0], hint=hint)
    return dict(named)
