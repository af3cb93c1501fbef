"""One contract, every source: what extract relies on, whatever the input."""

import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dp3d_data.datasets import IMAGES, DatasetOptions, open_images
from dp3d_data.datasets.images import read_image
from dp3d_data.errors import Dp3dError, InputMissing, NothingToDo, UsageError
from dp3d_data.records import DensePrediction, VertexView
from dp3d_data.shards.instances import check_view
from pipelines.annotators import given_index
from pipelines.settings import ExtractConfig
from tests.data.sources.examples import EXAMPLES, source_name
from tests.data.sources.ready_examples import VERTICES
from tests.shared import ROOT

TREES = [name for name in EXAMPLES if name != "samples"]
READY = [name for name, example in EXAMPLES.items() if example.ready]
ANNOTATED = [name for name, example in EXAMPLES.items() if example.annotation and name != "stanford-dogs"]
PHOTOGRAPHS = (".jpg", ".png")


def folder(parent, name):
    """A new folder."""
    (parent / name).mkdir()
    return parent / name


@pytest.fixture(params=EXAMPLES)
def case(request, tmp_path):
    options = EXAMPLES[request.param].write(tmp_path)
    return request.param, open_images(source_name(request.param), options)


def test_every_source_has_an_example():
    names = {source_name(name) for name in EXAMPLES}
    bare, unknown = sorted(set(IMAGES) - names), sorted(names - set(IMAGES))
    assert not bare, f"{bare} without an Example: add one to EXAMPLES of tests/data/sources/examples.py"
    assert not unknown, f"{unknown} not in IMAGES of dp3d_data/datasets/__init__.py: add the dataset's name"


def test_records_are_those_of_the_tree(case):
    """Unique readable ids in a fixed order, files that are there, the source's own name, group, split and boxes."""
    name, source = case
    records = source.records()
    assert records == source.records()
    assert {r.image_id: (r.group, r.split, r.boxes) for r in records} == EXAMPLES[name].expected
    assert len(records) == len(EXAMPLES[name].expected)
    for record in records:
        assert record.source == source_name(name) == source.name
        assert not record.image_id.startswith(("/", "..")) and "\\" not in record.image_id
        assert os.path.isfile(record.path) or (source.name == "keypoints" and record.path == "")


def test_another_place_gives_the_same_records(case, tmp_path):
    """Neither ids nor digest depend on where the tree lies."""
    name, source = case
    if name == "samples":
        pytest.skip("the samples lie in the package")
    other = open_images(source.name, EXAMPLES[name].write(folder(tmp_path, "elsewhere")))
    facts = [[(r.image_id, r.group, r.split, r.objects) for r in one.records()] for one in (source, other)]
    assert facts[0] == facts[1]
    if source.name != "dump":  # a dump holds the paths of its photographs
        assert other.digest() == source.digest()


def test_no_image_is_opened(case, monkeypatch):
    """Records of damaged photographs are made like all others."""
    name, source = case
    before = source.records()
    for record in before:
        if name != "samples" and record.path:
            Path(record.path).write_bytes(b"no image")
    assert source.records() == before


def test_sources_travel_to_other_processes(case):
    _, source = case
    assert pickle.loads(pickle.dumps(source)).records() == source.records()


@pytest.mark.parametrize("name", TREES)
def test_a_wrong_tree_shows_expected_and_found(name, tmp_path):
    """A folder of something else, in the place of each input."""
    options = EXAMPLES[name].write(folder(tmp_path, "right"))
    wrong = folder(tmp_path, "wrong")
    for number in range(9):
        (wrong / f"holiday_{number}.txt").touch()
    source = source_name(name)
    key = "images" if name == "folder" else "path"
    with pytest.raises((InputMissing, NothingToDo), match="(?s)expected: ") as raised:
        open_images(source, replace(options, **{key: (str(wrong),) if key == "images" else str(wrong)})).records()
    assert str(wrong) in str(raised.value)
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(InputMissing, match="no such"):
        open_images(source, replace(options, **{key: (nowhere,) if key == "images" else nowhere})).records()


@pytest.mark.parametrize("name", [name for name in TREES if name != "folder"])
def test_a_source_without_a_path_says_what_it_takes(name, tmp_path):
    options = EXAMPLES[name].write(tmp_path)
    with pytest.raises(
        UsageError, match=f"(?s)'{source_name(name)}' needs a path.*expected: .*--dataset {source_name(name)} --path"
    ):
        open_images(source_name(name), replace(options, path="")).records()


@pytest.mark.parametrize("name", ANNOTATED)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1, 2]",
        b'{"images": 3}',
        b"\x80\x02garbage",
        b"PK\x03\x04",
        b'[{"image_id": []}]',
        b"height,width\n3,4\n",
    ],
)
def test_a_foreign_annotation_is_one_clear_error(name, content, tmp_path):
    options = EXAMPLES[name].write(tmp_path)
    (tmp_path / EXAMPLES[name].annotation).write_bytes(content)
    with pytest.raises(Dp3dError, match="(?s).") as raised:
        source = open_images(source_name(name), options)
        if not source.records():
            raise NothingToDo("nothing")
    assert type(raised.value) is not Dp3dError and raised.value.exit_code in (3, 4, 7, 12)


@pytest.mark.parametrize("name", ["coco", "lvis", "stanford-extra", "iuv-results", "dump"])
def test_annotations_without_their_photographs_show_where_they_were_sought(name, tmp_path):
    options = EXAMPLES[name].write(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.rename(path.with_suffix(".moved"))
    with pytest.raises(
        InputMissing, match="(?s)none of the annotated images is here.*got: .*has .*expected: .*jpg.*--images"
    ):
        open_images(source_name(name), options).records()


@pytest.mark.parametrize("name", ["coco", "stanford-extra", "iuv-results", "dump"])
def test_one_photograph_that_is_missing_stays_an_input(name, tmp_path):
    options = EXAMPLES[name].write(tmp_path)
    before = open_images(source_name(name), options).records()
    Path(before[0].path).unlink()
    after = open_images(source_name(name), options).records()
    assert [record.image_id for record in after] == [record.image_id for record in before]
    assert not os.path.exists(after[0].path)


def test_an_unknown_source_names_its_neighbour():
    with pytest.raises(UsageError, match="(?s)unknown dataset 'stanford_dogs'.*did you mean 'stanford-dogs'"):
        open_images("stanford_dogs", DatasetOptions())


def reader_of(name, folder):
    options = EXAMPLES[name].write(folder)
    source = open_images(source_name(name), options)
    config = ExtractConfig(category=options.category, charts=options.charts, weights=options.weights)
    count = 6890 if options.charts else VERTICES
    return source, source.reader(count, given_index(config)), count


@pytest.mark.parametrize("name", READY)
def test_ready_instances(name, tmp_path):
    """The same each time; names unique in their image; vertices of the template; a view that rows can hold."""
    source, reader, count = reader_of(name, tmp_path)
    assert source.model
    total = 0
    for record in source.records():
        if record.path:
            photograph = read_image(record.path)
            size = photograph.width, photograph.height
        else:
            size = source.size_of(record)
        found, again = reader(record, size), reader(record, size)
        assert len({one.name for one in found}) == len(found)
        total += len(found)
        for one, other in zip(found, again, strict=True):
            assert (one.name, one.box, one.score) == (other.name, other.box, other.score) and 0 <= one.score <= 1
            if isinstance(one.found, VertexView):
                check_view(one.found)
                assert one.found.ids.max() < count
                assert np.array_equal(one.found.keypoints, other.found.keypoints)
            else:
                assert (
                    isinstance(one.found, DensePrediction)
                    and one.found.vertex_ids[one.found.mask].max(initial=0) < count
                )
                assert np.array_equal(one.found.vertex_ids, other.found.vertex_ids) and one.found.mask.any()
    assert total >= 2


@pytest.mark.parametrize("name", READY)
def test_correspondences_of_another_template_are_refused(name, tmp_path):
    from dp3d_data.errors import TemplateError

    options = EXAMPLES[name].write(tmp_path)
    source = open_images(source_name(name), options)
    config = ExtractConfig(category=options.category, charts=options.charts, weights=options.weights)
    with pytest.raises(TemplateError, match="vertices"):
        source.reader(99, given_index(config))


def test_the_page_of_datasets_has_every_source():
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([\w-]+)`", text, re.MULTILINE))
    untold = sorted(set(IMAGES) - told)
    assert not untold, f"{untold} without a row in the table of docs/datasets.md: | `NAME` | what it is | ..."
