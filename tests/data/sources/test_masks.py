"""Masks of annotations against pycocotools, and run lengths that are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as run_length

from dp3d_data.errors import InputCorrupt
from dp3d_data.records import RunLength
from dp3d_data.sources.masks import decode_runs, encode_runs, mask_pixels, segmentation_mask
from tests.data.sources.examples import compressed, rectangle, uncompressed


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 1))
def test_run_lengths_are_read_and_written_as_coco_does(width, height, seed, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    theirs = compressed(mask)
    ours = segmentation_mask(uncompressed(mask), height, width)
    assert ours == segmentation_mask(theirs, height, width) and ours.counts == theirs["counts"].encode()
    assert np.array_equal(mask_pixels(ours), mask.astype(bool))


@given(st.lists(st.integers(0, 2**40), max_size=30))
def test_writing_then_reading_is_the_identity(lengths):
    assert decode_runs(encode_runs(lengths)) == lengths


def test_polygons_are_filled_as_coco_does():
    polygons = [[4.2, 5.1, 24, 5, 24, 15, 4, 15], [30, 2, 38, 2, 34, 20.5]]
    mask = mask_pixels(segmentation_mask(polygons, 30, 40))
    expected = run_length.decode(run_length.merge(run_length.frPyObjects(polygons, 30, 40)))
    assert np.array_equal(mask, expected) and mask.sum() > 200


def test_no_mask_is_none():
    for nothing in ([], None, {}, [[1, 2, 3, 4]]):
        assert segmentation_mask(nothing, 30, 40) is None


@pytest.mark.parametrize("counts", [b"", b"1", b"~~~~~~", b"PPYo0", b"o" * 10**6, encode_runs([1200, 1]), encode_runs([600, 700, 5])])
def test_runs_that_do_not_fill_the_image_are_refused(counts):
    """Whatever the text says, no more is allocated than the image has pixels."""
    with pytest.raises(InputCorrupt, match="do not fill the image"):
        mask_pixels(RunLength(30, 40, counts))


def test_masks_of_another_size_or_form():
    with pytest.raises(InputCorrupt, match="another size than its image"):
        segmentation_mask(compressed(rectangle(1, 1, 4, 4)), 31, 40)
    with pytest.raises(InputCorrupt, match="without run lengths"):
        segmentation_mask({"size": [30, 40], "counts": 7}, 30, 40)
