"""What is not the animal is dropped, by the classifier that the trunk comes from: detections of photographs."""

import copy
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

import dp3d_data.datasets
from dp3d_data.detection import predictor, recognition
from dp3d_data.detection.detections import WITHIN
from dp3d_data.detection.loading import load_predictor
from dp3d_data.detection.predictor import DensePredictor
from dp3d_data.detection.recognition import Recogniser, doubled, halved, recogniser_of
from dp3d_data.detection.zoo import RECOGNITION
from dp3d_data.errors import InputCorrupt
from dp3d_data.geometry import load_template
from tests.data.inference.small import small_network

SAMPLES = Path(dp3d_data.datasets.__file__).parent / "samples"
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
WIDE = np.array([[1.0, 0], [0, 1], [1, 1]], dtype=np.float32)
CLASSES = np.array([[1.0, 0, 0], [0, 2, 0], [0, 0, 1], [0, 0, 0]], dtype=np.float32)


def arrays(bias, offsets, members):
    bias, offsets = (np.array(each, dtype=np.float32) for each in (bias, offsets))
    return {"widen": WIDE, "bias": bias, "classes": CLASSES, "offsets": offsets, "members": np.array(members)}


def recogniser(bias=(0.0, 0.0, 0.0), offsets=(0.0, 0.0, 0.0, 0.0), members=(True, True, False, False)):
    """Three features of two channels, and four classes."""
    return Recogniser(arrays(bias, offsets, members), "dog", 0.5)


def test_the_probability_is_the_share_of_the_classes_of_a_kind():
    """Features are cut to 0..6 in each cell, then averaged; worked out by hand."""
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 0], maps[0, 1] = torch.tensor([[1.0, 3.0], [-5.0, 9.0]]), 2.0
    pooled = np.array([(1 + 3 + 0 + 6) / 4, 2.0, (3 + 5 + 0 + 6) / 4])
    share = np.exp([pooled[0], 2 * pooled[1], pooled[2], 0.0])
    assert recogniser()(maps).tolist() == pytest.approx([share[:2].sum() / share.sum()])
    other = recogniser(members=(False, False, True, False))
    assert other(maps).tolist() == pytest.approx([share[2] / share.sum()])
    even = recogniser(offsets=np.log([1.0, 1, 3, 5]))
    assert even(torch.full((3, 2, 1, 1), -1.0)).tolist() == pytest.approx([0.2] * 3)
    assert recogniser(bias=(0, np.log(2), 0))(torch.zeros(1, 2, 1, 1)).tolist() == pytest.approx([5 / 7])


@pytest.fixture(scope="module")
def embedded():
    return load_predictor(category="dog")


def test_the_shipped_one_is_of_the_shipped_trunk_alone(embedded):
    trunk = embedded.network.backbone.bottom_up
    own = recogniser_of(trunk)
    assert own is not None and own.mesh == "dog" and own.members.sum() == 118 and len(own.members) == 1000
    assert recogniser_of(load_predictor(category="dog").network.backbone.bottom_up) is not None
    weight = next(iter(trunk.parameters()))
    with torch.no_grad():
        weight[0] += 1e-3
        assert recogniser_of(trunk) is None
        weight[0] -= 1e-3


def test_a_damaged_file_is_said_to_be_one(embedded, monkeypatch, tmp_path):
    whole = RECOGNITION.read_bytes()
    np.savez(tmp_path / "other.npz", trunk="trunk")
    flipped = bytearray(whole)
    for place in range(2000, len(whole), 5000):
        flipped[place] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    (tmp_path / "cut.npz").write_bytes(whole[:3000])
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("cut.npz", "empty.npz", "flipped.npz", "other.npz", "missing.npz"):
        monkeypatch.setattr(recognition, "RECOGNITION", tmp_path / name)
        recognition._stored.cache_clear()
        with pytest.raises(InputCorrupt, match=name):
            recogniser_of(embedded.network.backbone.bottom_up)
    recognition._stored.cache_clear()


def test_networks_that_cannot_tell_stay_what_they_are(embedded):
    small = DensePredictor(small_network())
    assert small.recognising() is small
    adopted = copy.copy(embedded)
    adopted.mesh_of = {**embedded.mesh_of, embedded.class_of("dog"): "fox"}
    assert adopted.recognising() is adopted


def pixels_of(path):
    """BGR."""
    return np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1])


def scores(network, path, **more):
    """Scores of the dogs of a photograph, best first."""
    found = network.predict(pixels_of(path), classes=[network.class_of("dog")], **more)
    return [one.score for one in found]


def test_a_person_is_no_dog(embedded):
    assert len(scores(embedded, PORTRAIT)) == 1
    assert scores(embedded.recognising(), PORTRAIT) == []


def test_recognised_dogs_have_doubled_odds(embedded):
    """The small dog of one photograph is below the score that is asked for until it is recognised."""
    dog, person = (SAMPLES / name for name in ("dog.jpg", "person.jpg"))
    (before,), (after,) = scores(embedded, dog), scores(embedded.recognising(), dog)
    assert after / (1 - after) == pytest.approx(2 * before / (1 - before), rel=1e-3)
    below = scores(embedded, person, score=1 / 3)[0]
    assert scores(embedded, person) == [] and 1 / 3 < below < 0.5
    assert scores(embedded.recognising(), person) == pytest.approx([2 * below / (1 + below)])


@pytest.mark.slow
@pytest.mark.parametrize("mirror", [False, True])
def test_what_is_recognised_is_matched_as_before(embedded, mirror):
    """A portrait beside a dog: one is left out, and the maps of the other stay its own."""
    dog, portrait = pixels_of(SAMPLES / "dog.jpg"), pixels_of(PORTRAIT)
    height = min(len(dog), len(portrait))
    image, kind = np.hstack([portrait[:height], dog[:height]]), [embedded.class_of("dog")]
    plain = embedded.mirrored(load_template("dog").symmetry) if mirror else embedded
    every = plain.predict(image, score=0.1, classes=kind)
    kept = plain.recognising().predict(image, score=2 * 0.1 / 1.1, classes=kind)
    assert 0 < len(kept) < len(every)
    for one in kept:
        (same,) = (each for each in every if np.allclose(each.box, one.box, atol=1e-3))
        assert np.allclose(same.embedding, one.embedding, atol=1e-4)
        assert one.score == pytest.approx(2 * same.score / (1 + same.score))


@pytest.mark.slow
def test_kinds_that_it_does_not_know_keep_their_scores(embedded):
    """Cows are asked for their whole score, and nothing is dropped of them."""
    both, cow = embedded.recognising(), [embedded.class_of("cow")]
    image = pixels_of(SAMPLES / "horses.jpg")
    every = embedded.predict(image, score=0.05, classes=cow)
    assert len(every) > 2
    for score in (0.05, sorted(one.score for one in every)[1] + 1e-6):
        one, other = (each.predict(image, score=score, classes=cow) for each in (embedded, both))
        assert [each.score for each in one] == [each.score for each in other] and one
    mixed = both.predict(pixels_of(SAMPLES / "dog.jpg"))
    assert {one.class_id for one in mixed} <= {embedded.class_of("dog")} and len(mixed) == 1


def test_halved_scores_come_back_doubled():
    assert [doubled(halved(score)) for score in (0.0, 0.3, 0.5, 1.0)] == pytest.approx([0.0, 0.3, 0.5, 1.0])
    assert doubled(1 / 3) == pytest.approx(0.5)


class Everything(Recogniser):
    """Every crop is a dog."""

    def forward(self, deepest):
        return torch.ones(len(deepest))


def taking_all(embedded):
    other = copy.copy(embedded)
    other.recogniser = Everything(arrays(np.zeros(3), np.zeros(4), np.ones(4, dtype=bool)), "dog", 0.5)
    return other


def test_the_best_comes_first_though_dogs_alone_have_moved_up(embedded, monkeypatch):
    monkeypatch.setattr(predictor, "once", lambda own, within: own)
    giraffe = pixels_of(SAMPLES / "giraffe.jpg")
    before, after = (each.predict(giraffe, score=0.1) for each in (embedded, taking_all(embedded)))
    values = [one.score for one in after]
    assert values == sorted(values, reverse=True)
    first = [[one.class_id for one in found].index(embedded.class_of("dog")) for found in (before, after)]
    assert first[1] < first[0], "a dog has moved before another animal"


def test_pieces_of_a_recognised_dog_are_left_out(embedded, monkeypatch):
    asked, image = [], pixels_of(SAMPLES / "dog.jpg")
    monkeypatch.setattr(predictor, "once", lambda own, within: asked.append(within) or own)
    for each in (embedded, embedded.recognising()):
        each.predict(image)
    assert asked == [1.0, WITHIN]


def test_given_boxes_are_never_dropped(embedded):
    image, boxes = pixels_of(SAMPLES / "horses.jpg"), np.array([[10.0, 10, 90, 90], [0, 0, 60, 60]], dtype=np.float32)
    found = embedded.recognising().predict(image, boxes=boxes, classes=[embedded.class_of("dog")])
    assert [one.score for one in found] == [1.0, 1.0]
    assert np.allclose([one.box for one in found], boxes)
