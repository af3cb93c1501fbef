"""The dataset card: front matter that the hub reads, counts of the manifest, beside shards that stay whole."""

import shutil

import pytest
import yaml
from click.testing import CliRunner

from dp3d_data.shards import verify
from dp3d_data.shards.files import read_manifest
from pipelines.cli.data import main
from pipelines.report.writer import CARD, card
from tests.data.shards.samples import two_runs


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A workspace with shards of two runs, their report and card."""
    workspace = tmp_path_factory.mktemp("card")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DP3D_WORKSPACE", str(workspace))
        two_runs(workspace / "dog")
        for words in (["build-shards"], ["report", "--set", 'title=Dogs: "all"', "--set", "licence=cc-by-4.0"]):
            assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    return workspace


@pytest.fixture
def shards(written, tmp_path, monkeypatch):
    """The shards in a workspace of the test's own."""
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "dog" / "shards"


def test_front_matter_is_what_the_hub_expects(shards):
    manifest = read_manifest(shards)
    _, front, text = (shards / CARD).read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert (
        told["pretty_name"] == 'Dogs: "all"' and told["license"] == "cc-by-4.0" and told["size_categories"] == ["n<1K"]
    )
    rows = {split["name"]: split["num_examples"] for split in told["dataset_info"]["splits"]}
    assert rows == {
        {"val": "validation"}.get(name, name): split["instances"] for name, split in manifest["splits"].items()
    }
    for file in told["configs"][0]["data_files"]:
        assert list(shards.glob(file["path"]))
    assert manifest["recipe"] in text and "| train |" in text and "`vertex_ids`" in text


def test_the_card_is_no_foreign_file(shards):
    assert (shards / CARD).is_file() and verify(shards) == []


def test_the_card_is_a_function_of_the_manifest(shards):
    manifest = read_manifest(shards)
    assert card(manifest, "Dogs", "mit") == card(manifest, "Dogs", "mit")


def test_the_hub_library_reads_the_folder_by_its_card(shards, tmp_path):
    datasets = pytest.importorskip("datasets", reason="pip install datasets")
    found = datasets.load_dataset(str(shards), cache_dir=str(tmp_path / "cache"))
    told = yaml.safe_load((shards / CARD).read_text().split("---\n")[1])["dataset_info"]["splits"]
    assert {name: len(rows) for name, rows in found.items()} == {split["name"]: split["num_examples"] for split in told}
    first = found["train"][0]
    assert len(first["vertex_ids"]) == len(first["keypoints_x"])


def test_hostile_names_stay_names(shards):
    bad = 'a\nb: "c" | <script>alert(1)</script> `d` \\'
    manifest = read_manifest(shards)
    manifest["splits"] = {bad + name: split for name, split in manifest["splits"].items()}
    manifest["account"]["rejected"], manifest["category"], manifest["recipe"] = {bad: 1}, bad, bad
    manifest["template"] |= {"name": bad, "hash": bad, "unit": bad}
    manifest["inputs"] = [{"kind": bad, "recipe": bad}]
    _, front, text = card(manifest, bad, bad).split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["pretty_name"] == bad and told["license"] == bad and told["tags"][-1] == bad
    assert {split["name"] for split in told["dataset_info"]["splits"]} == set(manifest["splits"])
    assert "<" not in text and len([line for line in text.splitlines() if line.startswith("b:")]) == 0
