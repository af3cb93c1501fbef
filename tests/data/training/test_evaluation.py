"""The evaluation of CSE networks on answers that are known: perfect, shifted, absent."""

import json

import numpy as np
import pytest

from dp3d_data.detection.training.evaluation import examine, on_image
from dp3d_data.detection.training.metrics import TrueObject
from dp3d_data.geometry import load_template
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.records import DensePrediction
from dp3d_data.synthesis import World, WorldConfig
from tests.synthetic_predictor import KnownObject, SyntheticPredictor, image_key


@pytest.fixture(scope="module")
def scene():
    dog = load_template("dog")
    world = World(dog, WorldConfig(seed=3, size=96, identity_images=1, truncated=0, occluded=0))
    instances = [world.sample(index) for index in range(4)]
    images = [np.ascontiguousarray(one.image[:, :, ::-1]) for one in instances]
    truth = [TrueObject(np.asarray(one.box), one.mask, one.vertex_map, one.keypoints) for one in instances]
    return dog, images, truth


def predictor_of(dog, images, answers):
    known = {image_key(image): answer for image, answer in zip(images, answers, strict=True)}
    return SyntheticPredictor(known, dog.num_vertices, {"dog": 0})


def test_a_perfect_answer_scores_perfectly(scene):
    dog, images, truth = scene
    answers = [[KnownObject(tuple(one.box), one.vertex_map)] for one in truth]
    pairs = list(zip(images, ([one] for one in truth), strict=True))
    scores = examine(predictor_of(dog, images, answers), pairs, geodesic_distances(dog)).result()
    assert scores["ap50"] == 1 and scores["found"] == 4
    assert scores["mask_iou"] > 0.97
    assert scores["geodesic_mean"] == 0 and scores["geodesic_under_5"] == 1
    assert scores["keypoint_error"] < 0.02


def test_mirrored_vertices_and_false_boxes_cost(scene):
    """Left taken for right keeps the mask and loses the surface; a false box with a higher score halves the
    precision."""
    dog, images, truth = scene
    swapped = [np.where(one.vertex_map >= 0, dog.symmetry[np.maximum(one.vertex_map, 0)], -1) for one in truth]
    false = [KnownObject((0.0, 0.0, 4.0, 4.0), np.full((96, 96), -1), score=1.0)] * 4
    answers = [
        [lie, KnownObject(tuple(one.box), ids, score=0.5)] for one, ids, lie in zip(truth, swapped, false, strict=True)
    ]
    pairs = list(zip(images, ([one] for one in truth), strict=True))
    scores = examine(predictor_of(dog, images, answers), pairs, geodesic_distances(dog)).result()
    assert scores["ap50"] == pytest.approx(0.5)
    assert scores["mask_iou"] > 0.97
    assert scores["geodesic_mean"] > 0.02


@pytest.mark.parametrize(("x", "y"), [(0, 0), (-1, -2), (3, 4), (4, -1), (-9, 0)])
def test_vertices_lie_on_the_image_where_the_detection_does(x, y):
    ids, mask = np.arange(12).reshape(3, 4), np.arange(12).reshape(3, 4) % 5 > 0
    whole = np.full((30, 30), -1)
    whole[10 + y : 13 + y, 10 + x : 14 + x] = np.where(mask, ids, -1)
    assert np.array_equal(on_image(DensePrediction((x, y), ids, mask), (5, 6)), whole[10:15, 10:16])


def test_nothing_found_is_zero_precision(scene):
    dog, images, truth = scene
    scores = examine(
        predictor_of(dog, images, [[]] * 4), list(zip(images, ([one] for one in truth), strict=True))
    ).result()
    assert scores["ap50"] == 0 and np.isnan(scores["mask_iou"])
    assert "geodesic_mean" not in scores


@pytest.mark.slow
def test_the_command_scores_weights_on_held_out_images_and_on_photographs(tmp_path):
    from click.testing import CliRunner

    from dp3d_data.detection import build_network, find_spec, save_weights
    from dp3d_data.detection.training.adoption import use_spectrum
    from pipelines.cli.cse import evaluate_cse
    from tests.shared import shared

    spec = find_spec("narrow-18")
    network = build_network(spec)
    use_spectrum(network, load_template("dog"), "dog")
    save_weights(network, tmp_path / "random.pth")
    folder, out = shared("data/stanford_extra"), tmp_path / "scores.json"
    words = ["--weights", str(tmp_path / "random.pth"), "--count", "2", "--set", "size=64"]
    photographs = ["--stanford-extra", str(folder / "StanfordExtra_sample.json")]
    result = CliRunner().invoke(
        evaluate_cse, [*words, *photographs, "--images", str(folder / "images"), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    scores = json.loads(out.read_text())
    assert (
        scores["synthetic"]["objects"] == 2
        and scores["photographs"]["objects"] == scores["photographs"]["on_disk"] >= 5
    )
    assert scores["photographs"]["annotated_keypoints"] > 50
    assert CliRunner().invoke(evaluate_cse, [*words, *photographs]).exit_code == 2
    twice = CliRunner().invoke(evaluate_cse, [*words, "--beside", str(tmp_path / "random.pth"), "--out", str(out)])
    assert twice.exit_code == 0, twice.output
    scores = json.loads(out.read_text())
    found = scores["synthetic"].pop("geodesic_ratio", None)
    assert json.dumps(scores["synthetic"]) == json.dumps(scores["beside, synthetic"]) and found in (None, 1.0)


def test_two_networks_of_different_sizes_see_the_same_images(tmp_path, monkeypatch):
    import pipelines.cse as command
    from dp3d_data.detection import find_spec, save_weights
    from dp3d_data.detection.training.recipe import EvaluateCseConfig
    from tests.data.inference.small import made_weights, small_network

    spec = find_spec("narrow-18").looking_at(96)
    save_weights(small_network(spec), tmp_path / "small.pth")
    large = str(made_weights("narrow-18"))
    asked = []
    monkeypatch.setattr(
        command, "scenes_with_truth", lambda template, seed, size, count: asked.append(size) or iter(())
    )
    command.evaluate_cse(EvaluateCseConfig(weights=str(tmp_path / "small.pth"), beside=large, count=1))
    command.evaluate_cse(EvaluateCseConfig(weights=large, count=1))
    command.evaluate_cse(EvaluateCseConfig(weights=large, count=1, size=64))
    assert asked == [96, 96, 192, 64]
