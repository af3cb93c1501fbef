"""Filters of vertices: the slow twin, what they leave alone, and the account."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data.filters import FilterConfig, judge_vertices
from dp3d_data.shards import ShardReader, instance_batch
from dp3d_data.shards.index import cut, judge_table, trims
from pipelines.shards import ShardPlan, build
from tests.data.shards.samples import grid_template, row, run
from tests.references.shards import trim_slow

SHARE = grid_template().area_shares


def rows_of(count, seed):
    """Photographs with and without cycle weights, and a synthetic world."""
    rng = np.random.default_rng(seed)
    rows = [row(index, "synth" if index % 4 == 3 else "extract") for index in range(count)]
    for one in rows[::2]:
        one["cycle"] = rng.uniform(0, 1, len(one["vertex_ids"])).astype("f4")
    return rows


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 7),
    st.integers(1, 25),
    st.sampled_from([0.0, 0.005, 0.01]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 99),
)
def test_trimming_equals_the_slow_twin(count, pixels, spread, cycle, seed):
    config = FilterConfig(min_pixels=pixels, max_vertex_spread=spread, min_vertex_cycle=cycle)
    rows = rows_of(count, seed)
    table = pa.Table.from_batches([instance_batch(rows)])
    kept, dropped = judge_table(table, config)
    found = cut(table, kept, SHARE)
    assert found.schema == table.schema
    slow = [trim_slow(one, config, SHARE) for one in table.to_pylist()]
    assert Counter(reason for _, reasons in slow for reason in reasons) == Counter(
        {k: v for k, v in dropped.items() if v}
    )
    for one, (expected, _) in zip(found.to_pylist(), slow, strict=True):
        assert one.pop("visible_area") == pytest.approx(expected.pop("visible_area"), rel=1e-5)
        assert one == expected


def test_a_vertex_exactly_at_a_threshold_stays():
    config = FilterConfig(min_pixels=3, max_vertex_spread=0.25, min_vertex_cycle=0.5)
    kept, dropped = judge_vertices(
        config, np.array([3, 2, 3, 3]), np.array([0.25, 0.25, 0.26, 0.25]), np.array([0.5, 0.5, 0.5, 0.49])
    )
    assert kept.tolist() == [True, False, False, False]
    assert dropped == {"few pixels": 1, "vertex spread": 1, "vertex cycle": 1}


def test_by_default_nothing_is_touched():
    assert not trims(FilterConfig()) and trims(FilterConfig(min_pixels=2)) and trims(FilterConfig(min_vertex_cycle=0.1))


def test_invisible_vertices_are_counted_and_instances_judged_by_what_is_left(tmp_path):
    rows = [row(0), row(1) | {"pixel_counts": np.ones(len(row(1)["vertex_ids"]), dtype=np.int32)}, row(2, "synth")]
    run(tmp_path / "run", rows)
    plan = ShardPlan(filters=FilterConfig(min_pixels=5), shard_bytes=10**6, split_ratio=1.0, seed=0)
    told = []
    manifest = build([tmp_path / "run"], tmp_path / "out", "dog", plan, overwrite=False, say=told.append)
    few = int((rows[0]["pixel_counts"] < 5).sum())
    assert manifest["vertices"] == {
        "few pixels": few + len(rows[1]["vertex_ids"]),
        "vertex spread": 0,
        "vertex cycle": 0,
    }
    assert manifest["account"]["rejected"] == {"few vertices": 1} and any(
        "made invisible (few pixels" in line for line in told
    )
    visible = dict(
        zip(*(lambda s: (s.ids, s.visible.sum(axis=1)))(ShardReader(tmp_path / "out").split("train")), strict=True)
    )
    assert visible == {"extract0": len(rows[0]["vertex_ids"]) - few, "synth2": len(rows[2]["vertex_ids"])}
