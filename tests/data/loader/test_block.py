"""Gathering and scattering of sparse instances, against loops."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import ShapeError, ShardError, UsageError
from dp3d_data.loader.batch import batch_of, collate
from dp3d_data.loader.block import Block, block_of, block_of_arrays, columns_of, group_numbers, join
from dp3d_data.shards.decode import intrinsics
from dp3d_data.shards.instances import Camera, instance_batch
from tests.data.shards.samples import grid_template, row
from tests.references.loader import intrinsics_by_rq, take_slow

K = 9


def random_block(seed, count):
    rng = np.random.default_rng(seed)
    visible = rng.random((count, K)) < rng.choice([0.0, 0.4, 1.0], size=(count, 1))
    return block_of_arrays(rng.normal(size=(count, K, 2)).astype(np.float32), visible)


@given(seed=st.integers(0, 99), count=st.integers(1, 7), rows=st.lists(st.integers(0, 6), max_size=9))
def test_taken_rows_are_those_of_the_slow_twin(seed, count, rows):
    block = random_block(seed, count)
    rows = np.array([r % count for r in rows], dtype=np.int64)
    taken = block.take(rows)
    assert [take_slow(taken, i) for i in range(len(rows))] == [take_slow(block, r) for r in rows]
    assert taken.index.tolist() == rows.tolist()


@given(seed=st.integers(0, 99), count=st.integers(0, 7))
def test_dense_arrays_come_back(seed, count):
    rng = np.random.default_rng(seed)
    visible = rng.random((count, K)) < 0.5
    keypoints = np.where(visible[..., None], rng.normal(size=(count, K, 2)), 0).astype(np.float32)
    block = block_of_arrays(keypoints, visible)
    found, seen = block.dense(K)
    np.testing.assert_array_equal(found, keypoints)
    np.testing.assert_array_equal(seen, visible)
    sparse = batch_of(block, K, sparse=True)
    again, whole = sparse.dense(K), batch_of(block, K, sparse=False)
    assert sparse.keypoints is None and again.points is None and whole.dense(K) is whole
    assert torch.equal(again.keypoints, whole.keypoints) and torch.equal(again.visible, whole.visible)


@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4), sparse=st.booleans())
def test_joining_blocks_and_collating_batches_agree(seeds, sparse):
    blocks = [random_block(seed, 1 + seed % 3) for seed in seeds]
    whole = batch_of(join(blocks), K, sparse)
    parts = collate([batch_of(block, K, sparse) for block in blocks])
    for name in ("index", "offsets", "vertex_ids", "points", "keypoints", "visible"):
        a, b = getattr(whole, name), getattr(parts, name)
        assert (a is None and b is None) or torch.equal(a, b)
    assert collate(whole) is whole


def test_groups_have_numbers_that_depend_on_their_names_alone():
    a = group_numbers(pa.chunked_array([["x", None, "y"], ["x"]]))
    b = group_numbers(pa.chunked_array([["y", "x"]]))
    assert a[0] == a[3] == b[1] and a[2] == b[0] and a[1] == -1 and len({*a.tolist()}) == 3 and a.max() > 2**32


def test_a_foreign_vertex_is_refused():
    table = pa.Table.from_batches([instance_batch([row(0, "synth"), row(1)])])
    block = block_of(table, 5, grid_template().num_vertices, ["names", "groups", "boxes", "truth"])
    assert isinstance(block, Block) and block.index.tolist() == [5, 6] and block.names.tolist() == ["synth0", "extract1"]
    assert np.isfinite(block.true_vertices[0]).all() and np.isnan(block.true_vertices[1]).all()
    with pytest.raises(ShardError, match="vertex id outside the template"):
        block_of(table, 0, 10, [])


@given(seed=st.integers(0, 99))
def test_intrinsics_are_those_of_the_rq_decomposition(seed):
    rng = np.random.default_rng(seed)
    calibration = np.array([[rng.uniform(100, 5000), 0, rng.uniform(-50, 900)], [0, rng.uniform(100, 5000), 300], [0, 0, 1]])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    placed = np.column_stack([rng.uniform(0.1, 3) * turn, rng.normal(size=3)])
    found = intrinsics((calibration @ placed)[None])[0]
    fx, fy, cx, cy, skew = intrinsics_by_rq(calibration @ placed)
    np.testing.assert_allclose(found, [fx, fy, cx, cy], rtol=1e-6, atol=1e-6 * fx)
    assert abs(skew) < 1e-6 * fx
    calibration[0, 1] = 0.1 * calibration[0, 0]
    assert np.isnan(intrinsics((calibration @ placed)[None])).all() and np.isnan(intrinsics(np.zeros((1, 3, 4)))).all()


def test_only_pinholes_give_intrinsics():
    """Orthographic and unknown cameras are NaN; rows taken, joined and batched keep theirs."""
    pinhole = Camera.perspective((900.0, 950.0), (120.0, 130.0), 0.5, np.array([0.1, -0.2, 3.0]))
    flat = Camera.orthographic(90.0, np.array([3.0, 4.0]))
    known = [{"camera_kind": c.kind, "camera_matrix": c.matrix.astype(np.float32).ravel()} for c in (pinhole, flat)]
    rows = [row(i, **columns) for i, columns in enumerate([*known, {}])]
    block = block_of(pa.Table.from_batches([instance_batch(rows)]), 0, grid_template().num_vertices, ["cameras"])
    np.testing.assert_allclose(block.cameras[0], [900, 950, 120, 130], rtol=1e-5)
    assert np.isnan(block.cameras[1:]).all()
    batch = batch_of(join([block.take(np.array([2])), block]), grid_template().num_vertices, sparse=True)
    assert batch.cameras.shape == (4, 4) and batch.cameras[1].isfinite().all() and batch.cameras[0].isnan().all()


def test_arrays_and_fields_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="keypoints and visibility differ"):
        block_of_arrays(np.zeros((2, 3, 2), np.float32), np.zeros((2, 4), bool))
    with pytest.raises(UsageError, match="no field 'colour'"):
        columns_of(["colour"])
