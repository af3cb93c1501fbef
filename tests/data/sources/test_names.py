"""Names that annotations give to images: none is looked for outside the folders of the images."""

import os

import pytest

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.datasets.locations import find_image
from tests.shared import shared


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "a/../../secret.jpg", "/secret.jpg", "../../../../../../../etc/passwd", "/etc/passwd"]
)
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "img").mkdir()
    place = find_image([name], [str(tmp_path / "img")])
    assert os.path.normpath(place).startswith(str(tmp_path / "img") + os.sep) and not os.path.exists(place)


def test_names_below_the_folder_are_found_however_they_are_written(tmp_path):
    path = tmp_path / "img" / "a" / "b.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    for name in ("a/b.jpg", "/a/b.jpg", "a/./b.jpg", "a/../a/b.jpg", "../img/a/b.jpg", str(path)):
        assert os.path.samefile(find_image([name], [str(tmp_path / "img")]), path)


def test_the_annotations_that_were_seen_read_nothing_elsewhere(tmp_path):
    images = tmp_path / "photos"
    images.mkdir()
    for name in ("00_dog.jpg", "01_giraffe.jpg"):
        (images / name).write_bytes(b"x")
    options = DatasetOptions(path=str(shared("cases/faults/trav.json")), images=(str(images),), category="dog")
    records = open_images("coco", options).records()
    assert len(records) == 4
    for record in records:
        assert os.path.normpath(record.path).startswith(str(images) + os.sep), record.path
    assert [os.path.isfile(record.path) for record in records] == [False, False, True, True]
