"""What predict lifts: photographs, keypoint files and runs, with everything that can be wrong with them."""

from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from dp3d_data.errors import InputCorrupt, InputMissing, NothingToDo
from dp3d_data.geometry import load_template, make_template
from dp3d_data.shards import Run
from dp3d_model.geometry.surface import surface_of
from dp3d_model.lifting.model_file import save_model
from dp3d_model.lifting.prediction import open_to_lift, template_of
from dp3d_model.networks.lifter import Lifter
from pipelines.cli.model import main
from pipelines.lift import from_keypoints, table_to_arrays
from tests.model.toy import blob, functions_of, tiny, toy_instances
from tests.shared import ROOT

VERTICES = 162


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model of the toy body, whose template has its true hash."""
    template = make_template("blob", *blob())
    surface = surface_of(template, functions_of(template.vertices, template.faces, 12), 12)
    torch.manual_seed(0)
    return save_model(Lifter(surface, tiny()), tmp_path_factory.mktemp("model") / "model.pt")


def world(count=5):
    template = make_template("blob", *blob())
    return template, toy_instances(surface_of(template, functions_of(template.vertices, template.faces, 12), 12), count)


def write_arrays(path, instances):
    np.savez_compressed(path, keypoints=instances.keypoints.numpy(), visible=instances.visible.numpy())
    return path


def write_table(path, instances, **changes):
    rows, vertex = instances.visible.numpy().nonzero()
    points = instances.keypoints.numpy()[rows, vertex].astype(np.float64)
    columns = {
        "instance": [instances.ids[i] for i in rows],
        "vertex": vertex,
        "x": points[:, 0],
        "y": points[:, 1],
    } | changes
    table = pa.table({name: values for name, values in columns.items() if values is not None})
    pyarrow.csv.write_csv(table, path) if path.suffix == ".csv" else pq.write_table(table, path)
    return path


def run(*words):
    return CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)


@pytest.mark.parametrize("name", ["keypoints.npz", "keypoints.csv", "keypoints.parquet"])
def test_keypoint_files_of_every_kind_hold_the_same(tmp_path, name):
    template, instances = world()
    path = tmp_path / name
    write_arrays(path, instances) if path.suffix == ".npz" else write_table(path, instances)
    outcome = from_keypoints(path, template, tmp_path / "out")
    found = open_to_lift(outcome.run.folder)[0]
    assert len(found) == 5
    assert torch.equal(found.visible, instances.visible)
    shown = instances.visible
    assert torch.allclose(found.keypoints[shown], instances.keypoints[shown], atol=1 / 64)


@pytest.mark.slow
def test_keypoints_become_files_and_one_table(tmp_path, model):
    _, instances = world(4)
    path = write_table(tmp_path / "keypoints.csv", instances)
    done = run(
        "predict",
        "--keypoints",
        path,
        "--model",
        model,
        "--out",
        tmp_path / "out",
        "--format",
        "table",
        "--format",
        "npz",
        "--rig",
    )
    assert done.exit_code == 0, done.output
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert table.num_rows == 4
    for i, row in enumerate(table.to_pylist()):
        (single,) = (tmp_path / "out").glob(f"{i:03d}-*.npz")
        with np.load(single) as arrays:
            assert np.array_equal(np.array(row["vertices"], np.float32).reshape(VERTICES, 3), arrays["vertices"])
            assert np.array_equal(
                np.array(row["part_rotations"], np.float32).reshape(4, 3, 3), arrays["part_rotations"]
            )
            assert row["scale"] == arrays["scale"]
        assert row["uncertainty"] is None
    assert "4 instances" in done.output


@pytest.mark.slow
def test_photographs_are_lifted_and_a_bad_one_is_a_row_of_the_failures(tmp_path):
    template = load_template("dog")
    functions = np.random.default_rng(0).normal(size=(template.num_vertices, 6)).astype(np.float32)
    lifter = Lifter(surface_of(template, functions, 6), tiny({"model.basis": 6}))
    again = template_of(lifter.surface)
    assert again.content_hash == template.content_hash and np.array_equal(again.symmetry, template.symmetry)
    save_model(lifter, tmp_path / "model.pt")
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    sample = sorted((ROOT / "dp3d_data" / "datasets" / "samples").glob("*.jpg"))[0]
    (photographs / sample.name).write_bytes(sample.read_bytes())
    (photographs / "broken.jpg").write_bytes(sample.read_bytes()[:300])
    words = [
        "predict",
        "--images",
        photographs,
        "--model",
        tmp_path / "model.pt",
        "--out",
        tmp_path / "out",
        "--no-pictures",
        "--format",
    ]
    done = run(*words, "glb")
    assert done.exit_code == 0, done.output
    assert "2 images: 1 with instances, 0 rejected, 1 failed" in done.output
    extracted = Run.open(tmp_path / "out" / "extract")
    assert extracted.failures()["image_id"].to_pylist() == ["broken.jpg"] and extracted.marker["config"]["mirror"]
    assert np.array_equal(extracted.template().symmetry, template.symmetry)  # without it no mirror image is looked at
    assert list((tmp_path / "out").glob("*.glb"))
    assert extracted.marker["config"]["recognise"]
    portrait = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    words[2], words[6] = portrait, tmp_path / "people"
    assert run(*words, "glb").exit_code == NothingToDo.exit_code
    assert "1 images: 1 with instances" in run(*words, "glb", "--set", "recognise=false").output


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"x": None}, InputCorrupt, "no column x"),
        ({"vertex": VERTICES}, InputCorrupt, "no such vertex"),
        ({"x": np.nan}, InputCorrupt, "a keypoint that is no number"),
        ({"vertex": 0}, InputCorrupt, "a vertex twice in an instance"),
        ({"vertex": 0.5}, InputCorrupt, "not a table of keypoints"),
    ],
)
def test_wrong_tables_say_what_is_wrong(tmp_path, changes, error, words):
    _, instances = world(2)
    count = int(instances.visible.sum())
    filled = {name: None if value is None else np.full(count, value) for name, value in changes.items()}
    path = write_table(tmp_path / "keypoints.parquet", instances, **filled)
    with pytest.raises(error, match=words):
        table_to_arrays(path, VERTICES, tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("instance,vertex,x,y,x\na,1,2,3,4\n", "exists 2 times"),
        ("instance,vertex,x,y\na,,2,3\n", "rows without vertex"),
        ("instance,vertex,x,y\na,1,2,\na,2,,3\n", "rows without x, y"),
    ],
)
def test_a_table_with_columns_twice_or_without_values_is_told(tmp_path, text, words):
    (tmp_path / "keypoints.csv").write_text(text)
    with pytest.raises(InputCorrupt, match="not a table of keypoints") as refused:
        table_to_arrays(tmp_path / "keypoints.csv", VERTICES, tmp_path / "out.npz")
    assert words in str(refused.value)


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "empty.csv").write_text("instance,vertex,x,y\n")
    with pytest.raises(NothingToDo, match="no keypoints in this table"):
        table_to_arrays(tmp_path / "empty.csv", VERTICES, tmp_path / "out.npz")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(InputCorrupt, match="not a table of keypoints"):
        table_to_arrays(tmp_path / "text.parquet", VERTICES, tmp_path / "out.npz")
    with pytest.raises(InputMissing, match="no such table"):
        table_to_arrays(tmp_path / "absent.csv", VERTICES, tmp_path / "out.npz")


def test_errors_end_with_their_codes(tmp_path, model):
    _, instances = world(2)
    path = write_arrays(tmp_path / "keypoints.npz", instances)
    out = ["--model", model, "--out", tmp_path / "out"]
    both = run("predict", "--keypoints", path, "--images", tmp_path, *out)
    assert (both.exit_code, "more than one kind of input" in both.stderr) == (2, True)
    few = run("predict", "--keypoints", path, "--set", "min_vertices=150", *out)
    assert (few.exit_code, "no instance to lift" in few.stderr) == (12, True)
    np.savez(tmp_path / "other.npz", keypoints=np.zeros((1, 7, 2)), visible=np.ones((1, 7)))
    other = run("predict", "--keypoints", tmp_path / "other.npz", *out)
    assert (other.exit_code, "keypoints of another template" in other.stderr) == (6, True)
