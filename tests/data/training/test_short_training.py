"""A few minutes of the real training, from random weights: what it finds on held-out images is no chance."""

import json
from dataclasses import replace

import pytest

from dp3d_data.detection.training.recipe import TrainCseConfig
from pipelines.cse import train_cse

SHORT = TrainCseConfig(
    image_size=128,
    renders=400,
    model="narrow-18",
    steps=300,
    warmup=50,
    points=64,
    mask_weight=3.0,
    ema_decay=0.98,
    evaluate_every=300,
    evaluate_images=30,
)


@pytest.mark.slow
def test_a_short_training_learns_boxes_masks_and_vertices(tmp_path):
    """Chance: no box, and a mean distance of 0.50 of the extent between random vertices, 5 % of them within a tenth."""
    train_cse(replace(SHORT, out=str(tmp_path)), lambda text: None)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    first, measures = lines[0], lines[-1]
    last = next(line for line in reversed(lines) if "mask" in line)
    assert last["mask"] < 0.9 * first["mask"] and last["embedding"] < 0.9 * first["embedding"]
    assert measures["ap50"] > 0.15 and measures["mask_iou"] > 0.35
    assert measures["geodesic_mean"] < 0.36 and measures["geodesic_under_10"] > 0.08
    assert (tmp_path / "weights.pth").stat().st_size < 15e6
