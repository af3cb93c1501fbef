"""Other forms in which users have the trees of datasets, and lists that are none."""

import json
from pathlib import Path

import numpy as np
import pytest

from dp3d_data.datasets import DatasetOptions, open_images
from dp3d_data.errors import InputCorrupt
from tests.data.sources.examples import (
    write_human36m,
    write_stanford_dogs,
    write_stanford_extra,
    write_threedpw,
    write_up3d,
)
from tests.data.sources.pictures import photo, write_json


def records(name, path, **more):
    return open_images(name, DatasetOptions(path=str(path), **more)).records()


def facts(found):
    return [(record.image_id, record.group, record.split, record.boxes) for record in found]


def test_the_folder_of_the_images_itself_may_be_named(tmp_path):
    """Its neighbours are found all the same."""
    for name, write, inner in (
        ("stanford-dogs", write_stanford_dogs, "Images"),
        ("human36m", write_human36m, "images"),
        ("up3d", write_up3d, "up-3d"),
        ("3dpw", write_threedpw, "imageFiles"),
    ):
        root = tmp_path / name
        root.mkdir()
        write(root)
        assert facts(records(name, root / inner)) == facts(records(name, root))


def test_lists_of_stanford_dogs_in_a_folder_of_their_own(tmp_path):
    write_stanford_dogs(tmp_path)
    before = facts(records("stanford-dogs", tmp_path))
    (tmp_path / "lists").mkdir()
    for side in ("train", "test"):
        (tmp_path / f"{side}_list.mat").rename(tmp_path / "lists" / f"{side}_list.mat")
    (tmp_path / "Images").rename(tmp_path / "images")
    assert facts(records("stanford-dogs", tmp_path)) == before


def test_photographs_without_annotations_or_lists_are_detected(tmp_path):
    photo(tmp_path / "Images" / "n02085620-Chihuahua" / "n02085620_7.jpg")
    photo(tmp_path / "Images" / "stray.jpg")
    (found,) = records("stanford-dogs", tmp_path)
    assert (found.group, found.split, found.objects) == ("n02085620-Chihuahua", None, None)


def test_frames_of_human36m_by_folders_of_subjects(tmp_path):
    for subject in (1, 5, 11):
        photo(tmp_path / f"S{subject}" / "Walking 1.58860488" / "000001.jpg")
    photo(tmp_path / "S1_Posing.png")
    photo(tmp_path / "Scene" / "x.jpg")
    found = {
        record.image_id.split("/")[0]: (record.group, record.split, record.objects)
        for record in records("human36m", tmp_path)
    }
    assert found == {
        "S1": ("S1", "train", None),
        "S5": ("S5", "train", None),
        "S11": ("S11", "test", None),
        "S1_Posing.png": ("S1", "train", None),
        "Scene": (None, None, None),
    }


@pytest.mark.parametrize(
    ("name", "write", "file", "match"),
    [
        ("stanford-dogs", write_stanford_dogs, "train_list.mat", "not a list of Stanford Dogs"),
        ("stanford-extra", write_stanford_extra, "train_stanford_StanfordExtra_v12.npy", "not a list of entries"),
        ("human36m", write_human36m, "annotations/Human36M_subject9_data.json", "not a (json|text) file"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"<annotation>", b"\x93NUMPY\x01\x00"])
def test_a_companion_that_is_damaged_is_named(name, write, file, match, content, tmp_path):
    options = write(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputCorrupt, match=match) as raised:
        open_images(name, options).records()
    assert file.rpartition("/")[2] in str(raised.value)


def test_a_list_of_entries_that_are_not_there(tmp_path):
    options = write_stanford_extra(tmp_path)
    np.save(tmp_path / "val_stanford_StanfordExtra_v12.npy", np.array([2]))
    with pytest.raises(InputCorrupt, match="(?s)a list of other entries.*got: up to 2.*below 2"):
        open_images("stanford-extra", options).records()


def test_an_xml_that_swells_is_refused(tmp_path):
    """Entities of entities do not fill the memory."""
    options = write_stanford_dogs(tmp_path)
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20 if n else "x" * 1000}">' for n in range(9))
    path = tmp_path / "Annotation" / "n02085620-Chihuahua" / "n02085620_7"
    path.write_text(
        f"<!DOCTYPE a [{entities}]><annotation><object><bndbox><xmin>&e8;</xmin></bndbox></object></annotation>"
    )
    assert faults(options)[0].startswith("n02085620_7: not an annotation of Stanford Dogs")


def faults(options):
    """Those of the first photograph; the second keeps its box."""
    first, second, _ = open_images("stanford-dogs", options).records()
    assert len(second.objects) == 1 and not second.faults
    return first.faults


@pytest.mark.parametrize(
    "content", [b"", b"<annotation>", b"\x93NUMPY\x01\x00", b"{}", b'<?xml version="1.0" encoding="no"?><a/>']
)
def test_an_xml_that_is_none_is_a_fault_of_its_photograph(content, tmp_path):
    options = write_stanford_dogs(tmp_path)
    (tmp_path / "Annotation" / "n02085620-Chihuahua" / "n02085620_7").write_bytes(content)
    assert faults(options)[0].startswith("n02085620_7: not an annotation of Stanford Dogs")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("<xmin>4</xmin>", "", "object 0: not a box"),
        ("<xmin>4</xmin>", "<xmin>left</xmin>", "object 0: not a box"),
        ("<xmin>4</xmin>", "<xmin>24</xmin>", "object 0: not a box"),
        ("<width>40</width>", "<width>wide</width>", "n02085620_7: not an annotation of Stanford Dogs"),
        ("<width>40</width>", f"<width>{2**40}</width>", "n02085620_7: not an annotation of Stanford Dogs"),
        ("object>", "thing>", "n02085620_7: no object"),
    ],
)
def test_an_object_that_is_none_is_named(old, new, expected, tmp_path):
    options = write_stanford_dogs(tmp_path)
    path = tmp_path / "Annotation" / "n02085620-Chihuahua" / "n02085620_7"
    path.write_text(path.read_text().replace(old, new))
    (fault,) = faults(options)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"img_bbox": [1, 2, 3]}, "entry 0: not a box"),
        ({"img_width": None}, "entry 0: the size of its image is none, got None x 30"),
        ({"img_width": None, "img_height": None}, "entry 0: no 'img_width'"),
        ({"img_width": 2**40}, "entry 0: the size of its image is none"),
        ({"joints": [[1, 2]]}, "entry 0: "),
        ({"seg": 7}, "entry 0: a mask without run lengths"),
        ({"img_path": None}, "entry 0: no 'img_path'"),
    ],
)
def test_an_entry_of_stanford_extra_that_is_none_is_named_and_the_others_stay(change, fault, tmp_path):
    options = write_stanford_extra(tmp_path)
    entries = json.loads(Path(options.path).read_text())
    entries[0].update(change)
    write_json(Path(options.path), entries)
    first, second = records("stanford-extra", options.path, images=options.images, masks=True)
    assert len(second.objects) == 1 and not first.objects and first.faults[0].startswith(fault)


def test_dogs_of_one_photograph_in_two_sizes(tmp_path):
    options = write_stanford_extra(tmp_path)
    entries = json.loads(Path(options.path).read_text())
    write_json(Path(options.path), [*entries, entries[0], {**entries[0], "img_width": 80}])
    first = records("stanford-extra", options.path, images=options.images)[0]
    assert len(first.objects) == 2 and first.faults == ("box 0: its image is 80 x 30 here and 40 x 30 before",)


@pytest.mark.parametrize("box", ["wide", None, [1, 2, 3], [0, 0, float("nan"), 5], [3, 3, 0, 9], {"x": 1}])
def test_a_bad_box_of_human36m_is_one_fault_of_its_frame(tmp_path, box):
    write_human36m(tmp_path)
    path = tmp_path / "annotations/Human36M_subject1_data.json"
    data = json.loads(path.read_text())
    data["annotations"].append({"id": 71, "image_id": 0, "bbox": box})
    data["annotations"].append({"id": 72, "image_id": 1})
    path.write_text(json.dumps(data))
    first, second, *others = records("human36m", tmp_path)
    assert (
        [one.name for one in first.objects] == ["70"]
        and len(first.faults) == 1
        and "annotation 71: not a box" in first.faults[0]
    )
    assert second.objects == () and second.faults == ("annotation 72: no 'bbox'",)
    assert len(others) == 2 and not any(record.faults for record in others)
