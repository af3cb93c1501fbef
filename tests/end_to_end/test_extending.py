"""The package of docs/extending.md, written out and installed beside the project, works without touching it."""

import os
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dp3d_data.geometry import make_template
from tests.data.project.dogs import dog_fit, settings
from tests.house.documents import blocks
from tests.model.test_commands import make_shards
from tests.model.toy import blob
from tests.shared import ROOT

PAGE = ROOT / "docs" / "extending.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The page's package as pip leaves it: its modules, and a folder of facts with the entry points."""
    folder = tmp_path_factory.mktemp("packages")
    written = {
        re.search(r'title="(.*)"', block.info)[1]: block.text for block in blocks(PAGE) if "title=" in block.info
    }
    for name, text in written.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text + "\n")
    facts = folder / "dp3d_example-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: dp3d-example\nVersion: 1.0\n")
    points = re.findall(r'\[project.entry-points."(.*?)"\]\n(\S+) = "(.*)"', written["pyproject.toml"])
    assert {group for group, _, _ in points} == {"dp3d.datasets", "dp3d.annotators", "dp3d.bodies"}
    (facts / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {place}\n" for group, name, place in points))
    return folder


def run(package, *words):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{package}"}
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    picture = np.zeros((120, 160, 3), dtype=np.uint8)
    picture[30:90, 40:130] = 255
    Image.fromarray(picture).save(folder / "white.png")
    (folder / "captions.txt").write_text("white.png 40 30 130 90\n")
    return folder


@pytest.mark.slow
def test_an_annotator_of_ones_own(package, photos, tmp_path):
    words = [
        "--category",
        "dog",
        "--model",
        "blobs",
        "--images",
        photos,
        "--out",
        tmp_path / "run",
        "--set",
        "overlays=0",
    ]
    finished = run(package, "dp3d_data", "extract", *words)
    assert finished.returncode == 0, finished.stderr
    (row,) = pq.read_table(next((tmp_path / "run").glob("instances-*.parquet"))).to_pylist()
    assert row["model"] == "blobs@dp3d-example-1.0"
    assert len(row["vertex_ids"]) > 100
    assert [row[f"box_{corner}"] for corner in ("x0", "y0", "x1", "y1")] == [40, 30, 130, 90]


@pytest.mark.slow
def test_a_dataset_of_ones_own(package, photos, tmp_path):
    words = [
        "--category",
        "dog",
        "--model",
        "blobs",
        "--dataset",
        "captions",
        "--path",
        photos / "captions.txt",
        "--set",
        "overlays=0",
    ]
    finished = run(package, "dp3d_data", "extract", *words, "--out", tmp_path / "run")
    assert finished.returncode == 0, finished.stderr
    (row,) = pq.read_table(next((tmp_path / "run").glob("instances-*.parquet"))).to_pylist()
    assert (row["source"], row["image_id"]) == ("captions", "white.png")


@pytest.mark.slow
def test_fits_of_ones_own(package, photos, tmp_path):
    settings(photos, [dog_fit(number) for number in range(3)])  # fits.json and body.npz
    (photos / "fits.json").rename(photos / "captions.json")
    words = [
        "--category",
        "dog",
        "--dataset",
        "captions",
        "--path",
        photos / "captions.txt",
        "--body",
        photos / "body.npz",
    ]
    finished = run(package, "dp3d_data", "project", *words, "--workers", 1, "--out", tmp_path / "run")
    assert finished.returncode == 0, finished.stderr
    rows = pq.read_table(next((tmp_path / "run").glob("instances-*.parquet"))).to_pylist()
    assert [row["source"] for row in rows] == ["captions"] * 3


@pytest.mark.slow
def test_a_body_of_ones_own(package, tmp_path):
    shards = make_shards(tmp_path, make_template("blob", *blob()))
    words = ["--set", "model.body=stretched", "--steps", 2, "--batch", 4, "--device", "cpu"]
    words += ["--shards", shards, "--out", tmp_path / "model"]
    finished = run(package, "dp3d_model", "train", *words)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "model" / "model.pt").is_file()


@pytest.mark.slow
def test_unknown_names_and_missing_packages(package, photos, tmp_path):
    words = ["--category", "dog", "--path", photos / "captions.txt", "--set", "overlays=0", "--out", tmp_path / "run"]
    finished = run(package, "dp3d_data", "extract", *words, "--dataset", "caption")
    assert finished.returncode == 2
    assert "did you mean 'captions'?" in finished.stderr
    code = package / "dp3d_example" / "dataset.py"
    text = code.read_text()
    code.write_text("import a_package_that_is_missing\n")
    try:
        finished = run(package, "dp3d_data", "extract", *words, "--dataset", "captions")
    finally:
        code.write_text(text)
    assert finished.returncode == 10
    assert "dp3d-example" in finished.stderr
