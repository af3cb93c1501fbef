"""Tables of instances and batches of them: gathering and scattering, against loops."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import ShapeError, ShardError, UsageError
from dp3d_data.geometry.rigid_camera import Camera as Camera3D
from dp3d_data.geometry.rigid_camera import Pinhole
from dp3d_data.shards import files
from dp3d_data.shards.batch import KeypointBatch, _scattered, collate
from dp3d_data.shards.instances import instance_batch, orthographic_camera, perspective_camera
from dp3d_data.shards.table import InstanceTable, columns_of, intrinsics_of
from tests.data.shards.samples import grid_template, row
from tests.references.loader import intrinsics_by_rq, take_slow

K = 9


def random_table(seed, count):
    rng = np.random.default_rng(seed)
    visible = rng.random((count, K)) < rng.choice([0.0, 0.4, 1.0], size=(count, 1))
    return InstanceTable.of_arrays(rng.normal(size=(count, K, 2)).astype(np.float32), visible)


@given(seed=st.integers(0, 99), count=st.integers(1, 7), rows=st.lists(st.integers(0, 6), max_size=9))
def test_taken_rows_are_those_of_the_slow_twin(seed, count, rows):
    table = random_table(seed, count)
    rows = np.array([r % count for r in rows], dtype=np.int64)
    taken = table.take(rows)
    assert [take_slow(taken, i) for i in range(len(rows))] == [take_slow(table, r) for r in rows]
    assert taken.index.tolist() == rows.tolist()


@given(seed=st.integers(0, 99), count=st.integers(0, 7))
def test_dense_arrays_come_back(seed, count):
    rng = np.random.default_rng(seed)
    visible = rng.random((count, K)) < 0.5
    keypoints = np.where(visible[..., None], rng.normal(size=(count, K, 2)), 0).astype(np.float32)
    weights = rng.random(int(visible.sum()), dtype=np.float32)
    table = replace(InstanceTable.of_arrays(keypoints, visible), weights=weights)
    found, seen, trust = table.dense()
    np.testing.assert_array_equal(found, keypoints)
    np.testing.assert_array_equal(seen, visible)
    np.testing.assert_array_equal(trust[visible], weights)
    assert not trust[~visible].any()


@given(seed=st.integers(0, 99), count=st.integers(0, 7))
def test_a_batch_is_the_same_wherever_it_is_made_dense(seed, count):
    table = random_table(seed, count)
    table = replace(table, weights=np.ones(len(table.vertex_ids), np.float32))
    here, there = KeypointBatch.of(table), _scattered(table, "cpu")
    assert all(map(torch.equal, there, (here.keypoints, here.visible, here.weights)))


@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_joining_tables_and_collating_batches_agree(seeds):
    tables = [random_table(seed, 1 + seed % 3) for seed in seeds]
    whole = KeypointBatch.of(InstanceTable.joined(tables))
    parts = collate([KeypointBatch.of(table) for table in tables])
    for name in ("index", "keypoints", "visible"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))
    np.testing.assert_array_equal(collate(tables).offsets, InstanceTable.joined(tables).offsets)
    assert collate(whole) is whole and collate(tables[0]) is tables[0]


def test_batches_with_and_without_a_field_are_collated():
    """What one of them lacks is NaN, empty or 1."""
    one, two = (KeypointBatch(torch.zeros(n, K, 2), torch.ones(n, K, dtype=torch.bool)) for n in (1, 2))
    known = replace(one, ids=("a",), true_scale=torch.ones(1), weights=torch.full((1, K), 0.5), index=torch.tensor([7]))
    both = collate([known, two])
    assert both.ids == ("a", "", "") and both.groups == () and both.index.tolist() == [7, -1, -1] and both.boxes is None
    assert both.true_scale.isnan().tolist() == [False, True, True] and both.weights[:, 0].tolist() == [0.5, 1.0, 1.0]


def test_instances_are_taken_from_a_batch_with_all_that_belongs_to_them():
    """By slice, list or tensor, also of a normalised batch; some vertices of it keep their instances."""
    count = 4
    camera = Camera3D(torch.eye(3).expand(count, 3, 3), torch.arange(4.0), torch.zeros(count, 2))
    pinhole = Pinhole(torch.arange(4.0), torch.zeros(count, 2), torch.eye(3).expand(count, 3, 3))
    keypoints = torch.arange(count * K * 2.0).view(count, K, 2)
    names = tuple("abcd")
    batch = KeypointBatch(
        keypoints, keypoints[..., 0] > 9, ids=names, masks=(None,) * 4, camera=camera, pinhole=pinhole
    )
    for rows in (slice(1, 3), [1, 2], range(1, 3), torch.tensor([1, 2])):
        some = batch.take(rows)
        assert (
            len(some) == 2
            and some.ids == ("b", "c")
            and some.masks == (None, None)
            and some.groups == ()
            and some.boxes is None
        )
        assert torch.equal(some.keypoints, keypoints[1:3]) and torch.equal(some.visible, batch.visible[1:3])
        assert some.camera.scale.tolist() == some.pinhole.inverse_depth.tolist() == [1.0, 2.0]
    few = batch.at_vertices(torch.tensor([5, 0]))
    assert torch.equal(few.keypoints, keypoints[:, [5, 0]]) and few.visible.shape == (4, 2) and few.camera is camera
    assert batch.at_vertices(None) is batch and torch.equal(batch.to("cpu").camera.scale, camera.scale)
    assert KeypointBatch(keypoints, batch.visible).has_truth.tolist() == [False] * 4


def test_groups_have_numbers_that_depend_on_their_names_alone():
    def numbers(*names):
        return KeypointBatch(torch.zeros(4, 1, 2), torch.ones(4, 1, dtype=torch.bool), groups=names).group_numbers

    a, b = numbers("x", "", "y", "x"), numbers("y", "x")
    assert a[0] == a[3] == b[1] and a[2] == b[0] and a[1] == -1 and len({*a.tolist()}) == 3 and a.max() > 2**32


def test_a_foreign_vertex_is_refused():
    table = pa.Table.from_batches([instance_batch([row(0, "synth"), row(1)])])
    found = InstanceTable.of(table, grid_template().num_vertices, ["ids", "groups", "boxes", "truth"], first=5)
    assert found.index.tolist() == [5, 6] and found.ids.tolist() == ["synth0", "extract1"]
    assert np.isfinite(found.true_vertices[0]).all() and np.isnan(found.true_vertices[1]).all()
    with pytest.raises(ShardError, match="vertex id outside the template"):
        InstanceTable.of(table, 10)


@given(seed=st.integers(0, 99))
def test_intrinsics_are_those_of_the_rq_decomposition(seed):
    rng = np.random.default_rng(seed)
    calibration = np.array(
        [[rng.uniform(100, 5000), 0, rng.uniform(-50, 900)], [0, rng.uniform(100, 5000), 300], [0, 0, 1]]
    )
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    placed = np.column_stack([rng.uniform(0.1, 3) * turn, rng.normal(size=3)])
    found = intrinsics_of((calibration @ placed)[None])[0]
    fx, fy, cx, cy, skew = intrinsics_by_rq(calibration @ placed)
    np.testing.assert_allclose(found, [fx, fy, cx, cy], rtol=1e-6, atol=1e-6 * fx)
    assert abs(skew) < 1e-6 * fx
    calibration[0, 1] = 0.1 * calibration[0, 0]
    assert (
        np.isnan(intrinsics_of((calibration @ placed)[None])).all()
        and np.isnan(intrinsics_of(np.zeros((1, 3, 4)))).all()
    )


def test_only_pinholes_give_intrinsics():
    """Orthographic and unknown cameras are NaN; rows taken, joined and batched keep theirs."""
    pinhole = perspective_camera((900.0, 950.0), (120.0, 130.0), 0.5, np.array([0.1, -0.2, 3.0]))
    flat = orthographic_camera(90.0, np.array([3.0, 4.0]))
    known = [{"camera_kind": kind, "camera_matrix": m.astype(np.float32).ravel()} for kind, m in (pinhole, flat)]
    rows = [row(i, **columns) for i, columns in enumerate([*known, {}])]
    table = InstanceTable.of(
        pa.Table.from_batches([instance_batch(rows)]), grid_template().num_vertices, ["intrinsics"]
    )
    np.testing.assert_allclose(table.intrinsics[0], [900, 950, 120, 130], rtol=1e-5)
    assert np.isnan(table.intrinsics[1:]).all()
    batch = KeypointBatch.of(InstanceTable.joined([table.take(np.array([2])), table]))
    assert (
        batch.intrinsics.shape == (4, 4) and batch.intrinsics[1].isfinite().all() and batch.intrinsics[0].isnan().all()
    )


def test_arrays_and_fields_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="keypoints and visibility differ"):
        InstanceTable.of_arrays(np.zeros((2, 3, 2), np.float32), np.zeros((2, 4), bool))
    with pytest.raises(UsageError, match="no field 'colour'"):
        columns_of(["colour"])


def test_files_are_read_into_memory_that_outlives_the_interpreter(tmp_path, monkeypatch):
    """Threads of Arrow's may free it last, after the end of Python: that aborted finished runs."""
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 4000)
    before = pa.total_allocated_bytes()
    data = files.arrow_bytes(tmp_path / "a.bin")
    assert pa.total_allocated_bytes() - before >= len(data) == 1_024_000
    assert data.to_pybytes() == (tmp_path / "a.bin").read_bytes()
    table = pa.table({"a": np.arange(9)})
    asked, read = [], files.arrow_bytes
    monkeypatch.setattr(files, "arrow_bytes", lambda path: asked.append(path) or read(path))
    assert files.read_table(files.write_table(tmp_path / "a.parquet", table)).equals(table)
    assert files.read_arrow(files.write_arrow(tmp_path / "a.arrow", table)).equals(table)
    assert [path.suffix for path in asked] == [".parquet", ".arrow"]
