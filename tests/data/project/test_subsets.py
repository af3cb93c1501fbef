"""Vertex subsets and noise: their laws and their words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import InputCorrupt, InputMissing, ShapeError, UsageError
from dp3d_data.filters import MEASURES, FilterConfig, judge
from dp3d_data.geometry.subsets import checked_ids, farthest_vertices, read_subset
from dp3d_data.geometry.visibility import hide_share, lower_half, move_keypoints


@given(st.integers(1, 40), st.integers(0, 1000))
def test_farthest_vertices_are_farther_apart_than_chance(count, seed):
    points = np.random.default_rng(seed).normal(size=(40, 3))
    ids = farthest_vertices(points, count)
    assert len(set(ids.tolist())) == count and (np.diff(ids) > 0).all()
    if 2 <= count < 40:
        gaps = np.linalg.norm(points[ids][:, None] - points[ids], axis=2) + 9 * np.eye(count)
        rest = np.setdiff1d(np.arange(40), ids)
        reach = np.linalg.norm(points[rest][:, None] - points[ids], axis=2).min(axis=1)
        assert reach.max() <= gaps.min() + 1e-9


def test_vertices_in_one_place_are_still_each_chosen_once():
    assert farthest_vertices(np.zeros((5, 3)), 5).tolist() == [0, 1, 2, 3, 4]


def test_lists_of_vertices(tmp_path):
    (tmp_path / "ids.txt").write_text("7, 3\n5\n")
    assert read_subset(tmp_path / "ids.txt", 8).tolist() == [3, 5, 7]
    with pytest.raises(InputMissing, match="no such list of vertices"):
        read_subset(tmp_path / "none.txt", 8)
    (tmp_path / "words.txt").write_text("nose tail")
    with pytest.raises(InputCorrupt, match="not a list of vertices"):
        read_subset(tmp_path / "words.txt", 8)
    for ids, text in (
        ([], "names vertices"),
        ([8], "names vertices"),
        ([-1], "names vertices"),
        ([2, 2], "each vertex once"),
    ):
        with pytest.raises(UsageError, match=text):
            checked_ids(np.array(ids, dtype=np.int64), 8)
    with pytest.raises(UsageError, match="no such number of vertices"):
        farthest_vertices(np.zeros((5, 3)), 6)


@given(st.floats(0, 1), st.integers(0, 1000))
def test_the_share_that_is_hidden(share, seed):
    visible = np.random.default_rng(seed).random(200) < 0.5
    left = hide_share(visible, share, np.random.default_rng(seed))
    assert not (left & ~visible).any()
    assert left.sum() == visible.sum() - round(share * visible.sum())
    more = hide_share(visible, min(1.0, share + 0.2), np.random.default_rng(seed))
    assert not (more & ~left).any()


def test_noise_is_in_units_of_the_box():
    moved = move_keypoints(np.zeros((20000, 2)), (10, 20, 60, 220), 0.05, np.random.default_rng(0))
    assert moved.std() == pytest.approx(0.05 * 200, rel=0.02) and abs(moved.mean()) < 0.2
    with pytest.raises(ShapeError, match="not a share"):
        hide_share(np.ones(3, dtype=bool), 1.2, np.random.default_rng(0))


def test_the_lower_half_is_that_of_the_rest_template():
    rest = np.array([[0, 0, 0], [0, 0, 1], [5, 0, 0.4], [0, 9, 0.6]])
    assert lower_half(rest, 2).tolist() == [True, False, True, False]
    crowded = np.array([[0, 0, 0], [0, 0, 0.1], [0, 0, 0.2], [0, 0, 0.4], [0, 0, 1]])  # the mean height is 0.34
    assert lower_half(crowded, 2).tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("least", [0.1, 0.3, 0.7])
def test_exactly_the_threshold_of_visible_area_is_kept(least):
    """As the tables hold it, in single precision, and as ten tenths of a surface add up."""
    stored = np.float64(np.float32([least, np.nextafter(np.float32(least), np.float32(0)), 0.999 * least]))
    ones = np.ones(3)
    columns = ones, 500 * ones, stored, np.ones(3, dtype=bool), 0 * ones, 0 * ones, ones
    measures = dict(zip(MEASURES, columns, strict=True))
    reasons, values = judge(FilterConfig(min_visible_area=least), measures)
    assert reasons == [None, "small visible area", "small visible area"]
    assert values[1:].tolist() == stored[1:].tolist()
