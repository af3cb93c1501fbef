"""Poses of automatic rigs: within their limits, by parts, of every kind."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.geometry import load_template
from dp3d_data.geometry.rigging import rigged
from dp3d_data.geometry.skeleton import Skeleton
from dp3d_data.synthesis.poses import FREE_KINDS, free_angles, is_free, random_pose
from dp3d_data.synthesis.proportions import random_proportions
from tests.shared import shared


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return rigged(replace(load_template("dog"), skeleton=None)).skeleton


@pytest.mark.slow
def test_only_automatic_rigs_are_posed_so(skeleton):
    assert is_free(skeleton) and not is_free(load_template("dog").skeleton)
    assert not is_free(rigged(load_template(shared("data/rigs/husky.glb"))).skeleton)


@given(st.integers(0, 2**31), st.sampled_from(sorted(FREE_KINDS)))
def test_angles_keep_the_limits(skeleton, seed, kind):
    angles, _ = free_angles(np.random.default_rng(seed), skeleton, kind)
    low, high = skeleton.hinge_range.T
    assert ((angles >= low - 1e-6) & (angles <= high + 1e-6)).all()


@pytest.mark.parametrize("kind", list(FREE_KINDS))
def test_every_kind_moves_what_it_should(skeleton, kind):
    drawn = np.array([free_angles(np.random.default_rng(seed), skeleton, kind)[0] for seed in range(40)])
    spread = dict(zip(skeleton.hinge_names, drawn.std(axis=0), strict=True))
    mean = dict(zip(skeleton.hinge_names, drawn.mean(axis=0), strict=True))
    assert all(value > 0 for value in spread.values())
    if kind == "walk":
        assert spread["leg_front_L_1_swing"] > 0.2
        left, right = (drawn[:, skeleton.hinge_names.index(f"leg_hind_{side}_1_swing")] for side in "LR")
        assert np.corrcoef(left, right)[0, 1] < -0.7
    if kind == "graze":
        assert mean["neck_1_swing"] > 0.25


def test_the_same_seed_gives_the_same_pose(skeleton):
    first, second = (
        random_pose(np.random.default_rng(3), skeleton, random_proportions(np.random.default_rng(0))) for _ in range(2)
    )
    for one, again in zip(first, second, strict=True):
        assert np.array_equal(one, again)
