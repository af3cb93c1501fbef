"""StanfordExtra's json: box, mask and keypoints as the authors wrote them, and clear errors for other files."""

import json

import numpy as np
import pytest

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.errors import InputCorrupt, InputMissing, UsageError
from pipelines.annotated import annotated
from tests.data.fits.trees import picture
from tests.shared import shared


def test_the_real_sample_has_masks_inside_their_boxes():
    folder = shared("data/stanford_extra")
    photographs = annotated("stanford-extra", str(folder / "StanfordExtra_sample.json"), str(folder / "images"))
    entries = len(json.loads((folder / "StanfordExtra_sample.json").read_text()))
    dogs = [dog for _, dogs in photographs for dog in dogs]
    assert photographs.tally() == {"listed": entries, "on_disk": entries, "left_out": {}, "annotations_left_out": {}}
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


def dogs(tmp_path, **changes):
    """The record of a dog, its entry changed."""
    picture(tmp_path / "Images" / "n1-pug" / "n1_2.jpg", (40, 30))
    entry = {"img_path": "n1-pug/n1_2.jpg", "img_width": 40, "img_height": 30, "img_bbox": [4, 5, 20, 10], "seg": "PY1"}
    (tmp_path / "dogs.json").write_text(
        json.dumps([entry | {"joints": [[1, 2, 1]] * 24}, entry | {"joints": [[1, 2, 1]] * 24} | changes])
    )
    (record,) = open_images("stanford-extra", DatasetOptions(path=str(tmp_path / "dogs.json"))).records()
    return record


@pytest.mark.parametrize(
    "joints", [[[1, 2]] * 24, [[1, 2, float("nan")]] * 24, None, [[1, 2, 1, 0]] * 3, "123", {"a": 1}, [None]]
)
def test_joints_that_are_no_triples_are_a_fault(tmp_path, joints):
    record = dogs(tmp_path, joints=joints)
    assert len(record.objects) == 1
    assert [fault.partition(", got")[0].startswith("entry 1: keypoints that are no") for fault in record.faults] == [
        True
    ]


@pytest.mark.parametrize("numbers", [[0.5], [np.nan], [-1.0], ["a"]])
def test_a_split_of_numbers_that_are_not_whole_is_refused(tmp_path, numbers):
    np.save(tmp_path / "train_x.npy", np.array(numbers))
    with pytest.raises(InputCorrupt, match="list of"):
        dogs(tmp_path)
