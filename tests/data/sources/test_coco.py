"""COCO's and LVIS's json: categories by name, synonym and id; masks of every form; files that are almost right."""

import json

import numpy as np
import pytest

from dp3d_data.errors import InputCorrupt, NothingToDo, UsageError
from dp3d_data.sources import SourceOptions, mask_pixels, open_source
from dp3d_data.sources.coco import split_in_name
from tests.data.sources.examples import rectangle, write_coco, write_lvis


def records(options, name="coco", **more):
    return open_source(name, SourceOptions(**(vars(options) | more))).records()


def changed(options, change):
    """The json with a change."""
    with open(options.path, encoding="utf-8") as stream:
        content = json.load(stream)
    change(content)
    with open(options.path, "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    return options


def test_masks_of_every_form_are_the_same(tmp_path):
    found = {one.name: one.mask for record in records(write_coco(tmp_path), masks=True) for one in record.objects}
    expected = rectangle(4, 5, 24, 15).astype(bool)
    assert found["12"] is None
    for name in ("11", "13", "14"):
        assert np.array_equal(mask_pixels(found[name]), expected)
    assert all(one.mask is None for record in records(write_coco(tmp_path)) for one in record.objects)


@pytest.mark.parametrize("word", ["dog", "Dog ", "18"])
def test_a_category_by_name_or_id(word, tmp_path):
    assert [r.image_id for r in records(write_coco(tmp_path), category_in_file=word)] == ["one.jpg", "two.jpg", "crowd.jpg"]


def test_other_categories(tmp_path):
    options = write_coco(tmp_path)
    assert [r.image_id for r in records(options, category="person")] == ["cat.jpg"]
    with pytest.raises(UsageError, match="(?s)no category 'dogg'.*did you mean 'dog'.*--category-in-file"):
        records(options, category_in_file="dogg")
    with pytest.raises(UsageError, match="(?s)no category 'giraffe'.*got: dog, person"):
        records(options, category="giraffe")
    with pytest.raises(NothingToDo, match="no cat in this file"):
        records(changed(options, lambda content: content["categories"].append({"id": 3, "name": "cat"})), category="cat")


def test_lvis_by_synonym_by_name_and_by_the_id_of_the_table(tmp_path):
    options = write_lvis(tmp_path)
    assert len(records(options, "lvis", category_in_file="hound")) == 2
    assert len(records(options, "lvis", category="cat")) == 1
    assert len(records(options, "lvis", category="dog")) == 2
    with pytest.raises(UsageError, match="no category 'dog'"):
        records(options, "coco", category="dog")


def test_images_beside_the_json_or_one_folder_above_are_found(tmp_path):
    options = write_lvis(tmp_path)
    (found, other) = records(options, "lvis", images=())
    assert found.path.endswith("train2017/000000000009.jpg") and not other.path.endswith("12_ab_z.jpg")


@pytest.mark.parametrize(
    ("name", "split"),
    [("instances_val2017", "val"), ("lvis_v1_train", "train"), ("test", "test"), ("train_val", None), ("trainval35k", None)],
)
def test_the_split_that_a_name_says(name, split):
    assert split_in_name(name) == split


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["annotations"][0].update(bbox=[1, 2, 3]),
        lambda content: content["annotations"][0].update(bbox=[1, 2, float("nan"), 3]),
        lambda content: content["annotations"][0].update(image_id=999),
        lambda content: content["images"][0].pop("file_name"),
        lambda content: content["categories"][0].pop("id"),
        lambda content: content["annotations"][0].update(category_id=[18]),
    ],
)
def test_an_annotation_that_is_none_is_named(change, tmp_path):
    with pytest.raises(InputCorrupt, match="(?s)not COCO's json.*expected: COCO's json"):
        records(changed(write_coco(tmp_path), change))


def test_two_images_of_one_name(tmp_path):
    with pytest.raises(InputCorrupt, match="(?s)two images share a name.*one.jpg"):
        records(changed(write_coco(tmp_path), lambda content: content["images"][1].update(file_name="one.jpg")))
