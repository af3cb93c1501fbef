"""COCO's and LVIS's json: categories by name, synonym and id; masks of every form; files that are almost right."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.datasets.coco import split_in_name
from dp3d_data.datasets.images import read_image
from dp3d_data.datasets.locations import size_of
from dp3d_data.errors import InputCorrupt, InputMissing, NothingToDo, UsageError
from dp3d_data.run_lengths import mask_pixels
from tests.data.sources.examples import COCO_CATEGORIES, note, rectangle, write_coco, write_lvis
from tests.data.sources.pictures import photo, write_json


def records(options, name="coco", **more):
    return open_images(name, DatasetOptions(**(vars(options) | more))).records()


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
    assert [r.image_id for r in records(write_coco(tmp_path), category_in_file=word)] == [
        "one.jpg",
        "two.jpg",
        "crowd.jpg",
    ]


def test_other_categories(tmp_path):
    options = write_coco(tmp_path)
    assert [r.image_id for r in records(options, category="person")] == ["cat.jpg"]
    with pytest.raises(UsageError, match="(?s)no category 'dogg'.*did you mean 'dog'.*--set category_in_file"):
        records(options, category_in_file="dogg")
    with pytest.raises(UsageError, match="(?s)no category 'giraffe'.*got: dog, person"):
        records(options, category="giraffe")
    with pytest.raises(NothingToDo, match="no cat in this file"):
        records(
            changed(options, lambda content: content["categories"].append({"id": 3, "name": "cat"})), category="cat"
        )


def test_lvis_by_synonym_by_name_and_by_the_id_of_the_table(tmp_path):
    options = write_lvis(tmp_path)
    assert len(records(options, "lvis", category_in_file="hound")) == 2
    assert len(records(options, "lvis", category="cat")) == 1
    assert len(records(options, "lvis", category="dog")) == 2
    with pytest.raises(UsageError, match="no category 'dog'"):
        records(options, "coco", category="dog")


def test_images_beside_the_json_or_one_folder_above_are_found(tmp_path):
    options = write_lvis(tmp_path)
    found, other = records(options, "lvis", images=())
    assert found.path.endswith("train2017/000000000009.jpg") and not other.path.endswith("12_ab_z.jpg")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_val2017", "val"),
        ("lvis_v1_train", "train"),
        ("test", "test"),
        ("train_val", None),
        ("trainval35k", None),
    ],
)
def test_the_split_that_a_name_says(name, split):
    assert split_in_name(name) == split


def first(**more):
    """A change of the first annotation; a value of ... takes the key away."""

    def change(content):
        note = content["annotations"][0]
        note.update(more)
        for key in [key for key, value in more.items() if value is ...]:
            del note[key]

    return change


# A change of the first annotation or its image, and what the one fault says.
FAULTS = [
    (first(bbox=[1, 2, 3]), "annotation 11: not a box, got [1, 2, 3]"),
    (first(bbox=[1, 2, float("nan"), 3]), "annotation 11: not a box, got [1, 2, nan, 3]"),
    (first(bbox=[1, 2, 10**400, 3]), "annotation 11: not a box"),
    (first(bbox=[1, 2, 0, 3]), "annotation 11: not a box, got [1, 2, 0, 3]"),
    (first(bbox=[1, 2, 5, -3]), "annotation 11: not a box"),
    (first(bbox=None), "annotation 11: not a box, got None"),
    (first(bbox=...), "annotation 11: no 'bbox'"),
    (first(bbox=..., id=...), "annotation number 1 of the file: no 'bbox'"),
    (first(image_id=999), "annotation 11: its image 999 is not in the file"),
    (first(image_id=None), "annotation 11: not an id, got None"),
    (first(image_id=...), "annotation 11: no 'image_id'"),
    (first(category_id=[18]), "annotation 11: not an id, got [18]"),
    (first(category_id=...), "annotation 11: no 'category_id'"),
    (first(segmentation=[[1, 2]]), "annotation 11: a mask that is no polygon"),
    (first(segmentation={"size": [3, 3], "counts": [9]}), "annotation 11: a mask of another size than its image"),
    (first(segmentation=[[1, 2, 2**40, 5, 6, 7]]), "annotation 11: a mask that is no polygon"),
    (first(bbox="1234"), "annotation 11: not a box, got '1234'"),
    (
        first(segmentation={"size": [30, 40], "counts": [9, 9]}),
        "annotation 11: a mask whose runs do not fill the image",
    ),
    (
        first(segmentation={"size": [30, 40], "counts": [20, -10, 1190]}),
        "annotation 11: a mask whose runs do not fill the image",
    ),
    (
        first(segmentation={"size": [30, 40], "counts": "PPPP\u00e9"}),
        "annotation 11: a mask whose runs do not fill the image",
    ),
    (first(keypoints=[1, float("nan"), 2]), "annotation 11: keypoints that are no triples of numbers"),
    (first(keypoints=[[1, 2], [3, 4], [5, 6]]), "annotation 11: keypoints that are no triples of numbers"),
    (first(keypoints=["1", "2", "two"]), "annotation 11: keypoints that are no numbers"),
    (first(keypoints=7), "annotation 11: keypoints that are no numbers"),
    (first(id=[11]), "annotation [11]: not an id"),
    (lambda content: content["annotations"].insert(0, 7), "annotation number 1 of the file: "),
    (lambda content: content["annotations"].insert(0, None), "annotation number 1 of the file: "),
]


@pytest.mark.parametrize(("change", "fault"), FAULTS)
def test_an_annotation_that_is_none_is_named_and_the_others_stay(change, fault, tmp_path):
    found = records(changed(write_coco(tmp_path), change), masks=True)
    faults = [text for record in found for text in record.faults]
    assert len(faults) == 1 and faults[0].startswith(fault)
    names = {one.name for record in found for one in record.objects}
    assert names >= {"12", "13", "14"} and [record.crowds for record in found if record.crowds] == [("annotation 15",)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda content: content["images"][0].pop("file_name"), "its image has no file_name and no coco_url"),
        (lambda content: content["images"][0].pop("id"), "its image 7 is not in the file"),
        (
            lambda content: content["images"][0].update(width=2**40),
            "the size of its image is none, got 1099511627776 x 30",
        ),
        (lambda content: content["images"][0].update(width=0, height=0), "the size of its image is none"),
        (lambda content: content["images"][0].update(width="wide"), "the size of its image is none"),
        (lambda content: content["images"].append({"id": 7, "file_name": "x.jpg"}), "two images have its image_id 7"),
    ],
)
def test_an_image_that_is_none_fails_with_its_annotations_alone(change, fault, tmp_path):
    found = records(changed(write_coco(tmp_path), change))
    assert [text for record in found for text in record.faults] == [
        f"annotation {n}: {text}"
        for n in (11, 12)
        for text in [next(one.partition(": ")[2] for record in found for one in record.faults)]
    ]
    assert next(one for record in found for one in record.faults).startswith(f"annotation 11: {fault}")
    assert [one.name for record in found for one in record.objects] == ["13", "14"]


@pytest.mark.parametrize("crowd", [1, True, "1", "true", 2, [1], "True "])
def test_a_crowd_is_one_however_it_is_written(crowd, tmp_path):
    found = records(changed(write_coco(tmp_path), first(iscrowd=crowd)))
    assert "annotation 11" in [name for record in found for name in record.crowds]


@pytest.mark.parametrize("crowd", [0, 0.0, "0", "false", None, False, ""])
def test_one_animal_is_no_crowd_however_it_is_written(crowd, tmp_path):
    found = records(changed(write_coco(tmp_path), first(iscrowd=crowd)))
    assert "11" in [one.name for record in found for one in record.objects]


def test_names_that_no_file_has_fail_alone(tmp_path):
    """Half a character, a zero byte: json can hold them, a path and a table cannot."""
    for number, name in enumerate(("a\ud800.jpg", "a\0.jpg", "\udc00\ud800.jpg")):
        options = changed(
            write_coco(tmp_path / str(number)), lambda content, name=name: content["images"][0].update(file_name=name)
        )
        found = records(options)
        assert len([one for record in found for one in record.objects]) == 4
        assert found[0].image_id.encode() and size_of(found[0].path) == -1
        with pytest.raises(InputMissing, match="no such image"):
            read_image(found[0].path)


def test_ids_as_text_numbers_and_floats_are_the_same(tmp_path):
    plain = records(write_coco(tmp_path))

    def change(content):
        for place, one in enumerate(content["annotations"]):
            one["image_id"] = (str, float)[place % 2](one["image_id"])
            one["category_id"] = (float, str)[place % 2](one["category_id"])
            one["iscrowd"] = str(one.get("iscrowd", 0))
        content["categories"][0]["id"] = "18"

    assert records(changed(write_coco(tmp_path), change)) == plain


def test_every_category_of_a_name_counts(tmp_path):
    def change(content):
        content["categories"].append({"id": 99, "name": "Dog", "synonyms": None})
        content["annotations"][5]["category_id"] = 99

    found = records(changed(write_coco(tmp_path), change))
    assert [one.name for record in found for one in record.objects] == ["11", "12", "13", "14", "16"]


def test_an_id_of_two_categories_is_refused_where_it_is_wanted(tmp_path):
    options = changed(write_coco(tmp_path), lambda content: content["categories"].append({"id": 18, "name": "cat"}))
    with pytest.raises(InputCorrupt, match="(?s)two categories have the id 18.*got: cat and dog"):
        records(options)
    assert len(records(options, category="person")) == 1


def test_a_category_without_an_id_is_an_error_of_the_file(tmp_path):
    with pytest.raises(InputCorrupt, match="(?s)a category.*no 'id'"):
        records(changed(write_coco(tmp_path), lambda content: content["categories"][0].pop("id")))


def test_categories_without_names_must_be_chosen(tmp_path):
    options = changed(write_coco(tmp_path), lambda content: content.pop("categories"))
    with pytest.raises(
        UsageError, match="(?s)do not name their categories.*got: category ids 1, 18.*--set category_in_file=ID"
    ):
        records(options)
    assert len(records(options, category_in_file="1")) == 1


def test_annotations_of_one_id_or_of_none_stay_apart(tmp_path):
    """Each keeps its own box and mask, and the names of instances are unique."""

    def change(content):
        content["annotations"][0].update(id=0)
        content["annotations"][1].update(id=0, segmentation=[[30, 20, 35, 20, 35, 25, 30, 25]])
        content["annotations"].append(note(..., 7, 18, [1, 1, 3, 3]) | {"id": None})

    record, *_ = records(changed(write_coco(tmp_path), change), masks=True)
    assert [record.instance_id(number) for number in range(3)] == ["one.jpg#0-0", "one.jpg#0-1", "one.jpg#2"]
    assert [one.mask and int(mask_pixels(one.mask).sum()) for one in record.objects] == [200, 25, None]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_annotation_of_the_category_is_an_object_a_crowd_or_a_fault(data):
    """Whatever is written over whatever part of whatever annotation, as long as one of them can be used."""
    with tempfile.TemporaryDirectory() as folder:
        options = write_coco(Path(folder))
        junk = st.sampled_from(
            [None, True, "18", "x", "", 7, -1, 2**40, 1e400, [], [1], {}, {"a": 1}, [[1, 2], [3, 4]]]
        )
        keys = st.sampled_from(["id", "image_id", "bbox", "iscrowd", "segmentation", "area", "category_id"])

        def change(content):
            for one in content["annotations"][:3]:
                one[data.draw(keys)] = data.draw(junk)
            if data.draw(st.booleans()):
                content["images"][0][data.draw(st.sampled_from(["id", "file_name", "width", "height"]))] = data.draw(
                    junk
                )
            change.dogs = sum(map(of_dogs, content["annotations"]))

        found = records(changed(options, change), masks=True)
        assert sum(len(one.objects) + len(one.crowds) + len(one.faults) for one in found) == change.dogs
        assert len({record.image_id for record in found}) == len(found)


def of_dogs(annotation):
    """Whether an annotation is not of another category for sure."""
    category = annotation["category_id"]
    return category is True or not isinstance(category, (int, float, str)) or str(category) == "18"


def test_names_of_addresses_are_decoded(tmp_path):
    photo(tmp_path / "val2017" / "my dog.jpg")
    change = {"file_name": "", "coco_url": "http://x.org/val2017/my%20dog.jpg"}
    found = records(changed(write_coco(tmp_path), lambda content: content["images"][0].update(change)))
    assert found[0].path.endswith("my dog.jpg") and found[0].size == (40, 30)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ([{"image_id": 1, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.9}], "a json list"),
        ({"images": [], "segments": []}, "an object with images, segments"),
        (
            {
                "images": [{"id": 1, "file_name": "a.jpg"}],
                "annotations": [{"image_id": 1, "segments_info": [{"bbox": [1, 2, 3, 4]}]}],
                "categories": COCO_CATEGORIES,
            },
            "annotation number 1 of the file: no 'category_id'",
        ),
        (
            {
                "images": [{"id": 1, "file_name": "a.jpg"}],
                "annotations": [{"id": 3, "image_id": 1, "caption": "a dog"}],
            },
            "annotation 3: no 'bbox'",
        ),
    ],
)
def test_files_of_other_kinds_say_what_they_are(content, got, tmp_path):
    path = write_json(tmp_path / "other.json", content)
    with pytest.raises(
        InputCorrupt, match="(?s)not COCO's json.*expected: COCO's json.*hint: give the file of the instances"
    ) as raised:
        records(DatasetOptions(path=str(path)))
    assert f"got: {got}" in str(raised.value)


def test_two_images_of_one_name(tmp_path):
    with pytest.raises(InputCorrupt, match="(?s)two images share a name.*one.jpg"):
        records(changed(write_coco(tmp_path), lambda content: content["images"][1].update(file_name="one.jpg")))
