"""Splits keep together what belongs together; filters account for every instance."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import InputCorrupt, InputMissing, Unaccounted, UsageError
from dp3d_data.filters import FILTERS, FilterConfig, Tally, judge
from dp3d_data.shards.plan import SPLITS, ShardPlan, components, given_splits, read_split_list
from dp3d_data.shards.plan import assign_splits as assign_sides
from tests.references.shards import components_slow, judge_slow

STRICT = FilterConfig(min_score=0.5, min_cycle=0.5)
instances = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([None, "1", "2", "3", "4", "5"])), max_size=30
)


def assign_splits(groups, images, sources, *, train_ratio, seed=0):
    sides = assign_sides(groups, images, sources, plan=ShardPlan(split_ratio=train_ratio, seed=seed))
    return [SPLITS[side] for side in sides]


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
    (fast, names), slow = components(groups, images), components_slow(groups, images)
    assert [[a == b for b in fast] for a in fast] == [[a == b for b in slow] for a in slow]
    assert all(names[code] == min(g for g, other in zip(groups, fast, strict=True) if other == code) for code in fast)


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


def test_a_third_side_has_its_share():
    names = [f"g{index}" for index in range(1000)]
    plan = ShardPlan(split_ratio=0.7, test_ratio=0.2)
    sides = assign_sides(names, [None] * 1000, ["s"] * 1000, plan=plan)
    assert np.bincount(sides).tolist() == [700, 100, 200]
    with pytest.raises(UsageError, match="exceed the whole"):
        ShardPlan(split_ratio=0.9, test_ratio=0.2)


def test_a_group_goes_where_more_than_half_of_it_is_wanted():
    """Of 24 instances in groups of three 4.8 are wanted for validation: two groups are nearer to that than one."""
    groups = [f"g{index // 3}" for index in range(24)]
    assert assign_splits(groups, [None] * 24, ["s"] * 24, train_ratio=0.8).count("val") == 6


@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_group_is_for_validation_where_none_would_be(seed):
    sides = assign_splits(["big"] * 9 + ["small"], [None] * 10, ["s"] * 10, train_ratio=0.99, seed=seed)
    assert sides == ["train"] * 9 + ["val"]


def test_one_group_of_two_that_are_left_is_for_validation():
    plan = ShardPlan(split_ratio=0.6, test_ratio=0.3)
    assert sorted(assign_sides(["a", "b", "c"], [None] * 3, ["s"] * 3, plan=plan)) == [0, 1, 2]


@given(instances, st.integers(0, 3))
def test_given_sides_win_and_the_others_go_by_ratio(pairs, seed):
    groups, images = [g for g, _ in pairs], [i for _, i in pairs]
    wanted = {"a": "test", "b": "val"}
    given_here = [wanted.get(group) for group in groups]
    plan = ShardPlan(split="official", seed=seed)
    try:
        sides = assign_sides(groups, images, ["s"] * len(pairs), plan=plan, given=given_here)
    except UsageError as error:
        assert "tears apart" in error.what
        member, _ = components(groups, images)
        both = [
            {side for side, m in zip(given_here, member, strict=True) if m == code and side} for code in set(member)
        ]
        assert max(len(found) for found in both) == 2
        return
    assert all(side is None or SPLITS[found] == side for found, side in zip(sides, given_here, strict=True))
    for key in set(groups):
        assert len({int(side) for side, group in zip(sides, groups, strict=True) if group == key}) == 1


def test_a_list_names_instances_images_or_groups(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("# mine\nx#0,train\nimages/a, b.jpg,val\n\nrex\tTEST\n")
    listed = read_split_list(path)
    assert listed == {"x#0": "train", "images/a, b.jpg": "val", "rex": "test"}
    columns = {"instance_id": ["x#0", "y#0", "z#0", "w#0"], "image_id": ["i", "images/a, b.jpg", "k", "l"]}
    columns["group"] = [None, "rex", "rex", "tom"]
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    assert given_splits(ShardPlan(split="list", listed=listed), table).to_pylist() == ["train", "val", "test", None]
    for text, message in (
        ("x", "line 1 names no split"),
        ("x,left", "line 1 names no split"),
        ("x,val\nx,test", "line 2 puts a name"),
    ):
        path.write_text(text)
        with pytest.raises(InputCorrupt, match=message):
            read_split_list(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputCorrupt, match="not a text file"):
        read_split_list(path)
    with pytest.raises(InputMissing, match="no such list of a split"):
        read_split_list(tmp_path / "none")


def test_an_unknown_side_of_the_source_is_named():
    table = pa.table({"source_split": ["train", "minival", None]})
    with pytest.raises(UsageError, match="minival"):
        given_splits(ShardPlan(split="official"), table)


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_the_first_reason_is_named(count, seed):
    rng = np.random.default_rng(seed)
    measures = dict(
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
    assert [
        np.isnan(value) for reason, value in zip(reasons, values, strict=True) if reason not in (None, "score")
    ] == [False] * sum(reason not in (None, "score") for reason in reasons)
    assert set(reasons) <= {None, *FILTERS}


def test_an_account_that_does_not_add_up_is_a_fault():
    assert Tally(5, 2, {"score": 2}, 1).check().line() == "kept 2 · rejected 2 (score 2) · failed 1"
    with pytest.raises(Unaccounted, match="2 kept \\+ 1 rejected \\+ 0 failed = 3"):
        Tally(4, 2, {"score": 1}).check()
