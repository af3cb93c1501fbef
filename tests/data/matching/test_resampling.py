"""Resizing and the integer box."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data.errors import ShapeError
from dp3d_data.matching import integer_box, object_mask, resize_to
from tests.references.matching import resize_slow


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), st.integers(0, 2**31))
def test_resize_equals_the_slow_twin(side, width, height, channels, seed):
    maps = np.random.default_rng(seed).normal(size=(channels, side, side)).astype("f4")
    resized = resize_to(maps, width, height)
    assert resized.shape == (height, width, channels) and resized.flags.c_contiguous
    slow = np.stack([resize_slow(channel.tolist(), width, height) for channel in maps], axis=-1)
    np.testing.assert_allclose(resized, slow, atol=2e-5)


def test_resize_to_the_same_size_changes_nothing():
    maps = np.random.default_rng(0).normal(size=(3, 9, 9)).astype("f4")
    assert (resize_to(maps, 9, 9) == maps.transpose(1, 2, 0)).all()


def test_a_tie_of_the_two_channels_is_background():
    assert not object_mask(np.zeros((2, 4, 4)), 8, 8).any()


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 110, 140), (10, 20, 100, 120)),
        ((60.5, 5.25, 215.75, 150.0), (60, 5, 155, 144)),
        ((0.9, 0.9, 2.1, 2.1), (0, 0, 1, 1)),
        ((5.2, 6.9, 5.3, 6.95), (5, 6, 1, 1)),
    ],
)
def test_corner_and_size_are_truncated_each_on_its_own(box, expected):
    assert integer_box(box) == expected


def test_sizes_are_those_of_single_precision():
    """In double precision this box is 2.99999... wide: the labels of a dump, 3 wide, would not fit it."""
    x0, x1 = float(np.float32(0.1)), float(np.float32(3.1))
    assert int(x1 - x0) == 2 and integer_box((x0, x0, x1, x1)) == (0, 0, 3, 3)


@given(st.lists(st.floats(0, 5000, width=32), min_size=4, max_size=4))
def test_the_whole_pixels_stay_inside_the_box_rounded_out(values):
    x0, y0 = min(values[0], values[2]), min(values[1], values[3])
    x1, y1 = max(values[0], values[2]), max(values[1], values[3])
    x, y, width, height = integer_box((x0, y0, x1, y1))
    assert width >= 1 and height >= 1 and x <= x0 < x + 1 and y <= y0 < y + 1
    assert x + width <= max(x1, x + 1) and y + height <= max(y1, y + 1)


@pytest.mark.parametrize("box", [(0, 0, np.nan, 1), (5, 0, 4, 1), (0, 0, 1)])
def test_boxes_that_are_none_are_named(box):
    with pytest.raises(ShapeError, match="a box is four finite numbers"):
        integer_box(box)


def test_wrong_maps_are_named():
    with pytest.raises(ShapeError, match="two channels"):
        unwrap(object_mask)(np.zeros((3, 4, 4)), 2, 2)
    with pytest.raises(ShapeError, match="at least 1 x 1"):
        resize_to(np.zeros((1, 4, 4)), 0, 2)
