"""Masks of annotations against pycocotools, and run lengths that are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as run_length

from dp3d_data.datasets.annotations import Annotations, segmentation_mask
from dp3d_data.errors import InputCorrupt
from dp3d_data.records import GivenObject, RunLength
from dp3d_data.run_lengths import area, decode_runs, encode_pixels, encode_placed, encode_runs, mask_pixels
from tests.data.sources.examples import compressed, rectangle, uncompressed


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 1))
def test_run_lengths_are_read_and_written_as_coco_does(width, height, seed, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    theirs = compressed(mask)
    ours = segmentation_mask(uncompressed(mask), (width, height))
    assert ours == segmentation_mask(theirs, (width, height)) and ours.counts == theirs["counts"].encode()
    assert np.array_equal(mask_pixels(ours), mask.astype(bool))


@given(st.lists(st.integers(0, 2**40), max_size=30))
def test_writing_then_reading_is_the_identity(lengths):
    assert decode_runs(encode_runs(lengths)) == lengths


def test_polygons_are_filled_as_coco_does():
    polygons = [[4.2, 5.1, 24, 5, 24, 15, 4, 15], [30, 2, 38, 2, 34, 20.5]]
    mask = mask_pixels(segmentation_mask(polygons, (40, 30)))
    expected = run_length.decode(run_length.merge(run_length.frPyObjects(polygons, 30, 40)))
    assert np.array_equal(mask, expected) and mask.sum() > 200


@pytest.mark.parametrize(
    "form",
    [
        [4, 5, 24, 5, 24, 15, 4, 15],
        [[4, 5], [24, 5], [24, 15], [4, 15]],
        [[[4, 5], [24, 5], [24, 15], [4, 15]]],
        [[4, 5, 24, 5, 24, 15, 4, 15], [1, 1]],
        [["4", "5", "24", "5", "24", "15", "4", "15"]],
    ],
)
def test_polygons_in_every_form_are_the_same(form):
    """Flat, as pairs, one or a list of them, beside one that is too short."""
    assert segmentation_mask(form, (40, 30)) == segmentation_mask([[4, 5, 24, 5, 24, 15, 4, 15]], (40, 30))


@pytest.mark.parametrize(
    "form",
    [
        [[1, 2, 3, 4]],
        [[1, 2], [3, 4]],
        [1, 2],
        [[4, 5, 24, 5, 24, 15, 4]],
        [[4, 5, 24, 5, 24, float("nan")]],
        [[4, 5, 24, 5, 2**40, 9]],
        [{"a": 1}],
        "polygon",
        7,
        [[4, 5, 24, 5, None, 9]],
        [[[4, 5], [24, 5, 6], [24, 15]]],
        {"counts": [1, "x"]},
        {"size": 3, "counts": "a"},
        {"size": [2**20, 2**20], "counts": "a"},
        {"size": [0, 0], "counts": "a"},
        {"size": [-30, -40], "counts": "a"},
    ],
)
@pytest.mark.parametrize("size", [(40, 30), None])
def test_masks_that_are_none_are_refused(form, size):
    """With or without a size of the image; nothing is allocated for it."""
    with pytest.raises(InputCorrupt, match="a mask|polygons in an image without a size"):
        segmentation_mask(form, size)


def test_a_mask_of_two_to_the_forty_is_refused_before_it_is_made():
    for size in ((2**40, 1), (2**20, 2**20)):
        with pytest.raises(InputCorrupt, match="impossible size"):
            mask_pixels(RunLength(*size, encode_runs([size[0] * size[1]])))
        with pytest.raises(InputCorrupt, match="impossible size"):
            segmentation_mask([[4, 5, 24, 5, 24, 15, 4, 15]], size)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**31), st.floats(0, 1))
def test_pixels_to_runs_and_back(width, height, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    assert np.array_equal(mask_pixels(encode_pixels(mask)), mask)


def test_no_mask_is_none():
    for nothing in ([], None, {}):
        assert segmentation_mask(nothing, (40, 30)) is None


@pytest.mark.parametrize(
    "counts", [b"", b"1", b"~~~~~~", b"PPYo0", b"o" * 10**6, encode_runs([1200, 1]), encode_runs([600, 700, 5])]
)
def test_runs_that_do_not_fill_the_image_are_refused(counts):
    """Whatever the text says, no more is allocated than the image has pixels."""
    with pytest.raises(InputCorrupt, match="do not fill the image"):
        mask_pixels(RunLength(30, 40, counts))


def test_masks_of_another_size_or_form():
    with pytest.raises(InputCorrupt, match="another size than its image"):
        segmentation_mask(compressed(rectangle(1, 1, 4, 4)), (40, 31))
    with pytest.raises(InputCorrupt, match="without run lengths"):
        segmentation_mask({"size": [30, 40], "counts": 7}, (40, 30))


@pytest.mark.parametrize("origin", [(0, 0), (3, 2), (-3, -2), (35, 25), (-50, 4), (60, 4), (4, 60), (0, -40)])
def test_a_mask_that_lies_in_an_image_has_the_runs_of_the_whole_image(origin):
    rng = np.random.default_rng(5)
    for size in ((40, 30), (6, 5)):
        mask = rng.random((12, 9)) < 0.6
        whole = np.zeros(size[::-1], dtype=bool)
        for row, column in np.argwhere(mask):
            x, y = column + origin[0], row + origin[1]
            if 0 <= x < size[0] and 0 <= y < size[1]:
                whole[y, x] = True
        runs = encode_placed(mask, origin, size)
        assert np.array_equal(mask_pixels(runs), whole) and area(runs) == whole.sum()


def test_polygons_may_lie_as_far_away_as_the_longer_side_allows():
    assert segmentation_mask([[0, 0, 300, 0, 300, 8]], (100, 10)) is not None
    with pytest.raises(InputCorrupt, match="a mask that is no polygon"):
        segmentation_mask([[0, 0, 401, 0, 300, 8]], (100, 10))


def test_boxes_of_an_image_of_another_size_are_faults():
    one, other = (Annotations(size, [GivenObject((0.0, 0.0, 5.0, 5.0))]) for size in ((40, 30), (30, 40)))
    one.join(other)
    assert len(one.objects) == 1 and one.faults == ["box 0: its image is 30 x 40 here and 40 x 30 before"]
