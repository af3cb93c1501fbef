"""merge, split and inspect: shards from shards, old versions included."""

import json

import pytest
from click.testing import CliRunner

from dp3d_data.errors import InputMissing, ShardError, UsageError
from dp3d_data.filters import KEEP_ALL, FilterConfig
from dp3d_data.shards import ShardReader, verify
from dp3d_data.shards.files import BASIS
from dp3d_data.shards.schema import SCHEMA_VERSION
from pipelines.cli.data import main
from pipelines.shards import ShardPlan, build
from tests.data.shards.samples import row, run, two_runs
from tests.data.shards.test_versions import FOLDER

PLAN = ShardPlan(filters=FilterConfig(), shard_bytes=60_000, split_ratio=0.8, seed=0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Shards of all instances, and shards of two halves that share eight photographs' instances."""
    root = tmp_path_factory.mktemp("folders")
    rows = [row(index) for index in range(40)]
    run(root / "run-a", rows[:24], template=None)
    run(root / "run-b", rows[16:])
    run(root / "run-whole", rows)
    for name in ("a", "b", "whole"):
        build([root / f"run-{name}"], root / name, "dog", PLAN, overwrite=False, say=lambda line: None)
    return root


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def rows_of(folder):
    reader = ShardReader(folder)
    return {
        one["instance_id"]: one
        for split in reader.splits
        for table in reader.tables(split)
        for one in table.to_pylist()
    }


def sides(folder):
    return {name: one["split"] for name, one in rows_of(folder).items()}


def test_the_basis_of_earlier_shards_is_kept(folders, tmp_path, monkeypatch):
    """Models may have been trained on it, so it is not made anew."""
    monkeypatch.setattr("pipelines.shards.template_basis", None)
    build([folders / "a", folders / "run-b"], tmp_path / "out", "dog", PLAN, overwrite=False, say=lambda line: None)
    assert (tmp_path / "out" / BASIS).read_bytes() == (folders / "a" / BASIS).read_bytes()


def test_merging_joins_and_leaves_out_what_is_there_twice(folders, tmp_path):
    result = call(
        "merge", folders / "a", folders / "b", "--out", tmp_path / "out", "--split", "ratio", "--split-ratio", 0.8
    )
    assert result.exit_code == 0, result.output
    assert "kept 40 · rejected 8 (duplicate 8)" in result.output
    assert verify(tmp_path / "out") == []
    merged, whole = rows_of(tmp_path / "out"), rows_of(folders / "whole")
    twice = {f"extract{index}" for index in range(16, 24)}
    named = {name.removesuffix("~2"): one | {"instance_id": name.removesuffix("~2")} for name, one in merged.items()}
    assert set(named) == set(whole) and {name.removesuffix("~2") for name in merged if name.endswith("~2")} <= twice
    for name, one in named.items():
        assert one | {"split": None} == whole[name] | {"split": None}


def test_merged_sides_are_kept_where_they_can_be(folders, tmp_path):
    run(tmp_path / "run", [row(index) for index in range(50, 70)])
    build([tmp_path / "run"], tmp_path / "c", "dog", PLAN, overwrite=False, say=lambda line: None)
    assert call("merge", folders / "a", tmp_path / "c", "--out", tmp_path / "out").exit_code == 0
    assert sides(tmp_path / "out") == sides(folders / "a") | sides(tmp_path / "c")
    manifest = ShardReader(tmp_path / "out").manifest
    assert [one["kind"] for one in manifest["inputs"]] == ["shards", "shards"]
    assert (tmp_path / "out" / "basis.npz").read_bytes() == (folders / "a" / "basis.npz").read_bytes()


def test_sides_that_contradict_each_other_are_refused(folders, tmp_path):
    opposite = {name: "train" if side == "val" else "val" for name, side in sides(folders / "a").items()}
    (tmp_path / "list.csv").write_text("".join(f"{name},{side}\n" for name, side in opposite.items()))
    assert (
        call("split", folders / "whole", "--out", tmp_path / "b", "--split-list", tmp_path / "list.csv").exit_code == 0
    )
    assert sides(tmp_path / "b") == opposite
    assert ShardReader(tmp_path / "b").manifest["account"]["rejected"] == {"not in the list of the split": 16}
    shifted = [row(index) | {"instance_id": f"new{index}", "box_x1": 199.0} for index in range(24)]
    run(tmp_path / "run-c", [one | {"group": one["image_hash"]} for one in shifted])
    build([tmp_path / "run-c"], tmp_path / "c", "dog", PLAN, overwrite=False, say=lambda line: None)
    (tmp_path / "list.csv").write_text(
        "".join(f"{name.replace('extract', 'new')},{side}\n" for name, side in opposite.items())
    )
    assert call("split", tmp_path / "c", "--out", tmp_path / "d", "--split-list", tmp_path / "list.csv").exit_code == 0
    result = call("merge", folders / "a", tmp_path / "d", "--out", tmp_path / "out")
    assert result.exit_code == UsageError.exit_code and "tears apart what belongs together" in result.output
    assert "--split ratio" in result.output


def test_splitting_anew_changes_the_sides_alone(folders, tmp_path):
    words = (
        "split",
        folders / "whole",
        "--out",
        tmp_path / "out",
        "--split-ratio",
        0.5,
        "--test-ratio",
        0.25,
        "--set",
        "seed=3",
    )
    assert call(*words).exit_code == 0
    assert ShardReader(tmp_path / "out").splits == ["test", "train", "val"] and verify(tmp_path / "out") == []
    before, after = rows_of(folders / "whole"), rows_of(tmp_path / "out")
    assert {name: one | {"split": None} for name, one in before.items()} == {
        n: one | {"split": None} for n, one in after.items()
    }
    assert sorted(len(ShardReader(tmp_path / "out").split(side)) for side in ("test", "train", "val")) == [10, 10, 20]


def test_the_sources_own_split_is_taken(tmp_path):
    rows = [
        row(index) | {"source_split": ("train", "test")[index % 4 // 2], "group": f"pair{index // 2}"}
        for index in range(20)
    ]
    run(tmp_path / "run", rows)
    plan = ShardPlan(filters=KEEP_ALL, shard_bytes=10**6, split="official")
    build([tmp_path / "run"], tmp_path / "out", "dog", plan, overwrite=False, say=lambda line: None)
    assert sides(tmp_path / "out") == {one["instance_id"]: one["source_split"] for one in rows}
    run(tmp_path / "breeds", [one | {"group": "breed"} for one in rows])
    with pytest.raises(UsageError, match="tears apart"):
        build([tmp_path / "breeds"], tmp_path / "not", "dog", plan, overwrite=False, say=lambda line: None)
    words = (
        "--input",
        tmp_path / "breeds",
        "--out",
        tmp_path / "images",
        "--split",
        "official",
        "--set",
        "together=image",
    )
    result = call("build-shards", *words)
    assert result.exit_code == 0 and verify(tmp_path / "images") == []
    assert sides(tmp_path / "images") == sides(tmp_path / "out")


@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_shards_of_an_earlier_version_become_those_of_today(tmp_path, version):
    assert call("merge", FOLDER / version / "shards", "--out", tmp_path / "out").exit_code == 0
    assert verify(tmp_path / "out") == [] and ShardReader(tmp_path / "out").manifest["schema_version"] == SCHEMA_VERSION
    before, after = rows_of(FOLDER / version / "shards"), rows_of(tmp_path / "out")
    assert set(before) == set(after) and sides(tmp_path / "out") == sides(FOLDER / version / "shards")
    for name, one in after.items():
        assert one["keypoints_x"] == pytest.approx(before[name]["keypoints_x"], abs=1 / 128)
        assert len(one["content_hash"]) == 16


def test_mistakes_are_told(folders, tmp_path):
    assert "no folder to write to" in call("merge", folders / "a").output
    missing = call("split", tmp_path, "--out", tmp_path / "out")
    assert missing.exit_code == InputMissing.exit_code and "no finished shards" in missing.output
    assert "replace their own input" in call("split", folders / "a", "--out", folders / "a").output
    (tmp_path / "x.csv").write_text("a,train\n")
    both = call("build-shards", "--split", "kept", "--split-list", tmp_path / "x.csv")
    assert both.exit_code == UsageError.exit_code and "two rules for one split" in both.output


def test_inspect_shows_a_summary_a_row_and_statistics(folders):
    whole = folders / "whole"
    summary = call("inspect", whole)
    assert summary.exit_code == 0 and "kept 40 · rejected 0" in summary.output and "144 vertices" in summary.output
    assert "train: 32 instances" in summary.output
    name = ShardReader(whole).split("val").ids[0]
    shown = call("inspect", whole, "--instance", name)
    assert shown.exit_code == 0 and name in shown.output and "image pixels, x right" in shown.output
    assert call("inspect", whole, "--row", 39).output.splitlines()[0].startswith("instance_id")
    numbers = call("inspect", whole, "--statistics")
    assert numbers.exit_code == 0 and "score" in numbers.output
    assert call("inspect", whole, "--row", 40).exit_code == UsageError.exit_code
    assert call("inspect", whole, "--row", 0, "--instance", name).exit_code == UsageError.exit_code
    assert call("inspect", whole / "nowhere").exit_code == InputMissing.exit_code


def test_inspect_reads_runs_too(folders):
    assert "instances 40" in call("inspect", folders / "run-whole").output
    assert "extract7" in call("inspect", folders / "run-whole", "--row", 7).output
    assert "vertex_ids" in call("inspect", folders / "run-whole", "--statistics").output


def test_a_damaged_input_is_named(folders, tmp_path):
    two_runs(tmp_path, count=8)
    path = tmp_path / "extract" / "instances-00000.parquet"
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"instances-00000.parquet: damaged or replaced|cannot be read as Parquet"):
        build([tmp_path / "extract"], tmp_path / "out", "dog", PLAN, overwrite=False, say=lambda line: None)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert json.loads((tmp_path / "synth" / "run.json").read_text())["counts"]["instances"] == 8
