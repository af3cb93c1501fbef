"""build-shards: every instance is accounted for, same inputs give the same bytes, and a killed build goes on."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import pipelines.shards as shard_parts
from dp3d_data.errors import ConfigError, FingerprintMismatch, NothingToDo, UsageError
from dp3d_data.filters import FilterConfig
from dp3d_data.shards import INSTANCE_SCHEMA, ShardReader, instance_batch, verify
from dp3d_data.shards.index import measure
from dp3d_data.shards.plan import unique_names
from dp3d_data.shards.reader import whole_batch
from pipelines.cli.data import main
from pipelines.cli.shards import parse_size
from pipelines.shards import ShardPlan, build
from tests.data.shards.samples import grid_template, row, run, two_runs
from tests.references.shards import dense_slow, measure_slow

PLAN = ShardPlan(filters=FilterConfig(), shard_bytes=60_000, split_ratio=0.8, seed=0)


def quietly(folders, out, plan=PLAN, overwrite=False):
    return build(folders, out, "dog", plan, overwrite=overwrite, say=lambda line: None)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_instance_is_kept_or_has_a_reason(tmp_path):
    rows = [row(i) for i in range(20)]
    rows[3] |= {"score": 0.2}
    rows[5] |= {"box_x0": 0.0, "box_y0": 0.0, "box_x1": 256.0}
    rows.append(row(8) | {"instance_id": "again"})
    run(tmp_path / "run", rows)
    plan = ShardPlan(filters=FilterConfig(min_score=0.5), shard_bytes=10**6, split_ratio=0.8, seed=0)
    manifest = quietly([tmp_path / "run"], tmp_path / "out", plan)
    assert manifest["account"] == {
        "inputs": 21,
        "kept": 18,
        "failed": 0,
        "rejected": {"duplicate": 1, "score": 1, "truncated": 1},
    }
    reader = ShardReader(tmp_path / "out")
    kept = [name for split in reader.splits for name in reader.split(split).ids]
    assert sorted(kept) == sorted(r["instance_id"] for i, r in enumerate(rows) if i not in (3, 5, 20))
    assert sum(split["instances"] for split in manifest["splits"].values()) == 18


def test_reading_gives_back_what_was_extracted(tmp_path):
    folders = two_runs(tmp_path)
    quietly(folders, tmp_path / "out")
    reader, template = ShardReader(tmp_path / "out"), grid_template()
    written = {r["instance_id"]: r for kind in ("extract", "synth") for r in (row(i, kind) for i in range(40))}
    for split in reader.splits:
        found = reader.split(split)
        keypoints, visible = dense_slow([written[name] for name in found.ids], template.num_vertices)
        np.testing.assert_array_equal(found.visible, visible)
        np.testing.assert_allclose(found.keypoints, keypoints, rtol=0, atol=1 / 128)
        for n, name in enumerate(found.ids):
            truth = written[name]["true_vertices"]
            if truth is None:
                assert np.isnan(found.true_vertices[n]).all() and np.isnan(found.true_scale[n])
            else:
                np.testing.assert_allclose(found.true_vertices[n].ravel(), truth, rtol=0, atol=2**-17)
            assert found.groups[n] == (written[name]["group"] or written[name]["image_hash"])
    assert reader.template.content_hash == template.content_hash
    assert reader.basis.functions.shape == (template.num_vertices, 64)


def test_photographs_alone_carry_no_truth():
    instances = whole_batch([pa.Table.from_batches([instance_batch([row(0)])])], grid_template().num_vertices)
    assert instances.true_vertices is None and instances.true_scale is None


def test_same_inputs_same_bytes_wherever_they_lie(tmp_path):
    folders = two_runs(tmp_path / "a")
    quietly(folders, tmp_path / "out")
    other = [
        run(tmp_path / "b" / kind, [row(i, kind) for i in range(40)], kind).folder for kind in ("synth", "extract")
    ]
    quietly(other, tmp_path / "again")
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    assert len(list((tmp_path / "out").glob("train-*.parquet"))) > 1


@pytest.mark.parametrize("shards", [0, 1, 3])
def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path, monkeypatch, shards):
    folders = two_runs(tmp_path)
    quietly(folders, tmp_path / "whole")
    original, left = shard_parts.write_shard, [shards]

    def dying(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(*args)

    monkeypatch.setattr(shard_parts, "write_shard", dying)
    with pytest.raises(KeyboardInterrupt):
        quietly(folders, tmp_path / "killed")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.parquet")}
    assert len(before) == shards
    monkeypatch.setattr(shard_parts, "write_shard", original)
    (tmp_path / "killed" / ".train-00000.parquet.123.tmp").write_bytes(b"half")
    quietly(folders, tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert all((tmp_path / "killed" / name).stat().st_mtime_ns == time for name, time in before.items())


def test_finished_shards_are_left_alone_and_damaged_ones_built_again(tmp_path):
    folders = two_runs(tmp_path)
    quietly(folders, tmp_path / "out")
    before, time = contents(tmp_path / "out"), (tmp_path / "out" / "train-00000.parquet").stat().st_mtime_ns
    quietly(folders, tmp_path / "out")
    assert (tmp_path / "out" / "train-00000.parquet").stat().st_mtime_ns == time
    (tmp_path / "out" / "train-00000.parquet").write_bytes(b"gone")
    quietly(folders, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_other_settings_needs_overwrite(tmp_path):
    folders = two_runs(tmp_path)
    quietly(folders, tmp_path / "out")
    other = ShardPlan(filters=FilterConfig(), shard_bytes=10**7, split_ratio=0.8, seed=1)
    with pytest.raises(FingerprintMismatch, match="holds shards of other settings"):
        quietly(folders, tmp_path / "out", other)
    quietly(folders, tmp_path / "out", other, overwrite=True)
    quietly(folders, tmp_path / "fresh", other)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_stopped_build_of_other_settings_leaves_nothing_behind(tmp_path, monkeypatch):
    folders = two_runs(tmp_path)
    monkeypatch.setattr("pipelines.shards.template_basis", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        quietly(folders, tmp_path / "out")
    monkeypatch.undo()
    other = ShardPlan(filters=FilterConfig(), shard_bytes=10**7, split_ratio=1.0, seed=1)
    quietly(folders, tmp_path / "out", other)
    assert not verify(tmp_path / "out") and not list((tmp_path / "out").glob("val-*"))


def test_the_files_of_others_are_never_deleted(tmp_path):
    folders = two_runs(tmp_path)
    with pytest.raises(UsageError, match="holds a run of extract or synth"):
        quietly(folders[1:], folders[0])
    assert not verify(folders[0])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "val-1.parquet").write_text("mine")
    quietly(folders, tmp_path / "out")
    assert (tmp_path / "out" / "val-1.parquet").read_text() == "mine"


def test_groups_and_images_stay_on_one_side(tmp_path):
    quietly(two_runs(tmp_path), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert reader.splits == ["train", "val"]
    groups = [set(reader.split(split).groups) for split in reader.splits]
    assert not groups[0] & groups[1]
    assert [reader.manifest["splits"][split]["groups"] for split in reader.splits] == [len(one) for one in groups]


def test_the_manifest_tells_the_mean_radius_of_an_instance(tmp_path):
    quietly(two_runs(tmp_path), tmp_path / "out")
    reader, radii = ShardReader(tmp_path / "out"), []
    for one in (one for split in reader.splits for table in reader.tables(split) for one in table.to_pylist()):
        points = np.stack([one["keypoints_x"], one["keypoints_y"]], axis=1)
        radii.append(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))
    assert reader.manifest["normalisation"]["mean_radius_px"] == pytest.approx(np.mean(radii), rel=1e-5)


def test_nothing_to_build_from_is_said(tmp_path):
    with pytest.raises(NothingToDo, match="no instances to build shards from"):
        quietly([], tmp_path / "out")
    run(tmp_path / "run", [row(0)])
    strict = ShardPlan(filters=FilterConfig(min_visible_vertices=5000), shard_bytes=10**6, split_ratio=0.8, seed=0)
    with pytest.raises(NothingToDo, match="few vertices 1"):
        quietly([tmp_path / "run"], tmp_path / "out", strict)


def test_runs_of_two_templates_are_refused(tmp_path):
    other = grid_template(bump=0.5)
    run(tmp_path / "a", [row(0)])
    run(tmp_path / "b", [row(1, template=other)], template=other)
    with pytest.raises(UsageError, match="different templates"):
        quietly([tmp_path / "a", tmp_path / "b"], tmp_path / "out")


def test_measures_match_the_slow_twin():
    rows = [row(i) for i in range(5)] + [row(5) | {"box_x0": 0.2, "box_y1": 256.0}]
    found = measure(pa.Table.from_batches([instance_batch(rows)]))
    for i, one in enumerate(rows):
        edges, spread = measure_slow(one)
        assert found["edges"][i] == edges and found["spread"][i] == pytest.approx(spread, rel=1e-5)
        assert found["visible_vertices"][i] == len(one["vertex_ids"])


def test_names_become_unique_and_stay_as_they_are_where_they_can():
    assert unique_names(pa.array(["a", "b", "a", "a~2", "a"])).to_pylist() == ["a", "b", "a~3", "a~2", "a~4"]


def test_sizes_are_read_as_people_write_them():
    assert [parse_size(text) for text in ("64MB", "1GiB", "500kB", "1.5 mb", "700", "2M")] == [
        64_000_000, 2**30, 500_000, 1_500_000, 700, 2_000_000,
    ]  # fmt: skip
    for text in ("", "big", "0MB", "-3MB"):
        with pytest.raises(ConfigError, match="not a size"):
            parse_size(text)


def test_duckdb_and_pandas_read_the_shards_as_they_are(tmp_path):
    """Pixels are pixels, and the file itself says what each column means."""
    duckdb, pandas = pytest.importorskip("duckdb"), pytest.importorskip("pandas")
    manifest = quietly(two_runs(tmp_path), tmp_path / "out")
    written = {r["instance_id"]: r for kind in ("extract", "synth") for r in (row(i, kind) for i in range(40))}
    pattern = str(tmp_path / "out" / "train-*.parquet")
    frame = pandas.concat(pandas.read_parquet(path) for path in sorted((tmp_path / "out").glob("train-*.parquet")))
    assert list(frame.columns) == INSTANCE_SCHEMA.names and len(frame) == manifest["splits"]["train"]["instances"]
    found = duckdb.sql(
        f"select instance_id, vertex_ids, keypoints_x, keypoints_y, spread, pixel_counts from '{pattern}'"
    ).fetchall()
    plain = frame[["instance_id", "vertex_ids", "keypoints_x", "keypoints_y", "spread", "pixel_counts"]].itertuples(
        index=False
    )
    for rows in (found, plain):
        for name, ids, x, y, spread, counts in rows:
            one = written[name]
            assert list(ids) == list(one["vertex_ids"]) and list(counts) == list(one["pixel_counts"])
            for values, expected in ((x, "keypoints_x"), (y, "keypoints_y"), (spread, "spread")):
                np.testing.assert_allclose(values, one[expected], rtol=0, atol=1 / 128)
    query = f"select decode(value) from parquet_kv_metadata('{pattern}') where decode(key) = 'dp3d.fields' limit 1"
    [[told]] = duckdb.sql(query).fetchall()
    fields = json.loads(told)
    assert set(fields) == set(INSTANCE_SCHEMA.names) and all(field["description"] for field in fields.values())
    assert fields["keypoints_x"]["step"] == "1/64"


def test_instances_without_an_image_are_duplicates_by_their_content(tmp_path):
    run(tmp_path / "a", [row(index, "synth") for index in range(20)], "synth")
    run(
        tmp_path / "b",
        [row(index, "synth") | {"instance_id": f"copy{index}"} for index in range(15, 20)],
        "synth",
        part=3,
    )
    manifest = quietly([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert manifest["account"]["kept"] == 20 and manifest["account"]["rejected"] == {"duplicate": 5}


def test_one_box_of_one_image_is_a_duplicate_whatever_was_found_in_it(tmp_path):
    first, apart = row(0), row(1) | {"box_x0": row(0)["box_x0"], "box_y1": 230.0}
    again = row(40) | {"image_hash": first["image_hash"]}
    assert apart["image_hash"] == first["image_hash"]
    assert not np.array_equal(again["keypoints_x"], first["keypoints_x"])
    run(tmp_path / "a", [first, apart, again])
    account = quietly([tmp_path / "a"], tmp_path / "out")["account"]
    assert account["kept"] == 2 and account["rejected"] == {"duplicate": 1}


def test_the_manifest_tells_what_the_files_hold(tmp_path):
    manifest = quietly(two_runs(tmp_path), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    visible = np.concatenate([reader.split(split).visible for split in reader.splits])
    assert manifest["visible_counts"] == visible.sum(axis=0).tolist()
    assert manifest["statistics"]["vertex_ids"]["values"] == visible.sum()
    assert manifest["precision"]["keypoints_x"] == 1 / 64
    for entry in manifest["shards"]:
        file = pq.ParquetFile(tmp_path / "out" / entry["name"])
        assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == entry["row_groups"]
        assert (
            entry["instances"] == sum(entry["row_groups"]) and entry["bytes"] <= 1.25 * PLAN.shard_bytes
        )  # a footer names each column


def test_the_commands_follow_each_other_without_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_WORKSPACE", str(tmp_path))
    two_runs(tmp_path / "dog")
    result = CliRunner().invoke(main, ["build-shards", "--shard-size", "60kB"], catch_exceptions=False)
    assert (
        result.exit_code == 0 and "kept 80 · rejected 0" in result.output and "next: dp3d-model train" in result.output
    )
    assert CliRunner().invoke(main, ["verify"]).exit_code == 0
    manifest = json.loads((tmp_path / "dog" / "shards" / "manifest.json").read_text())
    assert manifest["statistics"]["score"]["mean"] == pytest.approx(0.9)
