"""The CSE measures on answers that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data.detection.training.metrics import (
    average_precision,
    box_overlaps,
    mask_overlap,
    match_detections,
    summary,
)
from tests.references.training import average_precision_slow


def test_box_overlaps_on_known_boxes():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 5, 9]], dtype=float)
    np.testing.assert_allclose(box_overlaps(boxes, boxes), [[1, 1 / 7, 0], [1 / 7, 1, 0], [0, 0, 0]])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 5), st.integers(0, 99))
def test_average_precision_equals_its_slow_twin(correct, missed, seed):
    scores = np.random.default_rng(seed).permutation(len(correct)) / len(correct)
    objects = max(1, sum(correct) + missed)
    expected = average_precision_slow(scores.tolist(), correct, objects)
    assert average_precision(scores, np.array(correct), objects) == pytest.approx(expected)


def test_average_precision_counts_objects_never_found():
    assert average_precision(np.array([0.9]), np.array([True]), 4) == pytest.approx(0.25)


def test_each_object_is_hit_once_and_by_the_best_score():
    found = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]], dtype=float)
    owner = match_detections(found, np.array([0.5, 0.9, 0.8]), np.array([[0, 0, 10, 10]], dtype=float), 0.5)
    assert owner.tolist() == [-1, 0, -1]


def test_mask_overlap_and_summary():
    a = np.zeros((4, 4), bool)
    a[:2] = True
    assert mask_overlap(a, a.T) == pytest.approx(4 / 12)
    assert mask_overlap(a & False, a & False) == 1
    assert summary(np.array([0.01, 0.07, 0.2]))["under_10"] == pytest.approx(2 / 3)
    assert np.isnan(summary(np.array([]))["mean"])
