"""The predictor that knows the answers obeys the contract that extract relies on."""

import numpy as np
import pytest

from dp3d_data.errors import UsageError
from dp3d_data.matching import match_detection
from tests.data.extract.world import CLASSES, known_object
from tests.synthetic_predictor import SyntheticPredictor, image_key

IMAGE = np.arange(44 * 60 * 3, dtype=np.uint8).reshape(44, 60, 3)


@pytest.fixture
def predictor():
    objects = [known_object(60, 44, (3, 4, 40, 36)), known_object(60, 44, (42, 2, 59, 40), score=0.4)]
    return SyntheticPredictor({image_key(IMAGE): objects}, 162, CLASSES)


def test_the_vertex_map_comes_back(predictor):
    found = predictor.predict(IMAGE, score=0.5, classes=[3])
    assert len(found) == 1 and found[0].class_id == 3
    dense = match_detection(found[0], predictor.vertex_embeddings(3))
    truth = predictor.known[image_key(IMAGE)][0].vertex_map[4:36, 3:40]
    assert dense.origin == (3, 4) and dense.mask.all() and (dense.vertex_ids == truth).all()


def test_score_and_class_choose(predictor):
    assert len(predictor.predict(IMAGE, score=0.1)) == 2
    assert predictor.predict(IMAGE, classes=[5]) == [] and predictor.predict(IMAGE[::-1]) == []


def test_given_boxes_are_answered_one_by_one(predictor):
    boxes = np.array([[40, 0, 60, 44], [0, 0, 2, 2], [0, 0, 20, 20]], dtype="f4")
    found = predictor.predict(IMAGE, boxes=boxes)
    masks = [match_detection(one, predictor.vertex_embeddings(3)).mask for one in found]
    assert [mask.sum() for mask in masks] == [17 * 38, 0, 17 * 16]


def test_a_category_it_does_not_know(predictor):
    with pytest.raises(UsageError, match="knows no 'cat'"):
        predictor.class_of("cat")
