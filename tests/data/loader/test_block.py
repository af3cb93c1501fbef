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
from dp3d_data.shards.instances import instance_batch
from tests.data.shards.samples import grid_template, row
from tests.references.loader import take_slow

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


def test_arrays_and_fields_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="keypoints and visibility differ"):
        block_of_arrays(np.zeros((2, 3, 2), np.float32), np.zeros((2, 4), bool))
    with pytest.raises(UsageError, match="no field 'colour'"):
        columns_of(["colour"])
