"""StanfordExtra's json: box, mask and keypoints as the authors wrote them, and clear errors for other files."""

import json

import numpy as np
import pytest

from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.sources.stanford_extra import read_stanford_extra
from tests.shared import shared


def test_the_real_sample_has_masks_inside_their_boxes():
    folder = shared("data/stanford_extra")
    dogs = read_stanford_extra(folder / "StanfordExtra_sample.json", folder / "images")
    assert len(dogs) == 10
    for dog in dogs:
        rows, columns = np.nonzero(dog.mask)
        x0, y0, x1, y1 = dog.box
        inside = (columns >= x0 - 2) & (columns < x1 + 2) & (rows >= y0 - 2) & (rows < y1 + 2)
        assert inside.mean() > 0.95
        assert dog.keypoints.shape == (24, 3)


def test_a_missing_file_and_a_foreign_one(tmp_path):
    with pytest.raises(InputMissing, match="no such file"):
        read_stanford_extra(tmp_path / "none.json", tmp_path)
    for text in ("not json", json.dumps([{"file_name": "a.jpg"}]), json.dumps({"images": []})):
        path = tmp_path / "foreign.json"
        path.write_text(text)
        with pytest.raises((InputCorrupt, InputMissing), match="StanfordExtra|none of the annotated"):
            read_stanford_extra(path, tmp_path)
