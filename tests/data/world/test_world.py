"""The world: determined by seed and index, and true to its own geometry."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dp3d_data.errors import InputMissing, NothingToDo, UsageError
from dp3d_data.geometry import load_template
from dp3d_data.synthesis import World, WorldConfig
from dp3d_data.synthesis.backgrounds import photo_crop
from dp3d_data.synthesis.cameras import random_strength
from dp3d_data.synthesis.environments import panorama
from dp3d_data.synthesis.poses import POSES, Angles, small_turns, weakened
from tests.data.hostile import make_hostile
from tests.shared import shared

INDICES = range(0, 24, 3)


@pytest.fixture(scope="module")
def dog():
    return load_template("dog")


@pytest.fixture(scope="module")
def instances(dog):
    world = World(dog, WorldConfig(seed=11, size=128, occluded=0.5))
    return [world.sample(index) for index in INDICES]


def test_the_same_index_gives_the_same_instance_in_any_order(dog, instances):
    world = World(dog, WorldConfig(seed=11, size=128, occluded=0.5))
    for index, first in reversed(list(zip(INDICES, instances, strict=True))):
        again = world.sample(index)
        for name in ("image", "mask", "vertex_map", "keypoints", "visible", "true_vertices", "box"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_another_seed_or_index_gives_another_image(dog, instances):
    other = World(dog, WorldConfig(seed=12, size=128)).sample(0)
    assert not np.array_equal(other.image, instances[0].image)
    assert not np.array_equal(instances[1].image, instances[0].image)


def test_without_images_the_geometry_is_the_same(dog, instances):
    world = World(dog, WorldConfig(seed=11, size=128, occluded=0.5))
    for index, full in zip(INDICES, instances, strict=True):
        quick = world.sample(index, render_image=False)
        assert quick.image is quick.mask is quick.vertex_map is None
        np.testing.assert_array_equal(quick.keypoints, full.keypoints)
        assert not (full.visible & ~quick.visible).any()


def test_keypoints_are_projections_of_the_true_vertices(instances):
    for one in instances:
        np.testing.assert_allclose(one.keypoints, one.scale * one.true_vertices[:, :2] + one.translation, atol=1e-3)
        rotation = one.camera_from_template
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_box_is_tight_around_the_mask(instances):
    for one in instances:
        x0, y0, x1, y1 = one.box.astype(int)
        assert one.mask[y0:y1, x0:x1].sum() == one.mask.sum()
        assert one.mask[y0].any() and one.mask[y1 - 1].any() and one.mask[:, x0].any() and one.mask[:, x1 - 1].any()
        np.testing.assert_array_equal(one.mask, one.vertex_map >= 0)


def test_visible_vertices_are_found_in_the_vertex_map(dog, instances):
    """A visible vertex projects where the map, within three pixels, names a vertex that is close to it on the body."""
    for one in instances:
        found = []
        for vertex in np.flatnonzero(one.visible):
            x, y = np.floor(one.keypoints[vertex]).astype(int)
            window = one.vertex_map[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
            near = window[window >= 0]
            if len(near):
                found.append(np.linalg.norm(one.true_vertices[near] - one.true_vertices[vertex], axis=1).min())
            else:
                found.append(np.inf)
        assert np.mean(np.array(found) < 0.04) > 0.97


def test_pixels_lie_near_the_projections_of_their_vertices(instances):
    for one in instances:
        rows, columns = np.nonzero(one.vertex_map >= 0)
        expected = one.keypoints[one.vertex_map[rows, columns]]
        distance = np.linalg.norm(expected - np.stack([columns, rows], axis=1) - 0.5, axis=1)
        assert np.quantile(distance, 0.95) < 0.06 * one.scale + 3


def test_visible_vertices_are_in_the_image_and_on_one_side(instances):
    for one in instances:
        inside = one.keypoints[one.visible]
        assert (inside >= 0).all() and (inside < 128).all()
        assert 0.02 < one.visible_area < 0.6


def test_images_of_one_animal_share_their_group(dog):
    world = World(dog, WorldConfig(size=64, identity_images=3))
    groups = [world.sample(index, render_image=False).group for index in range(7)]
    assert groups[:3] == groups[:1] * 3 and groups[3:6] == groups[3:4] * 3
    assert len(set(groups)) == 3


def test_bodies_differ_between_animals_and_not_at_strength_zero(dog):
    still = World(dog, WorldConfig(proportions=0.0)).identity(3)
    np.testing.assert_allclose(still.scales, 1)
    assert still.proportions.fluff == 0
    first, second = (World(dog, WorldConfig()).identity(number).scales for number in (0, 1))
    assert np.abs(first - second).max() > 0.05


def test_poses_of_the_kinds_asked_for(dog):
    world = World(dog, WorldConfig(poses="sit, lie"))
    assert {world.sample(index, render_image=False).pose for index in range(12)} == {"sit", "lie"}
    with pytest.raises(UsageError, match="no such kind of pose of dog"):
        World(dog, WorldConfig(poses="fly"))


def test_poses_of_strength_zero_are_the_template(dog):
    world = World(dog, WorldConfig(poses="sit", bending=0.0, proportions=0.0))
    one = world.sample(0, render_image=False)
    rest = dog.vertices.astype(np.float64) @ one.camera_from_template.T
    moved = one.true_vertices - one.true_vertices.mean(0) - (rest - rest.mean(0))
    assert np.abs(moved).max() < 1e-5


@given(st.integers(0, 2**31))
def test_half_a_turn_twice_is_the_turn(seed):
    turns = small_turns(np.random.default_rng(seed), 5, 0.8)
    half = weakened(turns, 0.5)
    np.testing.assert_allclose(half @ half, turns, atol=1e-9)
    assert np.array_equal(weakened(turns, 0.0), np.broadcast_to(np.eye(3), turns.shape))


def test_perspective_bends_the_projection_only_where_asked(dog):
    one = World(dog, WorldConfig(seed=3, perspective=0.9)).sample(1, render_image=False)
    flat = one.scale * one.true_vertices[:, :2] + one.translation
    assert np.abs(flat - one.keypoints).max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["husky.glb", "fox_khronos.glb"])
def test_a_rig_with_clips_has_a_world(name):
    template = load_template(shared(f"data/rigs/{name}"))
    one = World(template, WorldConfig(size=96)).sample(2)
    assert one.image.shape == (96, 96, 3) and one.mask.any() and one.visible.any()


def test_photographs_stand_behind_the_animal(dog, tmp_path):
    Image.new("RGB", (80, 60), (255, 0, 255)).save(tmp_path / "a.png")
    (tmp_path / "broken.jpg").write_text("no picture")
    world = World(dog, WorldConfig(size=64, backgrounds=str(tmp_path)))
    pictures = [world.sample(index).image.astype(int) for index in range(12)]
    purple = [((p[..., 0] - p[..., 1] > 80) & (p[..., 2] - p[..., 1] > 80)).mean() > 0.2 for p in pictures]
    assert 1 <= sum(purple) <= 9


@pytest.mark.parametrize("name", ["wide.png", "bomb.png", "postscript.jpg", "text.jpg", "truncated.jpg"])
def test_backgrounds_have_the_formats_and_limits_of_photographs(tmp_path, name):
    folder, rng = make_hostile(tmp_path / "photos"), np.random.default_rng(0)
    assert photo_crop(rng, 32, (folder / name,)) is None and panorama(folder / name) is None
    assert photo_crop(rng, 32, (folder / "plain.jpg",)).shape == (32, 32, 3)


def test_folders_of_backgrounds_must_hold_photographs(dog, tmp_path):
    with pytest.raises(InputMissing, match="no such folder of backgrounds"):
        World(dog, WorldConfig(backgrounds=str(tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToDo, match="no photographs in the folder"):
        World(dog, WorldConfig(backgrounds=str(tmp_path / "empty")))


@pytest.mark.slow
def test_a_bare_mesh_gets_limbs_of_its_own(dog):
    world = World(replace(dog, skeleton=None), WorldConfig(size=64, truncated=0.0))
    assert world.template.skeleton is not None and world.template.content_hash == dog.content_hash
    kinds = {world.sample(index, render_image=False).pose for index in range(0, 40, 4)}
    assert len(kinds) > 2


def test_companions_share_the_image_and_no_pixel(dog):
    """A scene's own animal is the same with and without others, apart from what they hide; every box hugs its mask."""
    config = WorldConfig(seed=5, size=96, occluded=0.0)
    alone, together = World(dog, config), World(dog, replace(config, companions=1.0))
    several = 0
    for index in range(6):
        one, scene = alone.sample(index), together.scene(index)
        own = scene[0]
        several += len(scene) > 1
        np.testing.assert_array_equal(own.keypoints, one.keypoints)
        assert not (own.mask & ~one.mask).any() and not (own.visible & ~one.visible).any()
        assert np.sum([animal.mask for animal in scene], axis=0).max() <= 1
        assert len({animal.group for animal in scene}) == len(scene)
        for animal in scene:
            np.testing.assert_array_equal(animal.mask, animal.vertex_map >= 0)
    assert several >= 4


def test_perspective_comes_as_near_as_asked_and_no_nearer():
    rng = np.random.default_rng(0)
    depth = 0.3
    distances = np.array([1 / random_strength(rng, 2.0, depth) - depth for _ in range(500)])
    assert 0.5 <= distances.min() < 0.6 and 8 < distances.max() <= 10
    assert random_strength(rng, 0.0, depth) == 0


@pytest.mark.parametrize("kind", POSES)
def test_no_kind_of_pose_turns_the_body_over(dog, kind):
    angles = Angles(dog.skeleton)
    for seed in range(5):
        pitch, roll = POSES[kind][1](np.random.default_rng(seed), angles)
        assert abs(pitch) < 1.5 and abs(roll) < 1.7
