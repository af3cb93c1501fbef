"""What makes breeds: ears that fold, muzzles, bellies, gear on the coat; and heads that turn to the viewer."""

from dataclasses import replace

import numpy as np
import pytest

from dp3d_data.geometry import load_template, pose_vertices
from dp3d_data.geometry.rigging import rigged
from dp3d_data.synthesis import poses
from dp3d_data.synthesis.cameras import random_view
from dp3d_data.synthesis.coats import body_map, coat_colours, random_coat
from dp3d_data.synthesis.proportions import Proportions, featured, random_proportions, role_weights
from tests.shared import shared

NEUTRAL = Proportions({})


@pytest.fixture(scope="module")
def dog():
    return load_template("dog")


def test_no_features_leave_the_template(dog):
    np.testing.assert_allclose(featured(dog, NEUTRAL), dog.vertices, atol=1e-7)
    still = featured(dog, random_proportions(np.random.default_rng(0), 0.0))
    np.testing.assert_allclose(still, dog.vertices, atol=1e-7)


def test_hanging_ears_hang_and_move_nothing_else(dog):
    ears = role_weights(dog.skeleton)["ear"]
    hung = featured(dog, replace(NEUTRAL, floppy=1.0, ear_crease=0.0))
    assert hung[ears > 0.5, 2].max() < dog.vertices[ears > 0.5, 2].max() - 0.02
    assert hung[ears > 0.5, 2].min() < dog.vertices[ears > 0.5, 2].min() - 0.02
    np.testing.assert_allclose(hung[ears == 0], dog.vertices[ears == 0], atol=1e-6)
    np.testing.assert_allclose(hung[dog.symmetry] * [1, -1, 1], hung, atol=5e-3)


def test_short_muzzles_are_short(dog):
    short, long = (featured(dog, replace(NEUTRAL, muzzle=length))[:, 0].max() for length in (0.5, 1.15))
    assert short < dog.vertices[:, 0].max() - 0.03 < long


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cow", "husky.glb", "fox_khronos.glb", "alpaca.glb"])
def test_other_bodies_have_features_too(name):
    template = rigged(load_template(name if name == "cow" else shared(f"data/rigs/{name}")))
    for seed in range(10):
        points = featured(template, random_proportions(np.random.default_rng(seed)))
        assert np.isfinite(points).all() and np.abs(points - template.vertices).max() < 0.4


def test_a_collar_is_on_the_neck(dog):
    (places, dark), coat = body_map(dog), random_coat(np.random.default_rng(0))
    stacked = np.stack(list(places.values()), axis=1)
    plain = coat_colours(replace(coat, gear=()), dark, dog.vertices, stacked)
    collar = ("neck", 0.4, 0.6, np.array([0.9, 0.1, 0.9]))
    worn = coat_colours(replace(coat, gear=(collar,)), dark, dog.vertices, stacked)
    changed = np.abs(worn - plain).max(axis=1) > 0
    assert changed.sum() > 5
    assert dog.vertices[changed, 0].min() > 0.2 and not (changed & (role_weights(dog.skeleton)["leg"] > 0.5)).any()


@pytest.mark.parametrize("azimuth", [-0.9, 0.0, 0.9])
def test_heads_turn_to_the_viewer(dog, azimuth, monkeypatch):
    monkeypatch.setattr(poses, "WATCHING", 1.0)
    nose = np.argmax(dog.vertices[:, 0])
    skull = role_weights(dog.skeleton)["head"] > 0.9
    toward = np.array([np.cos(azimuth), np.sin(azimuth), 0])
    facing = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rotations, stance, _ = poses.random_pose(rng, dog.skeleton, NEUTRAL, ("stand",), toward=(azimuth, 0.0))
        points = pose_vertices(dog, rotations) @ stance.T
        look = points[nose] - points[skull].mean(axis=0)
        facing.append(look @ toward / np.linalg.norm(look))
    assert np.mean(facing) > 0.8


def test_viewers_stand_where_they_say():
    for seed in range(50):
        view, (azimuth, elevation) = random_view(np.random.default_rng(seed))
        toward = -view[2]  # the template's axes
        expected = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        np.testing.assert_allclose(toward, expected, atol=1e-9)
