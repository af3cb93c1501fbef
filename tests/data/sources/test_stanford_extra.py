"""StanfordExtra's json: box, mask and keypoints as the authors wrote them, and clear errors for other files."""

import json

import numpy as np
import pytest

from dp3d_data.errors import InputCorrupt, InputMissing, UsageError
from pipelines.annotated import annotated
from tests.shared import shared


def test_the_real_sample_has_masks_inside_their_boxes():
    folder = shared("data/stanford_extra")
    photographs = annotated("stanford-extra", str(folder / "StanfordExtra_sample.json"), str(folder / "images"))
    entries = len(json.loads((folder / "StanfordExtra_sample.json").read_text()))
    dogs = [dog for _, dogs in photographs for dog in dogs]
    assert photographs.account() == {"listed": entries, "on_disk": entries, "left_out": {}, "annotations_left_out": {}}
    assert len(dogs) == entries
    for dog in dogs:
        rows, columns = np.nonzero(dog.mask)
        x0, y0, x1, y1 = dog.box
        inside = (columns >= x0 - 2) & (columns < x1 + 2) & (rows >= y0 - 2) & (rows < y1 + 2)
        assert inside.mean() > 0.95
        assert dog.named.shape == (24, 3)


def test_a_missing_file_and_a_foreign_one(tmp_path):
    with pytest.raises(InputMissing, match="no such file"):
        annotated("stanford-extra", str(tmp_path / "none.json"), str(tmp_path))
    with pytest.raises(UsageError, match="need the folder"):
        annotated("stanford-extra", str(tmp_path / "none.json"), "")
    for text in ("not json", json.dumps([{"file_name": "a.jpg"}]), json.dumps({"images": []})):
        path = tmp_path / "foreign.json"
        path.write_text(text)
        with pytest.raises((InputCorrupt, InputMissing), match="StanfordExtra|none of the annotated"):
            annotated("stanford-extra", str(path), str(tmp_path))
