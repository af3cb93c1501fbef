"""Boxes from files: three forms, matched to images by name."""

import json

import pytest

from dp3d_data.datasets.boxes import attach_boxes, read_boxes
from dp3d_data.errors import InputCorrupt, InputMissing, UsageError
from dp3d_data.records import ImageRecord

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
    "annotations": [
        {"id": 5, "image_id": 1, "category_id": 18, "bbox": [10, 20, 30, 40]},
        {"id": 6, "image_id": 1, "category_id": 17, "bbox": [1, 1, 2, 2]},
        {"id": 7, "image_id": 2, "category_id": 18, "bbox": [0, 0, 5, 5], "iscrowd": 1},
    ],
}


def written(folder, content, name="boxes.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def boxes(path, category=None):
    return {name: tuple(one.box for one in own.objects) for name, own in read_boxes(path, category).items()}


def attached(path, records, category=None):
    return attach_boxes(read_boxes(path, category), records, path)


def test_the_three_forms_say_the_same(tmp_path):
    coco = boxes(written(tmp_path, COCO), "dog")
    plain = boxes(written(tmp_path, {"a.jpg": [[10, 20, 40, 60]], "b.jpg": []}))
    table = boxes(written(tmp_path, "image,x0,y0,x1,y1\na.jpg,10,20,40,60\n"))
    assert coco == plain == {"a.jpg": ((10.0, 20.0, 40.0, 60.0),), "b.jpg": ()}
    assert table == {"a.jpg": ((10.0, 20.0, 40.0, 60.0),)}


def test_without_a_category_every_coco_box_counts(tmp_path):
    assert len(boxes(written(tmp_path, COCO))["a.jpg"]) == 2


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("image,left,top\na,1,2\n", "not a file of boxes"),
        ('{"a.jpg": 7}', "are no list"),
        ("[1, 2]", "a json list"),
        ('{"a.jpg": ', "not json"),
        ('{"a.jpg": [[1, 2, 3, 4]], "a.jpg": []}', "'a.jpg' stands twice"),
        (
            {"images": [], "annotations": [{"bbox": [1, 2, 3, 4], "image_id": 9}]},
            "(?s)not COCO's json.*its image 9 is not in the file",
        ),
    ],
)
def test_files_that_are_no_boxes_say_where(tmp_path, content, text):
    with pytest.raises(InputCorrupt, match=text):
        read_boxes(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("image,x0,y0,x1,y1\na.jpg,1,2,3\na.jpg,1,2,3,4\n", "line 2: not a box"),
        ("image,x0,y0,x1,y1\na.jpg,5,2,3,9\na.jpg,1,2,3,4\n", "line 2: not a box"),
        ("image,x0,y0,x1,y1\na.jpg,nan,2,3,9\na.jpg,1,2,3,4\n", "line 2: not a box"),
        ('{"a.jpg": [[1, 2, 3], [1, 2, 3, 4]]}', "box 0: not a box"),
        ('{"a.jpg": [7, [1, 2, 3, 4]]}', "box 0: not a box"),
        (
            {
                **COCO,
                "annotations": [{"id": 5, "image_id": 1, "bbox": None}, {"id": 6, "image_id": 1, "bbox": [1, 2, 2, 2]}],
            },
            "annotation 5: not a box",
        ),
    ],
)
def test_a_box_that_is_none_is_named_and_the_others_stay(tmp_path, content, fault):
    (record,) = attached(written(tmp_path, content), [ImageRecord("a.jpg", "/data/a.jpg")])[0]
    assert record.boxes == ((1, 2, 3, 4),) and [one[: len(fault)] for one in record.faults] == [fault]


def test_two_names_of_one_image_join(tmp_path):
    """None replaces the other: by their ends both names are the same photograph."""
    path = written(tmp_path, {"a.jpg": [[1, 2, 3, 4]], "x/a.jpg": [[5, 6, 7, 8]]})
    assert attached(path, [ImageRecord("x/a.jpg", "/data/x/a.jpg")])[0][0].boxes == ((1, 2, 3, 4), (5, 6, 7, 8))


def test_sizes_of_a_coco_file_come_along(tmp_path):
    sized = {
        **COCO,
        "images": [{"id": 1, "file_name": "a.jpg", "width": 30, "height": 60}, {"id": 2, "file_name": "b.jpg"}],
    }
    records = [ImageRecord("a.jpg", "/a.jpg"), ImageRecord("b.jpg", "/b.jpg")]
    (a, b), _ = attached(written(tmp_path, sized), records, "dog")
    assert a.size == (30, 60) and b.size is None and b.crowds == ("annotation 7",)


def test_a_category_that_the_file_lacks(tmp_path):
    with pytest.raises(UsageError, match="no category 'horse' in the annotations"):
        read_boxes(written(tmp_path, COCO), "horse")


def test_missing_file_of_boxes(tmp_path):
    with pytest.raises(InputMissing, match="no such file of boxes"):
        read_boxes(tmp_path / "none.csv")


RECORDS = [
    ImageRecord("x/a.jpg", "/data/x/a.jpg"),
    ImageRecord("y/a.jpg", "/data/y/a.jpg"),
    ImageRecord("b.jpg", "/data/b.jpg"),
]


def test_names_mean_ids_or_ends_of_paths(tmp_path):
    box = [[1, 2, 3, 4]]
    path = written(tmp_path, {"x/a.jpg": box, "data/b.jpg": box, "elsewhere.jpg": box})
    records, unmatched = attached(path, RECORDS)
    assert [len(record.boxes) for record in records] == [1, 0, 1]
    assert unmatched == ["elsewhere.jpg"]


@pytest.mark.parametrize("name", ["x\\a.jpg", "/data/x/a.jpg", "data/x/a.jpg", "x//a.jpg"])
def test_a_name_is_read_as_a_path_however_it_is_written(tmp_path, name):
    records, unmatched = attached(written(tmp_path, {name: [[1, 2, 3, 4]]}), RECORDS)
    assert [len(record.boxes) for record in records] == [1, 0, 0] and unmatched == []


def test_an_id_is_meant_before_the_end_of_a_path(tmp_path):
    records = [ImageRecord("a.jpg", "/data/x/b.jpg"), ImageRecord("c", "/data/y/a.jpg")]
    found, _ = attached(written(tmp_path, {"a.jpg": [[1, 2, 3, 4]], "b.jpg": []}), records)
    assert [len(record.boxes) for record in found] == [1, 0]


def test_a_file_without_boxes_gives_none(tmp_path):
    records, unmatched = attached(written(tmp_path, {}), RECORDS)
    assert [record.boxes for record in records] == [()] * 3 and unmatched == []


def test_columns_are_told_by_their_names(tmp_path):
    table = "score,x1,y1,image,x0,y0\n0.5,30,40,a.jpg,10,20\n"
    assert boxes(written(tmp_path, table)) == {"a.jpg": ((10.0, 20.0, 30.0, 40.0),)}


def test_a_name_that_means_two_images(tmp_path):
    with pytest.raises(UsageError, match="'a.jpg' means several images"):
        attached(written(tmp_path, {"a.jpg": [[1, 2, 3, 4]]}), RECORDS)


def test_boxes_of_other_images(tmp_path):
    with pytest.raises(UsageError, match="the boxes are of other images"):
        attached(written(tmp_path, {"z.jpg": [[1, 2, 3, 4]]}), RECORDS)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("image,x0,y0,x1,y1\na.jpg,1,5,2,5,30,5,40,5\n", "line 2 has more values than the header has columns"),
        ("image,x0,y0,x1,y1,x0\na.jpg,1,2,30,40,9\n", "the column 'x0' stands twice"),
    ],
)
def test_a_table_whose_values_could_be_taken_for_others_is_refused(tmp_path, content, text):
    with pytest.raises(InputCorrupt, match=text):
        boxes(written(tmp_path, content, "boxes.csv"))
