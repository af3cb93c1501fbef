"""Rows and run folders: what goes in comes out, kills leave no half runs, other recipes are refused."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.config import file_digest
from dp3d_data.errors import FingerprintMismatch, FolderBusy, InputMissing, ShapeError, ShardError
from dp3d_data.files import write_whole
from dp3d_data.records import VertexView
from dp3d_data.shards import INSTANCE_SCHEMA, REJECT_SCHEMA, Run, RunWriter, instance_batch
from dp3d_data.shards.instances import check_view, rows_batch
from dp3d_data.shards.schema import FIELDS_KEY, INSTANCE_COLUMNS, VERSION_KEY, current, schema_problem
from tests.data.shards.samples import grid_template, row, run


@given(st.lists(st.integers(0, 50), max_size=6, unique=True))
def test_rows_survive_the_file(tmp_path_factory, indices):
    rows = [row(index, "synth" if index % 3 else "extract") for index in indices]
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.Table.from_batches([instance_batch(rows)]), path)
    read = pq.read_table(path).to_pylist()
    assert len(read) == len(rows)
    for written, found in zip(rows, read, strict=True):
        for name in INSTANCE_SCHEMA.names:
            expected = written[name]
            if expected is None or isinstance(expected, str):
                assert found[name] == expected
            else:
                np.testing.assert_allclose(found[name], expected, rtol=1e-6)


def test_every_column_is_documented_in_the_file(tmp_path):
    run(tmp_path, [row(0)])
    schema = pq.read_schema(tmp_path / "instances-00000.parquet")
    assert schema_problem(schema, INSTANCE_SCHEMA) is None
    texts = json.loads(schema.metadata[FIELDS_KEY])
    for column in INSTANCE_COLUMNS:
        assert (
            schema.field(column.name).metadata[b"description"].decode()
            == column.text
            == texts[column.name]["description"]
        )
        assert column.text.endswith(".")


def test_schema_problems_are_told_in_words():
    assert "schema version none" in schema_problem(pa.schema([("x", pa.int8())]), INSTANCE_SCHEMA)
    versioned = INSTANCE_SCHEMA.remove(0)
    assert schema_problem(versioned, INSTANCE_SCHEMA) == "columns missing: instance_id"
    longer = INSTANCE_SCHEMA.append(pa.field("fur", pa.string()))
    assert schema_problem(longer, INSTANCE_SCHEMA) == "unknown columns: fur"
    other = INSTANCE_SCHEMA.set(0, pa.field("instance_id", pa.int32()))
    assert schema_problem(other, INSTANCE_SCHEMA) == "instance_id is int32, not string"
    newer = INSTANCE_SCHEMA.with_metadata({VERSION_KEY: b"99"})
    assert schema_problem(newer, INSTANCE_SCHEMA).startswith("schema version 99")


def test_views_that_do_not_belong_together_are_refused():
    keypoints = np.zeros((2, 2))
    with pytest.raises(ShapeError, match="one keypoint, count and spread per vertex id"):
        check_view(VertexView(np.array([1, 2, 3]), keypoints, np.ones(2), np.ones(2)))
    with pytest.raises(ShapeError, match="vertex ids ascend"):
        check_view(VertexView(np.array([2, 2]), keypoints, np.ones(2), np.ones(2)))


def test_rows_with_foreign_or_missing_columns_are_refused():
    with pytest.raises(ShapeError, match="unknown columns in a row"):
        rows_batch([{"instance_id": "a", "image_id": "b", "reason": "c", "why": "d"}], REJECT_SCHEMA)
    with pytest.raises(ShapeError, match="holds null"):
        rows_batch([{"instance_id": "a", "image_id": "b"}], REJECT_SCHEMA)


def test_the_order_and_number_of_parts_in_flight_change_no_byte(tmp_path):
    rows = [row(index) for index in range(20)]
    first = run(tmp_path / "a", rows, part=5)
    writer = RunWriter(tmp_path / "b", kind="extract", fingerprint="0123456789ab")
    for index in (3, 0, 2):
        writer.commit(index, rows[5 * index : 5 * index + 5], inputs=5)
    writer.close()
    again = RunWriter(tmp_path / "b", kind="extract", fingerprint="0123456789ab")
    assert again.done == {0, 2, 3} and not again.complete
    again.commit(1, rows[5:10], inputs=5)
    second = again.finish(template=grid_template(), category="dog", config={"model": "dog-synth-1"})
    assert first.marker == second.marker
    names = sorted(path.name for path in first.folder.iterdir())
    assert names == sorted(path.name for path in second.folder.iterdir())
    assert all((first.folder / name).read_bytes() == (second.folder / name).read_bytes() for name in names)


def test_a_run_accounts_for_its_rows(tmp_path):
    writer = RunWriter(tmp_path, kind="extract", fingerprint="r")
    failure = {"image_id": "x", "path": "x.jpg", "stage": "read", "error": "InputCorrupt", "message": "no image"}
    reject = {"instance_id": "y#0", "image_id": "y", "reason": "few vertices", "value": 3.0}
    writer.commit(0, [row(0)], [failure], [reject], inputs=3)
    done = writer.finish(template=None, category="dog", config={})
    assert done.counts == {"inputs": 3, "instances": 1, "failures": 1, "rejects": 1}
    assert done.failures().to_pylist() == [failure] and done.rejects().to_pylist() == [reject]
    with pytest.raises(InputMissing, match="no template geometry"):
        done.template()


def test_a_folder_of_other_settings_is_refused_and_can_be_overwritten(tmp_path):
    run(tmp_path, [row(0), row(1)], part=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FingerprintMismatch, match="holds the results of other settings"):
        RunWriter(tmp_path, kind="extract", fingerprint="other")
    RunWriter(tmp_path, kind="extract", fingerprint="other", overwrite=True)
    assert not list(tmp_path.glob("*.parquet")) and (tmp_path / "notes.txt").read_text() == "mine"


def test_unfinished_and_foreign_folders_are_told_apart(tmp_path):
    with pytest.raises(InputMissing, match="no folder of extract, synth or project"):
        Run.open(tmp_path)
    RunWriter(tmp_path, kind="extract", fingerprint="r").commit(0, [row(0)], inputs=1)
    with pytest.raises(InputMissing, match="was not finished"):
        Run.open(tmp_path)


def test_a_table_of_another_schema_is_refused_by_name(tmp_path):
    done = run(tmp_path, [row(0)])
    pq.write_table(pa.table({"x": [1]}), tmp_path / "instances-00000.parquet")
    with pytest.raises(ShardError, match=r"instances-00000.parquet: damaged or replaced"):
        list(done.instances())
    done.marker["files"]["instances-00000.parquet"] = file_digest(tmp_path / "instances-00000.parquet")
    with pytest.raises(ShardError, match=r"instances-00000.parquet: not a table of instances"):
        list(done.instances())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def fail(stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", fail)
    assert not list(tmp_path.iterdir())


def test_a_table_of_the_first_version_is_still_read():
    old = pa.Table.from_batches([instance_batch([row(0)])]).drop_columns(["visible_area_posed"])
    old = old.replace_schema_metadata({**old.schema.metadata, VERSION_KEY: b"1"})
    assert schema_problem(old.schema, INSTANCE_SCHEMA) is None
    assert current(old).column("visible_area_posed").to_pylist() == [None]
    assert current(old).schema.equals(INSTANCE_SCHEMA, check_metadata=True)


def test_a_worker_that_comes_late_writes_nothing_into_another_run(tmp_path):
    late = RunWriter(tmp_path, kind="extract", fingerprint="old")
    worker = pickle.loads(pickle.dumps(late))
    with pytest.raises(FolderBusy, match="another process writes in this folder"):
        RunWriter(tmp_path, kind="extract", fingerprint="new")
    late.close()
    RunWriter(tmp_path, kind="extract", fingerprint="new")
    for writer in (late, worker):
        with pytest.raises(FingerprintMismatch, match="given to another run meanwhile"):
            writer.commit(0, [row(0)], inputs=1)
    assert not list(tmp_path.glob("*.parquet"))


def test_names_that_are_not_utf8_are_written_out():
    """From pickles, arrays and file systems; one of them ends no run."""
    names = ["a\ud800.jpg", "b\udcff.jpg", "c.jpg"]
    batch = rows_batch([{"image_id": name, "reason": "x", "instance_id": name} for name in names], REJECT_SCHEMA)
    assert batch["image_id"].to_pylist() == [r"a\ud800.jpg", r"b\xff.jpg", "c.jpg"]
