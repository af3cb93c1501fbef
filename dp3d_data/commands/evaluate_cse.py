"""dp3d-data evaluate-cse: score a CSE network on held-out synthetic images and on annotated photographs."""

from __future__ import annotations

from dp3d_data.commandline import command, config_options, say, say_table
from dp3d_data.training.evaluate_recipe import EvaluateCseConfig

EXAMPLE = """
dp3d-data evaluate-cse --count 200 --out scores.json --pictures overlays/
dp3d-data evaluate-cse --weights dp3d/dog/adopt/husky.pth --template husky --beside direct/weights.pth
dp3d-data evaluate-cse --count 0 --stanford-extra StanfordExtra_v12.json --images Images/
"""
COLUMNS = {
    "objects": "objects", "found": "found", "ap50": "AP50", "mask_iou": "mask IoU", "geodesic_mean": "geodesic error",
    "geodesic_under_5": "under 5 %", "geodesic_under_10": "under 10 %", "keypoint_error": "keypoint error",
    "annotated_keypoints": "keypoints", "pck_10": "PCK 0.10", "pck_15": "PCK 0.15",
    "pck_10_found": "0.10 of found", "pck_15_found": "0.15 of found",
}  # fmt: skip


@command("evaluate-cse", example=EXAMPLE)
@config_options(EvaluateCseConfig)
def evaluate_cse(config: EvaluateCseConfig) -> None:
    """Score a CSE network where the truth is known, as a whole, by view and by how much of the animal is seen.

    Detection (AP50) and mask IoU; on renders of the network's own template the geodesic error of the matched vertices and
    the error of the pooled keypoints; on StanfordExtra's photographs the share of annotated keypoints placed rightly (PCK).
    """
    from pipelines.evaluate_cse import BESIDE, RATIO, run

    scores = run(config)
    photographs = [title for title in scores if title.endswith("photographs")]
    for titles in ([title for title in scores if title not in photographs], photographs):
        if titles:
            _print({title: scores[title] for title in titles})
    if RATIO in scores.get("synthetic", {}):
        say(f"  geodesic error {scores['synthetic'][RATIO]:.3f} times that of {config.beside} ({BESIDE.rstrip(', ')})")
    for folder, what in ((config.pictures, "overlays"), (config.out, "measures")):
        if folder:
            say(f"  {what} written to {folder}")


def _print(scores: dict[str, dict[str, float]]) -> None:
    """One row a part, the columns that any part has."""
    held = [name for name in COLUMNS if any(name in measures for measures in scores.values())]
    rows = [
        (title.replace("synthetic, ", "  ", 1), *(_text(name, measures[name]) if name in measures else "" for name in held))
        for title, measures in scores.items()
    ]
    say_table(("images", *(COLUMNS[name] for name in held)), rows, width=150)


def _text(name: str, value: float) -> str:
    return f"{value:.0f}" if name in ("objects", "found", "annotated_keypoints") else f"{value:.3f}"
