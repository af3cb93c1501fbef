"""The loader: every instance once, the same whatever the threads, taken up again at any batch, nothing damaged let
through."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import dp3d_data.loader.loader as loader_module
from dp3d_data.errors import FingerprintMismatch, ShardError, UsageError
from dp3d_data.loader import InstanceTable, KeypointBatch, Loader, joined_source, shard_source, table_source
from dp3d_data.loader.source import cached_source
from dp3d_data.shards import ShardReader
from tests.data.loader.samples import shards_in, small_shards
from tests.shared import ROOT

EVERYTHING = ("ids", "groups", "boxes", "truth", "intrinsics", "weights", "image_paths", "masks")
SMALL = {"batch_size": 7, "shuffle_buffer": 12, "seed": 3}


def indices(batches):
    return [batch.index.tolist() for batch in batches]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"memory": False},
        {"shuffle_buffer": 0},
        {"shuffle": False},
        {"shuffle_buffer": 1, "threads": 3},
        {"threads": 0, "sparse": True},
    ],
)
def test_batches_hold_what_the_reader_reads(settings):
    reader = ShardReader(small_shards())
    expected = reader.split("train")
    loader = Loader(small_shards(), **(SMALL | settings), fields=EVERYTHING)
    seen = []
    for batch in loader:
        rows = np.asarray(batch.index)
        seen += rows.tolist()
        batch = KeypointBatch.of(batch) if settings.get("sparse") else batch
        np.testing.assert_array_equal(batch.keypoints, expected.keypoints[rows])
        np.testing.assert_array_equal(batch.visible, expected.visible[rows])
        np.testing.assert_array_equal(batch.boxes, expected.boxes[rows])
        np.testing.assert_array_equal(batch.true_vertices, expected.true_vertices[rows])
        np.testing.assert_array_equal(batch.true_scale, expected.true_scale[rows])
        np.testing.assert_array_equal(batch.weights, expected.weights[rows])
        same = expected.take(rows.tolist())
        assert all(getattr(batch, name) == getattr(same, name) for name in ("ids", "groups", "image_paths", "masks"))
    assert sorted(seen) == list(range(len(expected))) and len(loader) == -(-len(expected) // 7)
    assert (seen == sorted(seen)) == (settings.get("shuffle") is False)


def test_threads_and_memory_change_nothing_and_epochs_differ():
    orders = []
    for settings in ({"threads": 0}, {"threads": 1, "memory": False}, {"threads": 4, "memory": True}):
        loader = Loader(small_shards(), **SMALL, **settings)
        orders.append([indices(loader), indices(loader)])
        assert loader.epoch == 2
    assert orders[0] == orders[1] == orders[2] and orders[0][0] != orders[0][1]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"threads": 2, "memory": False}, {"threads": 0}])
def test_a_state_goes_on_with_exactly_the_rest(settings):
    settings = SMALL | settings
    whole = Loader(small_shards(), **settings)
    first, second = indices(whole), indices(whole)
    for taken in range(len(first) + 1):
        stopped = Loader(small_shards(), **settings)
        for _ in zip(range(taken), stopped, strict=False):
            pass
        again = Loader(small_shards(), **(settings | {"threads": 1}))
        again.load_state_dict(stopped.state_dict())
        rest = [*indices(again), *indices(again)]
        assert rest[: len(first) + len(second) - taken] == [*first, *second][taken : taken + len(rest)]


def test_a_state_of_other_batches_is_refused():
    state = Loader(small_shards(), **SMALL).state_dict()
    Loader(small_shards(), **SMALL, threads=0).load_state_dict(state)
    for change in ({"batch_size": 8}, {"seed": 4}, {"split": "val"}, {"ranks": 2, "rank": 0}, {"shuffle_buffer": 0}):
        with pytest.raises(FingerprintMismatch, match="a state of other batches"):
            Loader(small_shards(), **(SMALL | change)).load_state_dict(state)


def test_ranks_share_an_epoch():
    parts = [indices(Loader(small_shards(), **SMALL, rank=rank, ranks=3)) for rank in range(3)]
    seen = sorted(row for part in parts for batch in part for row in batch)
    assert seen == list(range(len(ShardReader(small_shards()).split("train"))))
    even = [len(Loader(small_shards(), **SMALL, rank=rank, ranks=3, drop_last=True)) for rank in range(3)]
    assert len(set(even)) == 1


def test_ranks_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(loader_module, "ranks_in_use", lambda: (1, 2))
    order = Loader(small_shards(), **SMALL).order
    assert (order.rank, order.ranks) == (1, 2)
    monkeypatch.undo()
    assert loader_module.ranks_in_use() == (0, 1)


def test_steps_run_over_the_ends_of_epochs():
    loader = Loader(small_shards(), **SMALL, drop_last=True)
    flat = [*indices(loader), *indices(loader), *indices(loader)]
    for step in (0, 3, len(loader), 2 * len(loader) - 1):
        steps = loader.from_step(step)
        assert [next(steps).index.tolist() for _ in range(len(loader))] == flat[step : step + len(loader)]
        steps.close()


def test_all_splits_at_once():
    counts = [Loader(small_shards(), split).instances for split in ("train", "val", "all")]
    assert counts[0] + counts[1] == counts[2]
    with pytest.raises(UsageError, match="(?s)no split 'test'.*--set split=all takes"):
        Loader(small_shards(), "test")


@pytest.mark.parametrize("version", [1, 2])
def test_older_shards_are_read(version):
    folder = ROOT / "tests" / "data" / "shards" / "versions" / str(version) / "shards"
    batch = next(iter(Loader(folder, threads=0, fields=EVERYTHING, shuffle=False)))
    expected = ShardReader(folder).split("train")
    np.testing.assert_array_equal(batch.keypoints, expected.keypoints[: len(batch)])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damage_is_refused_by_name(tmp_path):
    folder = shards_in(tmp_path)
    name = sorted(path.name for path in folder.glob("train-*.parquet"))[-1]
    whole = (folder / name).read_bytes()
    for spoil, words in (
        (flip, "damaged or replaced"),
        (lambda path: path.write_bytes(whole[:-9]), "damaged or replaced"),
        (lambda path: path.unlink(), "missing"),
    ):
        (folder / name).write_bytes(whole)
        spoil(folder / name)
        for settings in ({"threads": 0}, {"threads": 2}):
            with pytest.raises(ShardError, match=words) as error:
                indices(Loader(folder, **settings))
            assert name in str(error.value)


def test_damage_after_the_first_epoch_is_refused_too(tmp_path):
    folder = shards_in(tmp_path)
    loader = Loader(folder, memory=False, **SMALL)
    assert indices(loader)
    path = sorted(folder.glob("train-*.parquet"))[0]
    footer = pq.read_metadata(path).row_group(0)
    columns = (footer.column(place) for place in range(footer.num_columns))
    column = next(c for c in columns if c.path_in_schema.startswith("keypoints_x"))
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(ShardError, match="cannot be read") as error:
        indices(loader)
    assert path.name in str(error.value)


def test_arrays_can_be_loaded_like_shards():
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(20, 30, generator=generator) > 0.5
    keypoints = torch.where(visible[..., None], torch.rand(20, 30, 2, generator=generator), 0.0)
    source = table_source(InstanceTable.of_arrays(keypoints.numpy(), visible.numpy()))
    for batch in Loader(source, batch_size=6, shuffle_buffer=0):
        assert torch.equal(batch.keypoints, keypoints[batch.index]) and torch.equal(batch.visible, visible[batch.index])
    with pytest.raises(ShardError, match="too few instances"):
        Loader(source, batch_size=21, drop_last=True).from_step(0)


def test_sources_are_joined_one_after_the_other():
    shards = shard_source(ShardReader(small_shards()), "train")
    rng = np.random.default_rng(0)
    count = shards.num_vertices
    own = table_source(
        InstanceTable.of_arrays(rng.random((9, count, 2), dtype=np.float32), rng.random((9, count)) < 0.5)
    )
    joined = joined_source([shards, own])
    seen = np.concatenate([batch.index for batch in Loader(joined, **SMALL)])
    assert sorted(seen) == list(range(sum(shards.sizes) + 9))
    last = joined.read(len(joined.sizes) - 1)
    np.testing.assert_array_equal(last.keypoints, own.read(0).keypoints)
    assert joined.identity not in (shards.identity, own.identity)
    other = table_source(InstanceTable.of_arrays(np.zeros((2, 5, 2), np.float32), np.ones((2, 5), bool)))
    with pytest.raises(ShardError, match="different templates"):
        joined_source([shards, other])


def test_a_table_is_known_by_all_that_it_holds():
    keypoints, visible = np.ones((3, 4, 2), np.float32), np.eye(3, 4) > 0
    tables = [InstanceTable.of_arrays(keypoints, visible, focal) for focal in (None, np.ones((3, 4)), np.eye(3, 4))]
    tables += [replace(tables[0], weights=np.full(3, 0.5)), InstanceTable.of_arrays(2 * keypoints, visible)]
    assert len({table_source(table).identity for table in tables}) == len(tables)
    assert table_source(tables[0]).identity == table_source(InstanceTable.of_arrays(keypoints, visible)).identity


def test_the_groups_used_last_stay_in_memory():
    shards, asked = shard_source(ShardReader(small_shards()), "train"), []
    watched = replace(shards, read=lambda group: (asked.append(group), shards.read(group))[1])
    cached = cached_source(watched, most=2)
    for group in (0, 1, 0, 2, 0, 1):
        cached.read(group)
    assert asked == [0, 1, 2, 1]


def test_row_groups_that_hold_other_instances_than_the_manifest_says_are_refused():
    reader = ShardReader(small_shards())
    (first, *_) = reader.entries("train")
    first["instances"] += 1
    with pytest.raises(ShardError, match="not what the manifest says") as error:
        shard_source(reader, "train")
    assert error.value.path == reader.folder / first["name"]
