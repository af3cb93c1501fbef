"""Train a CSE network on a template's synthetic world, and score it on held-out renders and annotated photographs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp3d_data.categories import category
from dp3d_data.config import to_toml
from dp3d_data.datasets import DatasetOptions
from dp3d_data.detection import DensePredictor, load_predictor, save_weights
from dp3d_data.detection.network import Dp3dDenseRCNN
from dp3d_data.detection.training.evaluation import Tally, examine, held_out_measures, rendered_side, scenes_with_truth
from dp3d_data.detection.training.metrics import TrueObject, transferred
from dp3d_data.detection.training.recipe import EvaluateCseConfig, TrainCseConfig
from dp3d_data.detection.training.start import start_of
from dp3d_data.detection.training.stream import kinds_of
from dp3d_data.detection.training.trainer import run_fingerprint, targets_of, train
from dp3d_data.errors import UsageError
from dp3d_data.files import locked, sweep, write_text
from dp3d_data.geometry import Template, load_template
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.geometry.subsets import DOG, named_keypoints
from dp3d_data.ranks import Ranks, join_ranks, leave_ranks
from pipelines.annotated import Photographs, Pictures, annotated
from pipelines.chunks import Say
from pipelines.settings import place_of

IMITATING = ("DEFAULT", "NO AVX", "AVX2")  # kinds of processors, as torch names them


def train_cse(config: TrainCseConfig, say: Say) -> Path:
    """Train, or go on training, and write half-precision weights; returns their path.

    Under torchrun every process has a batch of its own in each step, and the first one writes.

    Raises:
        FolderBusy: another process trains in the folder.
    """
    out = place_of(config.out, config.category, "train-cse")
    ranks, device = join_ranks(config.device)
    try:
        with locked(out) if ranks.writes else nullcontext():
            return _trained(config, out, ranks, device, say)
    finally:
        leave_ranks()


def _trained(config: TrainCseConfig, out: Path, ranks: Ranks, device: str, say: Say) -> Path:
    kinds = kinds_of(config)
    out.mkdir(parents=True, exist_ok=True)
    if ranks.writes:
        sweep(out)
        write_text(out / "config.toml", to_toml(config))
    else:
        say = lambda _: None  # noqa: E731 - the first process speaks
    config = replace(config, device=device)  # the file keeps what was asked for: "cuda" is another GPU in each process
    network, targets = start_of(kinds, config, targets_of(kinds, config))
    templates = [kind.template for kind in kinds if kind.matched]
    meshes = ", ".join(f"{one.name} ({one.num_vertices} vertices)" for one in templates)
    steps = f"{config.steps} steps of {ranks.count * (config.crops if network.spec.crop_side else config.batch)}"
    say(f"{config.category}: {steps} · template {meshes} · fingerprint {run_fingerprint(config, kinds, ranks)}")
    if config.precision == "bfloat16" and device == "cpu" and torch.backends.cpu.get_cpu_capability() in IMITATING:
        say("  this processor imitates bfloat16, which takes ten times as long: stop, and --set precision=float32")
    began = time.perf_counter()
    first: list[int] = []

    def report(step: int, losses: dict[str, float], seconds: float) -> None:
        first[:] = first or [step]
        rate = (step - first[0] + 50) / max(seconds, 1e-9)
        parts = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        say(f"step {step}/{config.steps} · {rate:.2f} steps/s · {parts}")

    def score(now: Dp3dDenseRCNN) -> dict[str, float]:
        measures = held_out_measures(now, targets, kinds[0].template, config)
        say("held-out images · " + " ".join(f"{name} {value:.3f}" for name, value in measures.items()))
        return measures

    network = train(network, kinds, targets, config, out, report, score, ranks)
    path = out / "weights.pth"
    if ranks.writes:
        hashes = {one.name: one.content_hash for one in templates}
        save_weights(network, path, config.small, template_hashes=hashes)
    say(f"trained in {time.perf_counter() - began:.0f} s")
    return path


Images = Iterable[tuple[np.ndarray, list[TrueObject]]]
Scores = dict[str, dict[str, Any]]


BESIDE = "beside, "
RATIO = "geodesic_ratio"
TWENTY = 20  # photographs, for which spurious detections are counted
RENDERS = "synthetic"
OF_DETECTION = ("ap50", "found", "pck_10_found", "pck_15_found")  # say nothing where the boxes are given


def evaluate_cse(config: EvaluateCseConfig) -> Scores:
    """Measures by part: "synthetic", "synthetic, view: side", ..., "photographs", "photographs, Nose", ..., "without".

    With `config.beside` also those of the second checkpoint, their names after BESIDE, and in "synthetic" RATIO, the
    geodesic error of the first over that of the second.
    """
    own = {"category": config.category, "device": config.device, "side": config.side}
    predictor = load_predictor(config.model, config.weights, **own)
    config = replace(config, size=rendered_side(predictor.spec, config.size))  # the second one sees the same images
    scores = scored(config, predictor)
    if config.beside:
        other = scored(replace(config, pictures=""), load_predictor(config.model, config.beside, **own))
        first, second = (part.get("synthetic", {}).get("geodesic_mean") for part in (scores, other))
        if first is not None and second is not None:
            scores["synthetic"][RATIO] = first / max(second, 1e-12)
        scores |= {f"{BESIDE}{title}": measures for title, measures in other.items()}
    if config.out:
        write_text(config.out, json.dumps(numbers(scores), indent=2) + "\n")
    return scores


def numbers(scores: Scores) -> Scores:
    """As json has them: what is not finite is null."""

    def number(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {title: {name: number(value) for name, value in part.items()} for title, part in scores.items()}


def scored(config: EvaluateCseConfig, predictor: DensePredictor) -> Scores:
    """The measures of one network.

    Raises:
        UsageError: no template to render, or photographs without their folder.
        InputMissing, InputCorrupt, NothingToDo: photographs, annotations or keypoints that are not there or not usable.
    """
    name = config.template or category(config.category).template
    template = load_template(name) if name else None
    own = template
    if template is not None and not belongs(template, predictor, predictor.class_of(config.category)):
        own = None
    scores: Scores = {}
    if config.count:
        if template is None:
            hint = "give the network's template: --template MESH"
            raise UsageError(f"no built-in template for {config.category!r}", hint=hint)
        renders = scenes_with_truth(template, config.seed, config.size, config.count)
        tally = _examined(config, predictor, own, RENDERS, renders)
        scores["synthetic"] = tally.result()
        scores |= {f"synthetic, {group}": measures for group, measures in tally.by_group().items()}
    if config.stanford_extra:
        scores |= _photographs(config, predictor.recognising(), own)
    if config.without:
        scores["without"] = _without(config, predictor.recognising(), own)
    return scores


def _examined(
    config: EvaluateCseConfig,
    predictor: DensePredictor,
    template: Template | None,
    title: str,
    images: Images,
    **more: Any,
) -> Tally:
    """Examine images, and draw them; the template only where it is the network's own."""
    pictures = _pictures(config, predictor, template, title)
    geodesics = None if template is None else geodesic_distances(template)
    classes = [predictor.class_of(config.category)]
    tally = examine(predictor, images, geodesics, classes=classes, watch=pictures, **more)
    pictures.sheet()
    return tally


def _pictures(config: EvaluateCseConfig, predictor: DensePredictor, template: Template | None, title: str) -> Pictures:
    count, sheet = config.pictures_count, title != RENDERS
    return Pictures(config.pictures, title, count, predictor, template, config.score, sheet)


def _photographs(config: EvaluateCseConfig, predictor: DensePredictor, template: Template | None) -> Scores:
    """The measures of annotated photographs, as a whole and by keypoint."""
    given = config.boxes == "given"
    photographs = annotated("stanford-extra", config.stanford_extra, config.images, config.category)
    ids, names = named_of(config.keypoints, template)
    tally = _examined(config, predictor, template, "photographs", photographs, named_vertices=ids, given=given)
    overall: dict[str, Any] = tally.result()
    if given:
        overall = {name: value for name, value in overall.items() if name not in OF_DETECTION}
    else:
        spurious = tally.spurious(config.score)
        overall |= {"spurious": spurious, "spurious_on_20": TWENTY * spurious / max(tally.images, 1)}
    overall |= _transfer(config, predictor, photographs) | {"boxes": config.boxes} | photographs.tally()
    rows = tally.by_keypoint(names)
    return {"photographs": overall} | {f"photographs, {name}": row for name, row in rows.items()}


def _transfer(config: EvaluateCseConfig, predictor: DensePredictor, photographs: Photographs) -> dict[str, float]:
    """Photograph to photograph, at the true boxes."""
    seen, classes = [], [predictor.class_of(config.category)]
    for _, image, objects in photographs.read(config.transfer):
        named = [one for one in objects if one.named is not None]
        boxes = np.array([one.box for one in named]).reshape(-1, 4)
        seen += list(zip(predictor.predict(image, boxes=boxes, classes=classes), named, strict=True))
    pairs = {"dogs": float(len(seen))} | transferred(seen) if len(seen) > 1 else {}
    return {f"transfer_{name}": value for name, value in pairs.items()}


def _without(config: EvaluateCseConfig, predictor: DensePredictor, template: Template | None) -> dict[str, Any]:
    """Detections on photographs that do not show the animal, and the best score on each that has one."""
    spurious, best = 0, dict[str, float]()
    photographs = Photographs("folder", DatasetOptions(images=config.without))
    pictures = _pictures(config, predictor, template, "without")
    classes = [predictor.class_of(config.category)]
    for record, image, _ in photographs.read():
        found = predictor.predict(image, score=config.score, classes=classes)
        spurious += len(found)
        best |= {record.image_id: max(one.score for one in found)} if found else {}
        pictures(image, [], found, [], record.image_id)
    pictures.sheet()
    return {"spurious": spurious, "best_scores": best} | photographs.tally()


def belongs(template: Template, predictor: DensePredictor, class_id: int) -> bool:
    """Whether the network's vertices are the template's: by content hash, by number where the weights name none."""
    if predictor.template_hash:
        return predictor.template_hash == template.content_hash
    return template.num_vertices == len(predictor.vertex_embeddings(class_id))


def named_of(table: str, template: Template | None, count: int = 24) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Vertices and names of the annotated keypoints, by a table or the built-in dog's; none where not known."""
    if template is None or (not table and load_template("dog").content_hash != template.content_hash):
        return None, ()
    return named_keypoints(table or DOG, count=count, vertices=template.num_vertices)
