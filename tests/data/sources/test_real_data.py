"""Sources on real files of others: COCO's annotation of image 785, photographs of Stanford Dogs with StanfordExtra."""

import numpy as np

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.datasets.images import read_image
from dp3d_data.run_lengths import mask_pixels
from tests.shared import shared


def test_the_person_of_coco_image_785():
    folder = shared("data/densepose")
    options = DatasetOptions(path=str(folder / "test_coco.json"), category="person", masks=True)
    records = {record.image_id: record for record in open_images("coco", options).records()}
    assert len(records) == 4 and records["000000000785.jpg"].path == str(folder / "000000000785.jpg")
    (person,) = records["000000000785.jpg"].objects
    mask = mask_pixels(person.mask)
    assert mask.shape == read_image(records["000000000785.jpg"].path).pixels.shape[:2]
    assert_tight(person.box, mask)


def test_dogs_of_stanford_extra():
    folder = shared("data/stanford_extra")
    options = DatasetOptions(path=str(folder / "StanfordExtra_sample.json"), masks=True)
    records = open_images("stanford-extra", options).records()
    assert len(records) == len([*folder.glob("images/*/*.jpg")])
    assert {record.group for record in records} == {record.image_id.split("/")[0] for record in records}
    for record in records:
        (dog,) = record.objects
        assert len(dog.keypoints) == 24
        mask = mask_pixels(dog.mask)
        assert mask.shape == read_image(record.path).pixels.shape[:2]
        assert_tight(dog.box, mask, slack=16)  # annotators drew these boxes loosely


def test_folders_of_stanford_dogs():
    folder = shared("data/stanford_extra")
    records = open_images("stanford-dogs", DatasetOptions(path=str(folder))).records()
    assert len(records) == len([*folder.glob("images/*/*.jpg")]) and len({record.group for record in records}) == 4
    assert all(record.objects is None and record.split is None for record in records)


def assert_tight(box, mask, slack=3):
    """The box is that of the mask to a few pixels, on every side."""
    rows, columns = np.nonzero(mask)
    extent = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert np.abs(np.subtract(box, extent)).max() <= slack
