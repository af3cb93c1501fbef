"""Splits keep together what belongs together; filters account for every instance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import Unaccounted
from dp3d_data.filters import FILTERS, Account, FilterConfig, Measures, judge
from dp3d_data.shards.splits import assign_splits, components
from tests.references.shards import components_slow, judge_slow

STRICT = FilterConfig(min_score=0.5, min_cycle=0.5)
instances = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, "1", "2", "3", "4", "5"])), max_size=30)


@given(instances, st.floats(0, 1), st.integers(0, 3))
def test_nothing_joined_lies_on_both_sides(pairs, ratio, seed):
    groups, images = [g for g, _ in pairs], [i for _, i in pairs]
    sides = assign_splits(groups, images, ["folder"] * len(pairs), train_ratio=ratio, seed=seed)
    for keys in (groups, images):
        for key in set(keys) - {None}:
            assert len({side for side, k in zip(sides, keys, strict=True) if k == key}) == 1
    if ratio in (0, 1):
        assert set(sides) <= {"val" if ratio == 0 else "train"}


@given(instances)
def test_components_match_the_slow_twin(pairs):
    groups, images = [g for g, _ in pairs], [i for _, i in pairs]
    fast, slow = components(groups, images), components_slow(groups, images)
    assert [[a == b for b in fast] for a in fast] == [[a == b for b in slow] for a in slow]


@given(instances, st.randoms())
def test_the_order_of_instances_does_not_matter(pairs, random):
    order = list(range(len(pairs)))
    random.shuffle(order)

    def sides(rows):
        return assign_splits([g for g, _ in rows], [i for _, i in rows], ["s"] * len(rows), train_ratio=0.7, seed=1)

    assert [sides(pairs)[i] for i in order] == sides([pairs[i] for i in order])


def test_each_source_has_its_share_and_both_sides():
    sources = ["folder"] * 10 + ["synth"] * 1000
    names = [f"g{index}" for index in range(len(sources))]
    sides = assign_splits(names, [None] * len(names), sources, train_ratio=0.95, seed=0)
    assert sides[:10].count("val") == 1
    assert sides[10:].count("val") == pytest.approx(50, abs=1)


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_the_first_reason_is_named(count, seed):
    rng = np.random.default_rng(seed)
    measures = Measures(
        score=rng.choice([0.1, 0.5, 0.9, np.nan], count),
        visible_vertices=rng.integers(0, 100, count),
        visible_area=rng.uniform(0, 0.2, count),
        known_shape=rng.random(count) < 0.5,
        edges=rng.integers(0, 5, count),
        spread=rng.choice([0.01, 0.1, 0.3], count),
        cycle=rng.choice([0.2, 0.8], count),
    )
    reasons, values = judge(STRICT, measures)
    assert reasons == judge_slow(STRICT, measures)
    assert [np.isnan(value) for reason, value in zip(reasons, values, strict=True) if reason not in (None, "score")] == [False] * sum(
        reason not in (None, "score") for reason in reasons
    )
    assert set(reasons) <= {None, *(entry.reason for entry in FILTERS)}


def test_an_account_that_does_not_add_up_is_a_fault():
    assert Account(5, 2, {"score": 2}, 1).check().line() == "kept 2 · rejected 2 (score 2) · failed 1"
    with pytest.raises(Unaccounted, match="2 kept \\+ 1 rejected \\+ 0 failed = 3"):
        Account(4, 2, {"score": 1}).check()
