"""Plain arrays of keypoints: what may stand in them, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dp3d_data.datasets import BadInstance, DatasetOptions, open_images
from dp3d_data.errors import InputCorrupt
from dp3d_data.geometry import make_template
from dp3d_data.records import VertexView
from pipelines.annotators import truth_of
from tests.data.sources.pictures import SIZE

FIELDS = {"keypoints": np.random.default_rng(0).uniform(1, 20, (2, 9, 2)), "visible": np.ones((2, 9), bool)}


def opened(folder, **fields):
    np.savez(folder / "k.npz", **(FIELDS | fields))
    source = open_images("keypoints", DatasetOptions(path=str(folder / "k.npz")))
    return source, source.records(), source.reader(9, None)


def test_the_least_that_is_needed(tmp_path):
    """Rows without an image are images of their own, as large as their keypoints need."""
    source, records, reader = opened(tmp_path)
    assert [record.image_id for record in records] == ["k/0000000", "k/0000001"]
    assert all((record.path, record.group, record.split) == ("", None, None) for record in records)
    for row, record in enumerate(records):
        width, height = source.size_of(record)
        assert (width, height) == tuple(np.ceil(FIELDS["keypoints"][row].max(axis=0)).astype(int) + 1)
        (one,) = reader(record, (width, height))
        assert one.box == pytest.approx((*FIELDS["keypoints"][row].min(axis=0), *FIELDS["keypoints"][row].max(axis=0)))
        assert one.score == 1 and one.points is None and one.found.counts.tolist() == [1] * 9


def test_all_that_may_be_known(tmp_path):
    known = {
        "size": np.array([[50, 40], [50, 40]]),
        "box": np.array([[0, 1, 20, 30], [2, 3, 4, 5]]),
        "score": np.array([0.5, 0.25]),
    }
    source, records, reader = opened(
        tmp_path, visible=np.arange(18).reshape(2, 9) % 3, group=np.array(["v", ""]), **known
    )
    assert [record.group for record in records] == ["v", None]
    (one,) = reader(records[1], source.size_of(records[1]))
    assert source.size_of(records[1]) == (50, 40) and one.box == (2, 3, 4, 5) and one.score == 0.25
    assert one.found.ids.tolist() == [1, 2, 4, 5, 7, 8]


def test_several_files_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a"):
        np.savez(tmp_path / f"{name}.npz", **FIELDS, image=np.array(["x.jpg", f"{name}.jpg"]))
    source = open_images("keypoints", DatasetOptions(path=str(tmp_path)))
    records, reader = source.records(), source.reader(9, None)
    assert [record.image_id for record in records] == ["x.jpg", "a.jpg", "b.jpg"]
    assert [one.name for one in reader(records[0], SIZE)] == ["0", "1"]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"visible": np.ones((2, 8), bool)}, r"(?s)visible has another shape.*got: \[2, 8\].*expected: \[2, 9\]"),
        ({"keypoints": np.ones((2, 9, 3))}, "keypoints has another shape"),
        ({"keypoints": np.array(["a"])}, "not a file of arrays"),
        ({"xyz": np.ones((2, 9))}, "xyz has another shape"),
        ({"image": np.arange(2)}, "not a file of arrays"),
        ({"group": np.array(["a"])}, "group has another shape"),
        ({"visible": np.array([None, None], dtype=object)}, "not a file of arrays"),
    ],
)
def test_arrays_that_do_not_belong_together(fields, match, tmp_path):
    with pytest.raises(InputCorrupt, match=match):
        opened(tmp_path, **fields)


def test_what_is_missing_is_named(tmp_path):
    np.savez(tmp_path / "k.npz", keypoints=FIELDS["keypoints"])
    with pytest.raises(InputCorrupt, match="(?s)got: no visible.*expected: an .npz.*hint: write it with numpy"):
        open_images("keypoints", DatasetOptions(path=str(tmp_path / "k.npz"))).records()


def test_a_row_that_is_not_finite_fails_alone(tmp_path):
    keypoints = FIELDS["keypoints"].copy()
    keypoints[1, 3] = np.nan
    _, records, reader = opened(tmp_path, keypoints=keypoints)
    assert len(reader(records[0], SIZE)) == 1
    (bad,) = reader(records[1], SIZE)
    assert isinstance(bad, BadInstance) and re.search("row 1: .*NaN", str(bad.error))
    hidden = FIELDS["visible"].copy()
    hidden[1, 3] = False
    _, records, reader = opened(tmp_path, keypoints=keypoints, visible=hidden)
    assert len(reader(records[1], SIZE)[0].found.ids) == 8


def test_the_scale_of_known_points_is_that_of_their_projection():
    """An orthographic camera gives its own scale back, whatever the unit of the template's file."""
    rng = np.random.default_rng(1)
    points = rng.normal(size=(30, 3)) * 2.5
    template = make_template("t", points, rng.integers(0, 30, (9, 3)), unit="m")
    ids = np.flatnonzero(rng.random(30) < 0.6)
    seen = points + (0, 0, 9)
    view = VertexView(
        ids.astype(np.int32), 37.0 * seen[ids, :2] + (5, 6), np.ones(len(ids), np.int32), np.zeros(len(ids))
    )
    truth = truth_of(seen, view, template)
    assert truth.scale == pytest.approx(37.0 * template.factor) and truth.unit == template.factor
    np.testing.assert_allclose(truth.vertices * template.factor, points - points.mean(axis=0), atol=1e-9)
    assert truth_of(seen, view, replace(template, unit="unknown")).unit is None, "a factor is no length by itself"
