"""The dense networks on another device: what they find, in every precision, and how they are trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.detection import DensePredictor, load_predictor
from pipelines.cse import train_cse
from tests.data.inference.small import small_network
from tests.data.training.tiny import TINY as SMALLEST
from tests.gpu.devices import ANYWHERE, ELSEWHERE

PHOTOGRAPHS = [np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8) for seed in range(3)]
BOXES = [np.array([[5.0, 6, 50, 70], [0, 0, 120, 90], [30.5, 2, 31, 3]]), None, np.zeros((0, 4))]
# Of the embedding's and the mask's numbers, which are of order 1. Convolutions of a GPU round to TF32 by default.
NEAR = {"float32": 2e-2, "bfloat16": 0.25, "float16": 5e-2}


def found_by(predictor, boxes=BOXES):
    """Boxes, scores and maps of three photographs: with given boxes, detected, with none given."""
    return [one for own in predictor.predict_many(PHOTOGRAPHS, boxes, score=0.0) for one in own]


def assert_alike(found, expected, near):
    assert len(found) == len(expected) > 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=200 * near)
        for maps, others in ((one.embedding, other.embedding), (one.coarse_segm, other.coarse_segm)):
            assert np.abs(maps - others).mean() < near * max(np.abs(others).mean(), 1e-3)


@ELSEWHERE
def test_boxes_and_maps_are_those_of_the_cpu(device):
    here, there = (DensePredictor(small_network(), device=where) for where in ("cpu", device))
    assert_alike(found_by(there), found_by(here), NEAR["float32"])
    np.testing.assert_allclose(there.vertex_embeddings(0), here.vertex_embeddings(0), atol=1e-5)


@ELSEWHERE
def test_the_embedded_network_finds_the_same(device):
    """It looks again at a crop of every box, and asks which of several classes an animal is of."""
    box = [np.array([[5.0, 6, 90, 80]])]
    here, there = (load_predictor("animals-3", category="dog", device=where) for where in ("cpu", device))
    [[one]], [[other]] = (each.predict_many(PHOTOGRAPHS[:1], box) for each in (here, there))
    assert np.abs(one.embedding - other.embedding).mean() < 2e-2 and one.region == other.region
    here.predict(PHOTOGRAPHS[1], score=0.05), there.predict(PHOTOGRAPHS[1], score=0.05)


@ANYWHERE
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_precisions_and_memory_formats_find_nearly_the_same(device, precision, channels_last):
    given = [np.array([[5.0, 6, 50, 70], [0, 0, 120, 90]])] * 3
    plain = DensePredictor(small_network())
    other = DensePredictor(small_network(), device=device, precision=precision, channels_last=channels_last)
    assert_alike(found_by(other, given), found_by(plain, given), NEAR[precision])


@ANYWHERE
@pytest.mark.slow
def test_a_compiled_backbone_finds_the_same(device):
    plain = DensePredictor(small_network())
    assert_alike(
        found_by(DensePredictor(small_network(), device=device, compiled=True)), found_by(plain), NEAR["float32"]
    )


TINY = replace(SMALLEST, renders=4, box_every=2, evaluate_every=2, evaluate_images=2, kinds="dog=dog:3, cow=cow:1")
TRAININGS = {
    "images, two templates": {},
    "mixed precision, other losses": {
        "kinds": "",
        "precision": "bfloat16",
        "pixel_cycle_weight": 0.1,
        "overlap_weight": 1.0,
        "evaluate_every": 0,
    },
    "crops, from the embedded network": {
        "model": "animals-3",
        "weights": "animals-3",
        "crops": 2,
        "crop_size": 128,
        "kinds": "dog=dog:3, cow=cow:1, other~dog",
    },
}


@ELSEWHERE
@pytest.mark.slow
@pytest.mark.parametrize("changes", TRAININGS.values(), ids=TRAININGS)
def test_training_runs_and_goes_on(device, changes, tmp_path):
    config = replace(TINY, device=device, out=str(tmp_path), **changes)
    train_cse(config, lambda text: None)
    train_cse(replace(config, save_every=7), lambda text: None)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2 and np.isfinite([*lines[0].values()]).all()
    weights = torch.load(tmp_path / "state.pth", weights_only=True)["average"]
    assert all(torch.isfinite(value.float()).all() for value in weights.values())
