"""Grid, hashes, layout and shuffle: slow twins and laws."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dp3d_data.errors import InputMissing, ShardError
from dp3d_data.filters import FilterConfig
from dp3d_data.shards import INSTANCE_SCHEMA, instance_batch
from dp3d_data.shards.build import PLACES, deal, gather, open_dealt
from dp3d_data.shards.index import content_hashes, on_grid, rounded
from dp3d_data.shards.inputs import open_input, partitions
from dp3d_data.shards.plan import GROUP_BYTES, lay_out, repeated
from dp3d_data.shards.schema import COLUMNS, PIXEL_STEP, TRUTH_STEP
from dp3d_data.shards.table import list_values
from tests.data.shards.samples import row, run
from tests.references.shards import content_hash_slow, on_grid_slow, repeated_slow

floats = arrays.arrays(np.float32, st.integers(0, 30), elements=st.floats(-5000, 5000, width=32))


def table_of(rows):
    return pa.Table.from_batches([instance_batch(rows)])


@given(floats, st.sampled_from([PIXEL_STEP, TRUTH_STEP]))
def test_values_on_the_grid_match_the_slow_twin(values, step):
    found = on_grid(values, step)
    assert found.dtype == np.float32 and found.tolist() == on_grid_slow(values, step)
    assert np.abs(found.astype(np.float64) - values).max(initial=0) <= step / 2
    assert not np.signbit(found[found == 0]).any()
    np.testing.assert_array_equal(on_grid(found, step), found)


def test_rounding_moves_no_keypoint_by_more_than_half_a_step_and_is_idempotent():
    rows = [row(index, "synth" if index % 2 else "extract") for index in range(6)]
    table = table_of(rows)
    stored = rounded(table)
    assert stored.schema.equals(INSTANCE_SCHEMA) and rounded(stored).equals(stored)
    for name in table.column_names:
        before, after, step = table.column(name), stored.column(name), COLUMNS[name].step
        assert after.is_valid().equals(before.is_valid())
        if step:
            (offsets, old), (same, new) = list_values(before), list_values(after)
            np.testing.assert_array_equal(offsets, same)
            assert np.abs(old - new).max(initial=0) <= step / 2 and not np.mod(new, step).any()
        else:
            assert after.equals(before)
    assert PIXEL_STEP / 2 <= 1 / 64


def test_content_hashes_match_the_slow_twin_and_see_the_keypoints_alone():
    rows = [row(index) for index in range(4)]
    found = content_hashes(table_of(rows))
    assert found == [content_hash_slow(one) for one in rows] and len(set(found)) == 4
    assert content_hashes(table_of([rows[0] | {"score": 0.1, "instance_id": "other"}])) == found[:1]
    assert content_hashes(rounded(table_of(rows))) == found
    moved = rows[0] | {"keypoints_x": rows[0]["keypoints_x"] + np.float32(1 / 32)}
    assert content_hashes(table_of([moved])) != found[:1]


keys = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 2), st.booleans()), max_size=20)


@given(keys)
def test_repeated_rows_match_the_slow_twin(rows):
    names, among = [name for name, _, _ in rows], np.array([among for _, _, among in rows], dtype=bool)
    boxes = np.array([[0, 0, size, 1] for _, size, _ in rows], dtype=np.float32).reshape(-1, 4)
    found = repeated(pa.chunked_array([pa.array(names, pa.string())]), boxes, among)
    assert found.tolist() == repeated_slow(names, boxes, among)


@given(st.lists(st.integers(-1, 2), max_size=200), st.integers(0, 5), st.integers(20_500, 200_000), st.floats(0.1, 1))
@settings(max_examples=50)
def test_every_kept_instance_has_one_place_on_its_side(sides, seed, shard_bytes, ratio):
    sides = np.array(sides, dtype=int)
    sizes = np.random.default_rng(seed).integers(500, 4000, len(sides))
    group, position, shards = lay_out(sides, sizes, ratio=ratio, shard_bytes=shard_bytes, seed=seed)
    assert ((group >= 0) == (sides >= 0)).all()
    planned = {(shard.first + number, place): shard.split for shard in shards
               for number, rows in enumerate(shard.rows) for place in range(rows)}  # fmt: skip
    taken = list(zip(group[sides >= 0].tolist(), position[sides >= 0].tolist(), strict=True))
    assert sorted(taken) == sorted(planned) and len(set(taken)) == len(taken)
    names = ("train", "val", "test")
    assert all(planned[place] == names[side] for place, side in zip(taken, sides[sides >= 0].tolist(), strict=True))
    for shard in shards:
        inside = (group >= shard.first) & (group < shard.first + len(shard.rows))
        assert len(shard.rows) == 1 or sizes[inside].sum() * ratio <= 1.6 * shard_bytes


def test_the_order_is_shuffled_and_another_seed_shuffles_otherwise():
    sides, sizes = np.zeros(1000, dtype=int), np.full(1000, 8000)
    (_, one, shards), (_, other, _) = (
        lay_out(sides, sizes, ratio=0.3, shard_bytes=10**9, seed=seed) for seed in (0, 1)
    )
    assert abs(np.corrcoef(one, np.arange(1000))[0, 1]) < 0.15
    assert not np.array_equal(one, other) and shards[0].rows == (1000,)
    _, _, many = lay_out(sides, np.full(1000, GROUP_BYTES // 16), ratio=0.3, shard_bytes=10**12, seed=0)
    assert many[0].rows == (16,) * 62 + (8,)


def places(groups, positions, names):
    texts = [
        pa.array(names),
        pa.array(["g"] * len(names)),
        pa.array(["train"] * len(names)),
        pa.array(["0" * 16] * len(names)),
    ]
    return pa.table([pa.array(groups, pa.int32()), pa.array(positions, pa.int32()), *texts], schema=PLACES)


def test_what_is_dealt_is_gathered_in_its_place(tmp_path):
    rows = [row(index, "synth" if index % 3 else "extract") for index in range(30)]
    found = open_input(run(tmp_path / "run", rows, part=8).folder)
    parts = partitions([found], partition_bytes=0)
    assert [partition.rows for partition in parts] == [8, 8, 8, 6] and [partition.start for partition in parts] == [
        0,
        8,
        16,
        24,
    ]
    order = np.random.default_rng(0).permutation(30)[:25]
    group, position = np.full(30, -1), np.full(30, -1)
    group[order], position[order] = np.arange(25) // 10, np.arange(25) % 10
    paths, filters = [], (FilterConfig(), np.full(12, 1 / 12))
    for number, partition in enumerate(parts):
        here = slice(partition.start, partition.start + partition.rows)
        names = [f"new{index}" for index in range(here.start, here.stop)]
        paths.append(
            deal(partition, places(group[here], position[here], names), tmp_path / f"{number}.arrow", *filters)
        )
    dealt = open_dealt(paths)
    stored = rounded(table_of(rows))
    for number, count in enumerate((10, 10, 5)):
        table = gather(dealt, number, count)
        wanted = stored.take(order[10 * number : 10 * number + count])
        assert table.schema.equals(INSTANCE_SCHEMA, check_metadata=True)
        assert table.column("instance_id").to_pylist() == [
            f"new{index}" for index in order[10 * number : 10 * number + count]
        ]
        assert (
            table.drop_columns(["instance_id", "group", "split", "content_hash"]).to_pylist()
            == wanted.drop_columns(["instance_id", "group", "split", "content_hash"]).to_pylist()
        )
    with pytest.raises(ShardError, match="rows were lost"):
        gather(dealt, 2, 6)
    paths[0].unlink()
    with pytest.raises(InputMissing, match="a partition of this build is gone"):
        open_dealt(paths)
