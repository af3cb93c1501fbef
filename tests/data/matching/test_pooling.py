"""Pooling: the slow twin and its laws."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data.errors import ShapeError
from dp3d_data.matching import pool_pixels
from tests.references.matching import pool_pixels_slow


@st.composite
def matches(draw):
    """Empty, single, all pixels in one vertex, far apart: vertex ids, pixel centres, number of vertices."""
    vertices = draw(st.integers(1, 50))
    pixels = draw(st.sampled_from([0, 1, 2, 30, 200]))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    extent = draw(st.sampled_from([2, 40, 20_000]))
    ids = rng.integers(0, draw(st.integers(1, vertices)), size=pixels)
    return ids, rng.integers(0, extent, size=(pixels, 2)) + 0.5, vertices


@settings(max_examples=100, deadline=None)
@given(matches())
def test_pooling_equals_the_slow_twin(case):
    view = pool_pixels(*case)
    slow = pool_pixels_slow(case[0], case[1])
    assert view.ids.tolist() == list(slow)
    for row, (x, y, count, spread) in enumerate(slow.values()):
        assert view.counts[row] == count
        assert view.keypoints[row] == pytest.approx((x, y), abs=1e-9)
        assert view.spread[row] == pytest.approx(spread, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(matches(), st.integers(0, 2**31))
def test_pooling_ignores_pixel_order(case, seed):
    ids, positions, vertices = case
    order = np.random.default_rng(seed).permutation(len(ids))
    one, other = pool_pixels(*case), pool_pixels(ids[order], positions[order], vertices)
    assert (one.ids == other.ids).all() and (one.counts == other.counts).all()
    assert (one.keypoints == other.keypoints).all()
    np.testing.assert_allclose(one.spread, other.spread, rtol=1e-12, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(matches())
def test_no_pixel_is_lost_and_means_stay_inside(case):
    ids, positions, _ = case
    view = pool_pixels(*case)
    assert view.counts.sum() == len(ids)
    assert (np.diff(view.ids) > 0).all()
    if len(ids):
        assert (view.keypoints >= positions.min(axis=0) - 1e-9).all()
        assert (view.keypoints <= positions.max(axis=0) + 1e-9).all()


def test_two_far_clusters_show_in_the_spread():
    view = pool_pixels(np.array([3, 3]), np.array([[0.5, 0.5], [200.5, 0.5]]), 4)
    assert view.keypoints.tolist() == [[100.5, 0.5]] and view.spread.tolist() == [100.0]


def test_ids_outside_the_template_are_named():
    with pytest.raises(ShapeError, match="outside the template"):
        pool_pixels(np.array([4]), np.zeros((1, 2)), 4)
    with pytest.raises(ShapeError, match="outside the template"):
        pool_pixels(np.array([-1]), np.zeros((1, 2)), 4)
    with pytest.raises(ShapeError, match="one position per matched pixel"):
        unwrap(pool_pixels)(np.array([1, 2]), np.zeros((1, 2)), 4)
