"""The order of an epoch: no row twice, none missing, on any number of ranks; seed and epoch alone decide."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import UsageError
from dp3d_data.loader.loader import Order
from tests.references.loader import batches_slow, epoch_slow

orders = st.builds(
    Order,
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8).map(tuple),
    batch=st.integers(1, 12),
    shuffle_buffer=st.integers(0, 20),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
    drop_last=st.booleans(),
    rank=st.just(0),
    ranks=st.integers(1, 4),
)


def rows_of(order, number):
    """Global rows of each batch, read off the shuffle buffers."""
    epoch = replace(order, epoch=number)
    starts = np.cumsum([0, *order.sizes])
    buffers = [np.concatenate([starts[g] + np.arange(order.sizes[g]) for g in groups]) for groups in epoch.buffers]
    return [[int(r) for buffer, rows in epoch.rows(i) for r in buffers[buffer][rows]] for i in range(len(epoch))]


@given(order=orders, number=st.integers(0, 3))
def test_batches_are_those_of_the_slow_twin(order, number):
    for rank in range(order.ranks):
        mine = replace(order, rank=rank)
        assert rows_of(mine, number) == batches_slow(mine, number)


@given(order=orders, number=st.integers(0, 3))
def test_ranks_share_everything_without_duplicates_or_gaps(order, number):
    ranks = [rows_of(replace(order, rank=rank), number) for rank in range(order.ranks)]
    seen = [row for batches in ranks for batch in batches for row in batch]
    assert len(seen) == len(set(seen))
    if order.drop_last:
        assert len({len(batches) for batches in ranks}) == 1
        assert all(len(batch) == order.batch for batches in ranks for batch in batches)
        assert sum(order.sizes) - len(seen) < order.batch * order.ranks
    else:
        assert sorted(seen) == list(range(sum(order.sizes)))


@given(order=orders)
def test_more_ranks_cut_the_same_order(order):
    alone = rows_of(replace(order, ranks=1), 1)
    for rank in range(order.ranks):
        mine = rows_of(replace(order, rank=rank), 1)
        assert mine == alone[rank :: order.ranks][: len(mine)]


def test_epochs_and_seeds_differ_and_repeat():
    order = Order((50,) * 8, 16, shuffle_buffer=100, seed=1)
    assert rows_of(order, 0) == rows_of(order, 0) != rows_of(order, 1)
    assert epoch_slow(order, 0) != epoch_slow(Order((50,) * 8, 16, shuffle_buffer=100, seed=2), 0)
    assert rows_of(Order((5, 3), 4, shuffle=False), 7) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_impossible_numbers_are_refused():
    for wrong in ({"batch": 0}, {"batch": 4, "rank": 2, "ranks": 2}, {"batch": 4, "shuffle_buffer": -1}):
        with pytest.raises(UsageError, match="no such batches"):
            Order((3,), **wrong)
