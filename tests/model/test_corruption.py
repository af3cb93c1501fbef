"""Corrupted keypoints: a function of seed and instance, in steps that contain each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.geometry.visibility import lower_half
from dp3d_data.loader import InstanceTable, table_source
from dp3d_model.evaluation.evaluator import METRICS, STRESS_POINTS, Scores
from dp3d_model.experiments.robustness import Corruption, _halves, corrupt, corrupted, corrupted_source
from dp3d_model.geometry.surface import farthest_points
from tests.model.toy import source_of, toy_instances, toy_surface

SURFACE = toy_surface()
LOWER = lower_half(SURFACE.vertices.numpy(), 2)


def world(count=12):
    return toy_instances(SURFACE, count, bend=0.3)


def test_no_corruption_changes_nothing():
    one = world()
    again = corrupted(one, Corruption(), LOWER)
    assert torch.equal(again.visible, one.visible)
    assert torch.equal(again.keypoints[one.visible], one.keypoints[one.visible])


@pytest.mark.parametrize("cell", [Corruption(0.02, 0.5, 0.5, 3), Corruption(0.05), Corruption(hidden=0.9)])
def test_an_instance_is_corrupted_alone(cell):
    """A law: the same whatever its company and its place, and whether it is read from arrays or from a source."""
    one = world()
    together = corrupted(one, cell, LOWER)
    order = [7, 2, 11]
    alone = corrupted(one.take(order), cell, LOWER)
    assert torch.equal(alone.visible, together.visible[order])
    assert torch.equal(alone.keypoints, together.keypoints[order])
    table = InstanceTable.of_arrays(one.keypoints.numpy(), one.visible.numpy())
    weights = np.arange(len(table.vertex_ids), dtype=np.float32)
    table = replace(table, ids=np.array(one.ids, dtype=object), weights=weights)
    keypoints, visible, trust = corrupted_source(table_source(table), cell, LOWER).read(0).dense()
    assert np.array_equal(trust, np.where(visible, table.dense()[2], 0))
    assert np.array_equal(visible, together.visible.numpy())
    assert np.allclose(keypoints, together.keypoints.numpy())


def test_noise_is_a_share_of_the_box_and_grows_without_turning():
    one = world(40)
    small, large = (corrupted(one, Corruption(noise), LOWER).keypoints - one.keypoints for noise in (0.01, 0.02))
    shown = one.visible
    assert torch.allclose(2.0 * small[shown], large[shown], atol=1e-3)
    sides = torch.stack([torch.as_tensor(np.ptp(one.keypoints[i][shown[i]].numpy(), axis=0).max()) for i in range(40)])
    shares = (small / sides[:, None, None])[shown]
    assert float(shares.std()) == pytest.approx(0.01, rel=0.05)
    assert abs(float(shares.mean())) < 0.001


def test_more_hidden_hides_what_less_did():
    one = world()
    half, most = (corrupted(one, Corruption(hidden=share), LOWER).visible for share in (0.5, 0.9))
    assert not (most & ~half).any()
    assert not (half & ~one.visible).any()
    assert torch.equal(half.sum(1), (0.5 * one.visible.sum(1)).round().long())
    assert (corrupted(one, Corruption(hidden=1.0), LOWER).visible.sum(1) == 4).all()


def test_lower_halves_are_lost_in_a_share_of_the_instances():
    one = world(60)
    below = torch.from_numpy(LOWER)
    lost = []
    for rate in (0.0, 0.3, 1.0):
        visible = corrupted(one, Corruption(removed=rate), LOWER).visible
        assert torch.equal(visible[:, ~below], one.visible[:, ~below])
        lost.append((visible != one.visible).any(1))
    assert not lost[0].any()
    assert lost[2].float().mean() > 0.9
    assert 0.1 < lost[1].float().mean() < 0.5
    assert not (lost[1] & ~lost[2]).any()


def test_what_would_leave_too_little_is_left_alone():
    one = world(1)
    only_below = one.visible & torch.from_numpy(LOWER)
    assert torch.equal(corrupted(replace(one, visible=only_below), Corruption(removed=1.0), LOWER).visible, only_below)


def test_up_is_an_axis_of_the_template():
    heights = SURFACE.vertices.numpy()
    assert np.array_equal(lower_half(heights, 1), heights[:, 1] < (heights[:, 1].min() + heights[:, 1].max()) / 2)
    assert not np.array_equal(lower_half(heights, 0), LOWER)


def test_sources_of_other_corruptions_are_other_sources():
    source = source_of(world())
    cells = (Corruption(), Corruption(0.01), Corruption(removed=0.5), Corruption(seed=1))
    assert len({corrupted_source(source, cell, LOWER).identity for cell in cells}) == 4


def test_another_seed_is_other_noise_and_hides_others():
    one = world()
    first, same, other = (corrupted(one, Corruption(0.02, 0.5, seed=seed), LOWER) for seed in (1, 1, 2))
    assert torch.equal(first.keypoints, same.keypoints) and torch.equal(first.visible, same.visible)
    assert not torch.allclose(first.keypoints, other.keypoints) and not torch.equal(first.visible, other.visible)


@pytest.mark.parametrize(("upper", "left"), [(3, 9), (4, 4), (5, 5)])
def test_a_lower_half_is_lost_where_four_others_stay(upper, left):
    ids = np.sort(np.concatenate([np.flatnonzero(~LOWER)[:upper], np.flatnonzero(LOWER)[:6]]))
    stay, points = corrupt(ids, np.zeros((len(ids), 2)), "a", Corruption(removed=1.0), LOWER)
    assert len(stay) == len(points) == left


def test_halves_are_scored_apart():
    points = farthest_points(SURFACE.vertices, STRESS_POINTS)
    errors = torch.where(torch.from_numpy(LOWER)[points], 0.3, 0.1).expand(4, -1)
    found = _halves(Scores({name: torch.ones(4) for name in METRICS}, vertex_errors=errors), SURFACE, LOWER)
    assert (found["upper"], found["lower"], found["mpjpe"]) == (0.1, 0.3, 1.0)
