"""Files, patterns and folders."""

import os
from pathlib import Path

import pytest

from dp3d_data.datasets import DatasetOptions, folder
from dp3d_data.datasets.folder import Folder
from dp3d_data.errors import InputMissing, NothingToDo
from pipelines.inputs import find_inputs
from pipelines.settings import ExtractConfig
from tests.data.hostile import BAD, GOOD, gradient, make_hostile


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return make_hostile(tmp_path_factory.mktemp("source") / "hostile")


def ids(*entries):
    return [record.image_id for record in Folder(DatasetOptions(images=tuple(map(str, entries)))).records()]


def photos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        gradient(8, 8).save(folder / name)


def test_a_folder_gives_all_that_should_be_images(hostile):
    assert sorted(ids(hostile)) == sorted([*GOOD, *BAD])


def test_the_order_does_not_depend_on_how_the_folder_is_named(hostile, monkeypatch):
    monkeypatch.chdir(hostile.parent)
    assert ids("hostile") == ids("hostile/") == ids("./hostile") == ids(hostile)


def test_patterns_name_files_and_folders(tmp_path):
    photos(tmp_path, "a/one.jpg", "a/two.png", "b/c/three.jpg")
    assert ids(tmp_path / "a" / "*.jpg") == ["one.jpg"]
    assert ids(tmp_path / "*") == ["a/one.jpg", "a/two.png", "b/c/three.jpg"]
    assert ids(tmp_path / "**" / "*.jpg") == ["a/one.jpg", "b/c/three.jpg"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path):
    photos(tmp_path, "dog[1].jpg", "dog1.jpg")
    assert ids(tmp_path / "dog[1].jpg") == ["dog[1].jpg"]
    assert ids(tmp_path / "dog[0-9].jpg") == ["dog1.jpg"]


def test_a_file_met_twice_counts_once(tmp_path):
    photos(tmp_path, "a.jpg")
    assert ids(tmp_path, tmp_path / "a.jpg", tmp_path / "*.jpg") == ["a.jpg"]


def test_ids_stay_unique_over_several_folders(tmp_path):
    photos(tmp_path, "x/a.jpg", "y/a.jpg")
    assert ids(tmp_path / "x", tmp_path / "y") == ["x/a.jpg", "y/a.jpg"]


def test_names_that_are_no_utf8_become_readable_ids(tmp_path):
    raw = os.fsencode(tmp_path) + b"/dog\xff.jpg"
    gradient(8, 8).save(tmp_path / "plain.jpg")
    os.rename(os.fsencode(tmp_path / "plain.jpg"), raw)
    record = Folder(DatasetOptions(images=(str(tmp_path),))).records()[0]
    assert record.image_id == "dog\\xff.jpg" and Path(record.path).is_file()


def test_a_missing_path_names_its_neighbour(tmp_path):
    photos(tmp_path, "photos/a.jpg")
    with pytest.raises(InputMissing, match="did you mean .*photos"):
        ids(tmp_path / "photo")
    with pytest.raises(InputMissing, match="matches nothing"):
        ids(tmp_path / "*.png")
    with pytest.raises(InputMissing, match="exists, 'gone' is not in it"):
        ids(tmp_path / "gone" / "further")


def test_an_empty_folder_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NothingToDo, match=r"1 x \.txt"):
        ids(tmp_path)
    (tmp_path / "notes.txt").unlink()
    with pytest.raises(NothingToDo, match="no file at all"):
        ids(tmp_path)


def test_a_folder_that_may_not_be_read_is_accounted_for(tmp_path, monkeypatch):
    photos(tmp_path, "a.jpg", "locked/b.jpg")
    whole = os.listdir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return whole(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert ids(tmp_path) == ["a.jpg", "locked"]


def test_images_of_formats_that_are_not_read_are_counted_once(tmp_path, monkeypatch):
    """Neither records nor failures, whatever the case of the name; a file that is named is an input all the same."""
    monkeypatch.setattr(folder, "extensions", lambda: folder.EXTENSIONS)
    photos(tmp_path, "a.jpg")
    for name in ("b.heic", "deep/c.HEIC", "d.avif", "e.CR2", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = Folder(DatasetOptions(images=(str(tmp_path), str(tmp_path / "deep"))))
    assert [record.image_id for record in source.records()] == ["a.jpg"]
    assert source.unread() == {".heic": 2, ".avif": 1, ".cr2": 1}
    first, second = find_inputs(ExtractConfig(images=(str(tmp_path),)), ("dog",))["dog"].notes
    assert first == "not read, for their formats: 1 .avif, 1 .cr2, 2 .heic" and "pip install pillow-heif" in second
    assert ids(tmp_path / "b.heic", tmp_path / "*.CR2") == ["b.heic", "e.CR2"]
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(NothingToDo, match="(?s)no image in.*pillow-heif"):
        ids(tmp_path)
