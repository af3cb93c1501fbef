"""Whole runs from every source: rows carry source, group, split and box; real results give the vertices of an
independent reading."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import pipelines.inputs
from dp3d_data.datasets import Dataset
from dp3d_data.datasets.images import read_image
from dp3d_data.errors import InputCorrupt, NothingToDo
from dp3d_data.geometry import make_template
from dp3d_data.geometry.subdivision import mesh_edges
from dp3d_data.matching.charts import read_charts
from dp3d_data.records import ImageRecord
from pipelines.cli.data import main
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from tests.data.bodies.body_arrays import sphere
from tests.data.extract.world import CLASSES, ball, content, known_object
from tests.data.sources.examples import EXAMPLES, source_name
from tests.data.sources.pictures import SIZE
from tests.references.charts import read_mat, result_keypoints
from tests.shared import shared
from tests.synthetic_predictor import SyntheticPredictor, image_key

NETWORK = [name for name, example in EXAMPLES.items() if not example.ready and name not in ("samples", "folder")]
READY = [name for name, example in EXAMPLES.items() if example.ready]


def person():
    """A surface of as many vertices as SMPL's."""
    points, faces = sphere(5)
    rng = np.random.default_rng(0)
    return make_template("person", np.concatenate([points, rng.normal(size=(6890 - len(points), 3))]), faces)


def settings(name, folder):
    options = EXAMPLES[name].write(folder)
    template = folder / "template.npz"
    (person() if options.charts else ball()).save(template)
    return {
        **vars(options),
        "dataset": source_name(name),
        "template": str(template),
        "out": str(folder / "run"),
        "workers": 1,
        "min_vertices": 5,
        "overlays": 0,
    }


def run(name, folder, **more):
    """Extract an example; where it needs a network, every image holds one known object that fills it."""
    config = ExtractConfig(**(settings(name, folder) | more))
    known = {}
    if not EXAMPLES[name].ready:
        for path in folder.rglob("*.[jp][pn]g"):
            pixels = read_image(path).pixels[:, :, ::-1]
            known[image_key(pixels)] = [known_object(*SIZE, (0, 0, *SIZE), block=2)]
    return extract(make_plan(config, lambda: SyntheticPredictor(known, 162, CLASSES)))


def rows_of(outcome):
    return {row["instance_id"]: row for table in outcome.run.instances() for row in table.to_pylist()}


@pytest.mark.parametrize("name", NETWORK)
def test_rows_tell_source_group_and_official_split(name, tmp_path):
    outcome = run(name, tmp_path)
    rows = rows_of(outcome)
    expected = EXAMPLES[name].expected
    with_boxes = [image for image, (_, _, boxes) in expected.items() if boxes is None or boxes]
    assert {row["image_id"] for row in rows.values()} == set(with_boxes)
    for row in rows.values():
        group, split, boxes = expected[row["image_id"]]
        assert (row["source"], row["group"], row["source_split"], row["split"]) == (
            source_name(name),
            group,
            split,
            None,
        )
        box = tuple(row[f"box_{corner}"] for corner in ("x0", "y0", "x1", "y1"))
        assert box in boxes if boxes else row["score"] == pytest.approx(0.9)
    assert outcome.images.inputs == len(expected) and outcome.images.failed == 0


def test_instances_are_named_by_their_annotations(tmp_path):
    rows = rows_of(run("coco", tmp_path))
    assert set(rows) == {"one.jpg#11", "one.jpg#12", "two.jpg#13", "two.jpg#14"}


def test_pixels_outside_the_given_masks_are_left_out(tmp_path):
    with_masks = rows_of(run("coco", tmp_path, masks=True, given_boxes=True))
    assert {name: row["mask_area"] for name, row in with_masks.items()} == dict.fromkeys(with_masks, 200) | {
        "one.jpg#12": 25
    }
    plain = rows_of(run("coco", tmp_path, out=str(tmp_path / "plain"), boxes=""))
    assert all(row["mask_area"] >= 200 for name, row in plain.items() if name != "one.jpg#12")


def test_without_given_boxes_objects_are_detected(tmp_path):
    rows = rows_of(run("coco", tmp_path, given_boxes=False))
    assert (
        all(row["score"] == pytest.approx(0.9) and row["box_x1"] == SIZE[0] for row in rows.values()) and len(rows) == 3
    )


def test_one_side_of_the_official_split(tmp_path):
    rows = rows_of(run("stanford-extra", tmp_path, split="test"))
    assert {row["image_id"] for row in rows.values()} == {"n02087394-Ridgeback/n02087394_1.jpg"}
    from dp3d_data.errors import NothingToDo

    with pytest.raises(NothingToDo, match="(?s)no image of the split 'val'.*got: test, train"):
        run("stanford-extra", tmp_path, split="val", out=str(tmp_path / "other"))


@pytest.mark.parametrize("name", READY)
def test_sources_that_need_no_network(name, tmp_path):
    """Every image is accounted for."""
    outcome = run(name, tmp_path, part=1)
    rows = rows_of(outcome)
    assert outcome.images.inputs == len(EXAMPLES[name].expected) and outcome.images.failed == 0 and rows
    assert all(
        row["model"] == source_name(name) if name != "keypoints" else row["model"] == "given" for row in rows.values()
    )


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tmp_path):
    run("keypoints", tmp_path, part=1)
    run("keypoints", tmp_path, part=1, workers=2, out=str(tmp_path / "two"))
    assert content(tmp_path / "run") == content(tmp_path / "two")


def test_keypoints_come_out_as_they_went_in(tmp_path):
    rows = rows_of(run("keypoints", tmp_path))
    with np.load(tmp_path / "keypoints.npz") as arrays:
        keypoints, visible, xyz = arrays["keypoints"], arrays["visible"], arrays["xyz"]
    for row, name in enumerate(("a.jpg#0", "gone.jpg#0", "a.jpg#1")):
        ids = np.flatnonzero(visible[row])
        assert rows[name]["vertex_ids"] == ids.tolist() and rows[name]["mask_area"] is None
        found = np.stack([rows[name]["keypoints_x"], rows[name]["keypoints_y"]], axis=1)
        np.testing.assert_array_equal(found, keypoints[row][ids])
        placed = (xyz[row] - xyz[row].mean(axis=0)) / ball().factor
        np.testing.assert_allclose(np.reshape(rows[name]["true_vertices"], (-1, 3)), placed, atol=1e-5)
    assert rows["gone.jpg#0"]["image_path"] is None and rows["a.jpg#0"]["image_path"].endswith("a.jpg")
    assert (rows["gone.jpg#0"]["group"], rows["gone.jpg#0"]["source_split"]) == ("y", "val")


def real_results(tmp_path):
    folder = shared("data/densepose")
    person().save(tmp_path / "person.npz")
    return {
        "dataset": "iuv-results",
        "category": "person",
        "path": str(folder / "example_results.json"),
        "images": (str(folder),),
        "charts": str(folder / "UV_Processed.mat"),
        "template": str(tmp_path / "person.npz"),
        "out": str(tmp_path / "run"),
    }


@pytest.mark.slow
def test_the_real_results_of_image_785(tmp_path):
    """Distinct vertices and their mean pixels, against a reading of the same files that shares nothing with this
    project."""
    values = real_results(tmp_path)
    outcome = extract(make_plan(ExtractConfig(**values)))
    rows = rows_of(outcome)
    assert list(rows) == ["000000000785.jpg#0"]
    row = rows["000000000785.jpg#0"]
    expected = result_keypoints(values["path"], 0, read_mat(values["charts"]))
    assert row["vertex_ids"] == list(expected) and len(expected) == 1743
    found = np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1)
    assert np.abs(found - np.array([value[:2] for value in expected.values()])).max() < 1e-3
    assert row["pixel_counts"] == [value[2] for value in expected.values()]
    assert row["mask_area"] == sum(row["pixel_counts"]) == 22314
    assert (row["image_width"], row["image_height"]) == (640, 425) and row["score"] == pytest.approx(0.99995434)


def test_neighbours_on_the_body_are_neighbours_in_image_785(tmp_path):
    """No edge of the body between two visible vertices is longer than 25 pixels: the figure hangs together, without a
    leap."""
    values = real_results(tmp_path)
    row = rows_of(extract(make_plan(ExtractConfig(**values))))["000000000785.jpg#0"]
    places = np.full((6890, 2), np.nan)
    places[row["vertex_ids"]] = np.stack([row["keypoints_x"], row["keypoints_y"]], axis=1)
    charts = read_charts(values["charts"])
    edges = mesh_edges(charts.bodies[charts.faces])
    lengths = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1)
    assert np.isfinite(lengths).sum() == 4335 and np.nanmax(lengths) < 25


def test_images_of_results_that_are_not_there_fail_by_name(tmp_path):
    outcome = extract(make_plan(ExtractConfig(**real_results(tmp_path))))
    failures = outcome.run.failures().to_pylist()
    assert [row["image_id"] for row in failures] == ["000000000872.jpg", "000000000885.jpg"]
    assert all(row["error"] == "InputMissing" for row in failures)


def test_the_command(tmp_path):
    options = [
        word
        for key, value in real_results(tmp_path).items()
        for one in ([value] if isinstance(value, str) else value)
        for word in (f"--{key}", one)
    ]
    result = CliRunner().invoke(main, ["extract", *options])
    assert result.exit_code == 0, result.output
    assert "person: 3 images · model iuv-results" in result.output and "failed 2" in result.output
    again = CliRunner().invoke(main, ["extract", "--dataset", "iuv-result", "--path", "x", "--category", "person"])
    assert again.exit_code == 2 and "did you mean 'iuv-results'?" in again.stderr


def test_boxes_where_they_mean_nothing(tmp_path):
    from dp3d_data.errors import UsageError

    for more, match in (
        ({"boxes": "b.csv"}, "has boxes of its own"),
        ({"boxes": "b.csv", "given_boxes": False}, "given and not wanted"),
    ):
        with pytest.raises(UsageError, match=match):
            make_plan(ExtractConfig(**(settings("keypoints", tmp_path) | more)))


def test_photographs_in_an_archive(tmp_path):
    """A whole run on a zip file; the folder itself gives the same keypoints."""
    folder = EXAMPLES["folder"].write(tmp_path).images[0]
    shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    direct = rows_of(run("folder", tmp_path))
    keys = [image_key(read_image(path).pixels[:, :, ::-1]) for path in Path(folder).rglob("*.*g")]
    known = {key: [known_object(*SIZE, (0, 0, *SIZE), block=2)] for key in keys}
    values = settings("folder", tmp_path) | {
        "images": (f"zip://::{tmp_path / 'photos.zip'}",),
        "out": str(tmp_path / "zipped"),
    }
    zipped = rows_of(extract(make_plan(ExtractConfig(**values), lambda: SyntheticPredictor(known, 162, CLASSES))))
    assert set(direct) == set(zipped) and len(direct) == 2
    for name, row in direct.items():
        assert zipped[name].pop("image_path").startswith("zip://") and row.pop("image_path")
        assert row == zipped[name]


@dataclass(frozen=True)
class Listed(Dataset):
    """A dataset of somebody else's."""

    images: tuple[str, ...] = ()
    name = "listed"

    def records(self):
        return [ImageRecord(name, f"{name}.jpg", self.name) for name in self.images]


@pytest.mark.parametrize("images, error", [((), NothingToDo), (("a", "b", "a"), InputCorrupt)])
def test_a_dataset_lists_images_and_each_once(monkeypatch, images, error):
    monkeypatch.setattr(pipelines.inputs, "_source", lambda config: Listed(images=images))
    with pytest.raises(error, match="'listed'"):
        pipelines.inputs.find_inputs(ExtractConfig(dataset="listed"), ("dog",))
