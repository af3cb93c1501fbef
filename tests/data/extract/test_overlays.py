"""Overlays: which images are drawn, and where the dots lie."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.overlays import LONGEST, chosen, overlay, with_key

ROW = {"image_id": "a", "score": 0.9, "box_x0": 10.0, "box_y0": 10.0, "box_x1": 390.0, "box_y1": 290.0}


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 20))
def test_instances_come_first_and_the_number_is_kept(flags, count):
    places = chosen(flags, count)
    assert places == sorted(set(places)) and len(places) == min(count, len(flags))
    drawn = sum(flags[place] for place in places)
    assert drawn == min(count, sum(flags))


def test_a_dot_has_the_colour_of_its_vertex_at_its_keypoint():
    row = ROW | {"vertex_ids": [0, 2], "keypoints_x": [100.0, 300.0], "keypoints_y": [200.0, 250.0]}
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    picture = np.asarray(overlay(np.zeros((300, 400, 3), dtype=np.uint8), [row], colours))
    assert picture[200, 100].tolist() == [255, 0, 0] and picture[250, 300].tolist() == [0, 0, 255]


def test_large_photographs_are_made_smaller_and_boxes_beyond_them_do_not_matter():
    row = ROW | {"box_x1": 9000.0, "vertex_ids": [0], "keypoints_x": [4000.0], "keypoints_y": [10.0]}
    colours = np.array([[255, 0, 0]], dtype=np.uint8)
    picture = overlay(np.zeros((100, 5000, 3), dtype=np.uint8), [row], colours)
    assert picture.size == (LONGEST, round(100 * LONGEST / 5000))
    assert overlay(np.zeros((1, 3000, 3), dtype=np.uint8), [], colours).size == (LONGEST, 1)


def test_the_key_lies_below_and_fits_the_width():
    key = np.full((96, 576, 3), 7, dtype=np.uint8)
    for width in (1, 288, 960):
        page = with_key(Image.new("RGB", (width, 50)), key)
        assert page.width == width and 50 < page.height <= 146
