"""Datasets for torch's own DataLoader."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dp3d_data.errors import UsageError
from dp3d_data.loader import InstanceDataset, InstanceStream, Loader, collate
from dp3d_data.shards import ShardReader
from tests.data.loader.samples import small_shards

SMALL = {"batch_size": 7, "shuffle_buffer": 12, "seed": 3}


def indices(batches):
    return [batch.index.tolist() for batch in batches]


@pytest.mark.slow
def test_worker_processes_give_the_loaders_batches_in_its_order():
    expected = indices(Loader(small_shards(), **SMALL))
    stream = InstanceStream(small_shards(), **SMALL)
    assert indices(DataLoader(stream, batch_size=None)) == expected and len(stream) == len(expected)
    stream.load_state_dict(stream.state_after(2))
    spawned = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    assert indices(spawned) == expected[2:]
    stream.set_epoch(1)
    assert indices(DataLoader(stream, batch_size=None)) not in (expected, expected[2:])


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_workers_that_live_on_follow_epoch_and_state(start):
    stream, orders = InstanceStream(small_shards(), **SMALL), {}
    for epoch in (0, 1, 5):
        stream.set_epoch(epoch)
        orders[epoch] = indices(stream)
    stream.set_epoch(1)
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context=start)
    assert indices(loader) == orders[1]
    for epoch in (0, 5, 5, 1):
        stream.set_epoch(epoch)
        assert indices(loader) == orders[epoch]
    stream.set_epoch(5)
    stream.load_state_dict(stream.state_after(3))
    assert indices(loader) == orders[5][3:]
    stream.set_epoch(0)
    batches = iter(loader)
    first = next(batches).index.tolist()
    stream.load_state_dict(
        stream.state_after(1)
    )  # in the midst of an epoch: noted for the next start, not for this epoch
    assert [first, *indices(batches)] == orders[0]
    assert indices(loader) == orders[0][1:]


def test_a_stream_can_be_copied():
    stream = InstanceStream(small_shards(), **SMALL)
    stream.set_epoch(3)
    again = pickle.loads(pickle.dumps(stream))
    assert indices(again) == indices(stream)


@pytest.mark.parametrize("settings", [{}, {"held": 1}, {"memory": True}])
def test_a_table_has_a_length_and_an_index(settings):
    expected = ShardReader(small_shards()).split("train")
    table = InstanceDataset(small_shards(), **settings, fields=["ids"])
    assert len(table) == len(expected)
    rows = [5, 1, len(table) - 1, 1, -1]
    batch = table[rows]
    np.testing.assert_array_equal(batch.keypoints, expected.keypoints[rows])
    assert batch.ids == tuple(expected.ids[row] for row in rows)
    assert torch.equal(collate([table[row] for row in rows]).visible, batch.visible)
    again = pickle.loads(pickle.dumps(table))
    assert torch.equal(again[rows].keypoints, batch.keypoints)
    for wrong in ([len(table)], [-len(table) - 1], []):
        with pytest.raises(UsageError, match="no such instance"):
            table[wrong]


def test_torchs_own_shuffling_works_on_a_table():
    table = InstanceDataset(small_shards())
    loader = DataLoader(
        table, batch_size=7, shuffle=True, collate_fn=collate, generator=torch.Generator().manual_seed(0)
    )
    seen = [row for batch in loader for row in batch.index.tolist()]
    assert sorted(seen) == list(range(len(table))) and seen != sorted(seen)
