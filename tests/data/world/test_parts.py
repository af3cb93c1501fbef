"""The parts of the world: poses within limits, cameras that turn rightly, coats and fields."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.geometry import load_template
from dp3d_data.geometry.renderer import view_rotation
from dp3d_data.synthesis import poses
from dp3d_data.synthesis.backgrounds import indoors, outdoors, plain, texture
from dp3d_data.synthesis.cameras import placed_camera, project, random_view
from dp3d_data.synthesis.coats import body_map, coat_colours, random_coat
from dp3d_data.synthesis.effects import SIDE, SolidNoise, matted, photographed, pixel_noise
from dp3d_data.synthesis.poses import Angles, random_pose
from dp3d_data.synthesis.proportions import joint_role, joint_roles, random_proportions
from dp3d_data.synthesis.shapes import occluders

seeds = st.integers(0, 2**31)


@given(st.floats(-7, 7), st.floats(-1.5, 1.5), st.floats(-1, 1))
def test_a_view_is_a_rotation(azimuth, elevation, roll):
    rotation = view_rotation(azimuth, elevation, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_views_look_where_they_say():
    up, forward, left = np.eye(3)[2], np.eye(3)[0], np.eye(3)[1]
    front = view_rotation(0, 0, 0)
    np.testing.assert_allclose(front @ forward, [0, 0, -1], atol=1e-12)  # the nose points at the viewer
    np.testing.assert_allclose(front @ up, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(front @ left, [1, 0, 0], atol=1e-12)  # whose right hand is the animal's left
    np.testing.assert_allclose(view_rotation(0, np.pi / 2, 0) @ up, [0, 0, -1], atol=1e-12)


@given(seeds)
def test_whole_animals_lie_in_the_image(seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(50, 3))
    camera = placed_camera(rng, points, np.zeros(3), 200, truncated=0.0, perspective=0.0)
    flat = project(points, *camera)[:, :2]
    assert (flat >= -1e-6).all() and (flat <= 200 + 1e-6).all()


@pytest.mark.parametrize("kind", list(poses.POSES))
def test_poses_keep_the_limits_of_the_hinges(kind, monkeypatch):
    skeleton = load_template("dog").skeleton
    seen = []
    monkeypatch.setattr(
        poses, "hinges_to_rotations", lambda s, angles: seen.append(angles) or np.zeros((s.num_joints, 3, 3))
    )
    for seed in range(5):
        rng = np.random.default_rng(seed)
        assert random_pose(rng, skeleton, random_proportions(rng), (kind,))[2] == kind
    low, high = np.asarray(skeleton.hinge_range, dtype=np.float64).T
    assert ((np.array(seen) >= low) & (np.array(seen) <= high)).all()
    assert np.ptp(np.array(seen), axis=0).max() > 0.1


def test_angles_are_addressed_by_parts_of_names():
    angles = Angles(load_template("dog").skeleton)
    angles.add("knee_L", 0.5)
    assert [angles.names[i] for i in np.flatnonzero(angles.values)] == ["knee_L"]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("upper_leg_L", "leg"),
        ("Ca_7", "tail"),
        ("C_3", "neck"),
        ("skull", "head"),
        ("Ear2.L", "ear"),
        ("FrontShoulder.R", "shoulder"),
        ("b_Neck_04", "neck"),
        ("b_LeftForeArm_010", "leg"),
        ("Torso2", "trunk"),
        ("L_3", "trunk"),
        ("finger_R", "toe"),
        ("xyz", "other"),
    ],
)
def test_names_of_joints_tell_their_role(name, role):
    assert joint_role(name) == role


def test_every_joint_of_the_dog_has_a_role():
    assert "other" not in joint_roles(load_template("dog").skeleton)


@given(seeds)
def test_solid_noise_is_periodic_and_bounded(seed):
    rng = np.random.default_rng(seed)
    noise, points = SolidNoise(rng), rng.uniform(0, 3, (40, 3))
    np.testing.assert_allclose(noise(points, 1.0), noise(points + SIDE, 1.0), atol=2e-3)
    assert np.abs(noise(points, 5.0)).max() <= 1.7


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 60))
def test_pixel_noise_has_the_size_asked_for(height, width, cells):
    assert pixel_noise(np.random.default_rng(0), height, width, cells).shape == (height, width)


@pytest.mark.parametrize("seed", range(16))
def test_coats_are_colours(seed):
    template = load_template("dog")
    (places, dark), coat = body_map(template), random_coat(np.random.default_rng(seed))
    colours = coat_colours(coat, dark, template.vertices, np.stack(list(places.values()), axis=1))
    assert colours.shape == template.vertices.shape and (colours > 0).all() and (colours <= 1).all()
    nose, left_eye, right_eye = (np.argmin(np.linalg.norm(template.vertices - place, axis=1)) for place in dark)
    assert colours[[nose, left_eye, right_eye]].max() < 0.1
    assert template.vertices[left_eye, 1] > 0 > template.vertices[right_eye, 1]


@pytest.mark.parametrize("make", [outdoors, indoors, texture, plain])
@pytest.mark.parametrize("size", [32, 100])
def test_scenes_are_pictures(make, size):
    for seed in range(6):
        picture = make(np.random.default_rng(seed), size, 0.1 * seed)
        assert picture.shape == (size, size, 3) and np.isfinite(picture).all()
        assert picture.min() >= -1e-3 and picture.max() <= 1.001


def test_the_edge_of_the_animal_is_soft():
    mask = np.zeros((20, 20), dtype=bool)
    mask[5:15, 5:15] = True
    picture = matted(np.zeros((20, 20, 3)), np.ones((20, 20, 3)) * mask[:, :, None], mask)[:, :, 0]
    assert picture[10, 10] == 1 and picture[1, 1] == 0
    assert 0 < picture[10, 4] < picture[10, 5] < 1


@given(seeds)
def test_photographs_are_bytes(seed):
    image = photographed(np.random.default_rng(seed), np.full((32, 32, 3), 0.4, dtype=np.float32))
    assert image.dtype == np.uint8 and image.shape == (32, 32, 3)


@given(seeds)
def test_occluders_leave_half_of_the_animal(seed):
    mask = np.zeros((64, 64), dtype=bool)
    mask[20:50, 10:50] = True
    hidden = occluders(
        np.random.default_rng(seed), np.zeros((64, 64, 3), dtype=np.float32), mask, np.array([12.0, 25.0])
    )
    assert (hidden & mask).sum() <= 0.5 * mask.sum()


def test_cameras_keep_their_distance_and_cut_images_show_the_head():
    points, focus = np.array([[-0.9, 0.5, 0.3], [0.9, -0.5, -0.8], [0.2, 0.1, 0.0]]), np.array([0.9, -0.5, -0.8])
    shown = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        camera = placed_camera(rng, points, focus, 100, truncated=1.0, perspective=2.0)
        assert 0.5 <= 1 / camera[2] - 0.8 <= 10.001
        place = project(focus[None], *camera)[0, :2]
        shown += bool((place >= 25 - 1e-6).all() and (place <= 75 + 1e-6).all())
    assert shown >= 80, "half of them, by chance a few less"


def test_a_third_of_the_views_are_from_the_flank():
    rng = np.random.default_rng(0)
    azimuths = np.abs(np.rad2deg([random_view(rng)[1][0] for _ in range(2000)]))
    assert ((azimuths > 40) & (azimuths < 90)).mean() == pytest.approx(0.367, abs=0.04)
