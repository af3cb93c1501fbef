"""dp3d-data train-cse and evaluate-cse: CSE networks from synthetic images alone, and their scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dp3d_data.detection.training.recipe import EvaluateCseConfig, TrainCseConfig
from pipelines.cli.commandline import command, config_options, say, say_table


@command("train-cse", example="dp3d-data train-cse --category dog --config pipelines/recipes/dog-synth-2-trunk.toml")
@config_options(TrainCseConfig)
def train_cse(config: TrainCseConfig) -> None:
    """Train a CSE network on synthetic images of a template.

    The world renders the template in sampled poses, proportions, coats and scenes; the network learns boxes, masks and
    the embedding of every pixel. A run that was stopped goes on where it stopped when the same command is given again.
    In several processes, each with a batch of its own: torchrun --nproc-per-node 2 -m pipelines.cli.data train-cse.
    """
    from pipelines import cse

    result = cse.train_cse(config, say)
    say(f"  weights written to {result} · next: dp3d-data evaluate-cse --weights {result}")


EXAMPLE = """
dp3d-data evaluate-cse --count 200 --out scores.json --pictures overlays/
dp3d-data evaluate-cse --weights dp3d-out/dog/adopt/husky.pth --template husky --beside direct/weights.pth
dp3d-data evaluate-cse --count 0 --stanford-extra StanfordExtra_v12.json --images Images/ --boxes given
dp3d-data evaluate-cse --count 0 --without horses/ --without sofas/
"""
COLUMNS = {
    "objects": "objects",
    "found": "found",
    "ap50": "AP50",
    "mask_iou": "mask IoU",
    "geodesic_mean": "geodesic error",
    "geodesic_under_5": "under 5 %",
    "geodesic_under_10": "under 10 %",
    "keypoint_error": "keypoint error",
    "annotated_keypoints": "keypoints",
    "pck_10": "PCK 0.10",
    "pck_15": "PCK 0.15",
    "pck_10_found": "0.10 of found",
    "pck_15_found": "0.15 of found",
    "median_error": "median error",
}


@command("evaluate-cse", writes="file", always=False, example=EXAMPLE)
@config_options(EvaluateCseConfig)
def evaluate_cse(config: EvaluateCseConfig) -> None:
    """Score a CSE network where the truth is known, as a whole, by view and by how much of the animal is seen.

    Detection (AP50) and mask IoU; on renders of the network's own template the geodesic error of the matched vertices
    and the error of the pooled keypoints; on StanfordExtra's photographs the share of annotated keypoints placed
    rightly (PCK), each by itself too, keypoints carried from photograph to photograph by their embeddings, and spurious
    detections, which are counted on photographs without the animal too.
    """
    from pipelines import cse

    scores = cse.evaluate_cse(config)
    tables = {title: part for title, part in scores.items() if not title.endswith("without")}
    photographs = [title for title in tables if "photographs" in title]
    for titles in ([title for title in tables if title not in photographs], photographs):
        if titles:
            _print({title: scores[title] for title in titles})
    for title, measures in scores.items():
        for line in _lines(title, measures):
            say(f"  {line}")
    if cse.RATIO in scores.get("synthetic", {}):
        say(
            f"  geodesic error {scores['synthetic'][cse.RATIO]:.3f} times that of {config.beside}"
            f" ({cse.BESIDE.rstrip(', ')})"
        )
    for folder, what in ((config.pictures, "overlays"), (config.out, "measures")):
        if folder:
            say(f"  {what} written to {folder}")


def _lines(title: str, measures: dict[str, Any]) -> Iterator[str]:
    """What a table does not say of a part: how many photographs, spurious detections, keypoints carried over."""
    if "on_disk" in measures:
        read = measures["on_disk"] - len(measures["left_out"])
        yield f"{title}: {measures['listed']} listed, {measures['on_disk']} on disk, {read} read"
        yield from (
            f"left out: {name}: {why}"
            for name, why in (measures["left_out"] | measures["annotations_left_out"]).items()
        )
    if "spurious_on_20" in measures:
        yield f"{title}: {measures['spurious']} spurious detections, {measures['spurious_on_20']:.1f} on 20 photographs"
    elif "spurious" in measures:
        yield f"{title}: {measures['spurious']} spurious detections, on {len(measures['best_scores'])} photographs"
        yield from (f"{name}: score {score:.2f}" for name, score in measures["best_scores"].items())
    if "transfer_pck_10" in measures:
        carried = (
            f"{measures['transfer_keypoints']:.0f} keypoints between {measures['transfer_dogs']:.0f} dogs, each to each"
        )
        figures = f"PCK 0.10 {measures['transfer_pck_10']:.3f}, 0.15 {measures['transfer_pck_15']:.3f}"
        yield f"{title}: photograph to photograph, true boxes: {figures} ({carried})"


def _print(scores: dict[str, dict[str, Any]]) -> None:
    """One row a part, the columns that any part has."""
    held = [name for name in COLUMNS if any(name in measures for measures in scores.values())]
    rows = [
        (
            re.sub("(synthetic|photographs), ", "  ", title, count=1),
            *(_text(name, measures[name]) if name in measures else "" for name in held),
        )
        for title, measures in scores.items()
    ]
    say_table(("images", *(COLUMNS[name] for name in held)), rows, width=150)


def _text(name: str, value: float) -> str:
    return f"{value:.0f}" if name in ("objects", "found", "annotated_keypoints") else f"{value:.3f}"
