"""Panoramas: their light is what arrives from them, their view is where the camera looks, and bad folders say so."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dp3d_data.errors import DependencyMissing, InputMissing, NothingToDo
from dp3d_data.geometry import load_template
from dp3d_data.geometry.renderer import view_rotation
from dp3d_data.geometry.visibility import RayScene
from dp3d_data.synthesis import World, WorldConfig
from dp3d_data.synthesis.environments import (
    FLASHES,
    TOWARD,
    Light,
    _looked_up,
    _sphere,
    irradiance,
    panorama,
    panorama_paths,
    place_view,
    random_light,
    shaded,
    vertex_shading,
)
from tests.shared import shared


def light_on(ambient, normal):
    lifted = np.append(normal, 1)
    return np.einsum("i,cij,j->c", lifted, ambient, lifted)


@given(st.integers(0, 2**31))
def test_smooth_light_is_what_arrives_from_everywhere(seed):
    """The quadratic form against the sum over all directions, for light that changes slowly."""
    rng = np.random.default_rng(seed)
    directions, area = _sphere(32, 64)
    assert area.sum() == pytest.approx(4 * np.pi, rel=1e-2)
    picture = np.clip(0.5 + directions @ rng.normal(0, 0.15, (3, 3)), 0, None)
    normal = rng.normal(size=3)
    normal /= np.linalg.norm(normal)
    expected = (picture * (np.clip(directions @ normal, 0, None) * area)[:, :, None]).sum(axis=(0, 1)) / np.pi
    np.testing.assert_allclose(light_on(irradiance(picture, directions, area), normal), expected, rtol=0.02, atol=0.01)


def bright_spot(folder, row=40, column=100):
    """A grey panorama of 64 x 128 with a lamp, and the direction to it."""
    picture = np.full((64, 128, 3), 90, dtype=np.uint8)
    picture[row : row + 2, column : column + 2] = 255
    Image.fromarray(picture).save(folder / "lamp.png")
    polar, azimuth = (row + 1) * np.pi / 64, np.pi - (column + 1) * 2 * np.pi / 128
    return np.array([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)])


def test_the_sun_is_the_brightest_place_and_the_view_finds_it_there(tmp_path):
    toward = bright_spot(tmp_path)
    place, light = panorama(tmp_path / "lamp.png")
    assert light.sun @ toward > 0.999 and (light.sun_colour > 0).all()
    view = view_rotation(
        np.arctan2(-toward[1], -toward[0]), -np.arcsin(toward[2]), 0.0
    )  # the camera looks along `toward`
    np.testing.assert_allclose(view @ toward, [0, 0, 1], atol=1e-9)
    picture = place_view(np.random.default_rng(1), place, view, 64)
    assert picture.shape == (64, 64, 3) and picture.min() >= 0 and picture.max() <= 1
    assert picture[28:36, 28:36].mean() > 1.05 * np.median(picture)
    seen, normal = light.turned(view), view @ toward
    np.testing.assert_allclose(seen.sun, view @ light.sun, atol=1e-9)
    np.testing.assert_allclose(seen.up, view @ [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(light_on(seen.ambient, normal), light_on(light.ambient, toward), atol=1e-9)


def test_light_without_a_place_comes_from_above():
    for seed in range(20):
        view = view_rotation(seed, 0.3, 0.1)
        light = random_light(np.random.default_rng(seed), view)
        shading = np.array([[*light.up, 0, 1.0], [*-light.up, 0, 1.0]])
        above, below = shaded(np.full((2, 3), 0.5), shading, light, 0.0)
        assert (above >= 0.8 * below).all() and below.min() > 0


def test_panoramas_stand_behind_the_animal(tmp_path):
    Image.new("RGB", (64, 32), (255, 60, 255)).save(tmp_path / "a.jpg")
    (tmp_path / "broken.png").write_text("no picture")
    dog = load_template("dog")
    world = World(dog, WorldConfig(size=64, environments=str(tmp_path)))
    assert not np.array_equal(world.sample(0).image, World(dog, WorldConfig(size=64)).sample(0).image)
    np.testing.assert_array_equal(
        world.sample(3).image, World(dog, WorldConfig(size=64, environments=str(tmp_path))).sample(3).image
    )


def test_exr_panoramas_are_read_in_linear_light(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    pixels = np.full((8, 16, 3), 0.25, dtype=np.float32)
    pixels[0, 0] = np.inf
    with exr.File({"type": exr.scanlineimage}, {"RGB": exr.Channel("RGB", pixels)}) as file:
        file.write(str(tmp_path / "a.exr"))
    picture, light = panorama(tmp_path / "a.exr")
    assert np.isfinite(picture).all() and np.isfinite(light.ambient).all()
    np.testing.assert_allclose(light.ambient[:, 3, 3], 0.3, rtol=0.2)


def test_real_panoramas_light_the_animal():
    pytest.importorskip("OpenEXR")
    folder = str(shared("data/environments"))
    for path in panorama_paths(folder):
        _, light = panorama(path)
        assert np.linalg.norm(light.sun) == pytest.approx(1)
        assert 0.1 < light_on(light.ambient, np.array([0, 0, 1.0])).mean() + light.sun_colour.mean() < 4


def test_folders_of_environments_must_hold_panoramas(tmp_path, monkeypatch):
    dog = load_template("dog")
    with pytest.raises(InputMissing, match="no such folder of environments"):
        World(dog, WorldConfig(environments=str(tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToDo, match="no panoramas in the folder"):
        World(dog, WorldConfig(environments=str(tmp_path / "empty")))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.exr").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(DependencyMissing, match="panoramas in EXR need OpenEXR"):
        World(dog, WorldConfig(environments=str(tmp_path / "full")))


GREY = np.full(3, 0.5)
ROUND = np.zeros((3, 4, 4))
ROUND[:, 3, 3] = 0.2  # the same light from everywhere


def shade(normal, lit=1.0, openness=1.0, gloss=0.0, gamma=1.0, sun=(0.0, -1.0, 0.0)):
    """The grey that one surface shows under a sun of brightness 0.6 and light of 0.2 from everywhere."""
    light = Light(np.array(sun), np.full(3, 0.6), ROUND, np.array([0.0, -1, 0]), gamma)
    found = shaded(GREY[None], np.array([[*normal, lit, openness]]), light, gloss)
    assert np.ptp(found) < 1e-6
    return found[0, 0]


def test_light_on_surfaces_by_hand():
    """The sun reaches a quarter past the edge of its half; shadow leaves what is open of the light around."""
    assert shade((0, -1, 0)) == pytest.approx(0.5 * (0.6 + 0.2))
    assert shade((0, -3, 0)) == pytest.approx(0.5 * (0.6 + 0.2))  # a normal of any length
    assert shade((1, 0, 0)) == pytest.approx(0.5 * (0.6 * 0.2 + 0.2))
    assert shade((0, 1, 0)) == pytest.approx(0.5 * 0.2)
    assert shade((0, -1, 0), lit=0.0, openness=0.5) == pytest.approx(0.5 * 0.1)
    assert shade((0, -1, 0), gamma=1 / 2.2) == pytest.approx(0.5 * 0.8 ** (1 / 2.2))


def test_a_gloss_shines_halfway_between_sun_and_camera():
    half = np.array([0, -1, -1]) / np.sqrt(2)
    matt, angle = shade(half), np.radians(20)
    beside = np.array([np.sin(angle), *np.cos(angle) * half[1:]])
    assert shade(half, gloss=0.3) - matt == pytest.approx(0.3 * 0.6)
    assert shade(beside, gloss=0.3) - shade(beside) == pytest.approx(0.3 * 0.6 * np.cos(angle) ** 12)
    assert shade(half, lit=0.0, gloss=0.3) == shade(half, lit=0.0)


def test_shadows_and_openness_of_a_plate_under_a_roof():
    """A floor with a smaller roof over its middle, the sun above: in camera axes, y down."""
    square = np.array([[-1.0, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]])
    floor, roof = square * 10, square * 2 - [0, 1.0, 0]
    middle = np.array([[0.0, 0, 0]])
    points = np.concatenate([floor, middle, roof])
    floor_faces = [[i, (i + 1) % 4, 4] for i in range(4)]
    faces = np.array([*floor_faces, [5, 6, 7], [5, 7, 8]])
    up = np.array([0.0, -1, 0])
    light = Light(up, np.ones(3), ROUND, up)
    shading = vertex_shading(RayScene(points, faces), light)
    np.testing.assert_allclose(np.abs(shading[:, 1]), 1, atol=1e-5)  # all is level
    facing = shading[0, 1] < 0
    corner, middle, roof = shading[0], shading[4], shading[5]
    assert facing and corner[3] == 1 and middle[3] == 0 and roof[3] == 1
    # four rays: straight up, up and toward the camera, up and to each side; a covered one counts 0.35
    slant = np.clip(np.array([1, np.sqrt(0.5), 0.6 / np.hypot(0.6, 1), 0.6 / np.hypot(0.6, 1)]) + 0.6, 0, 1)
    assert corner[4] == pytest.approx(0.25 * (0.5 + 0.5 * slant).sum(), abs=1e-5)
    assert middle[4] == pytest.approx(0.35 * corner[4], abs=1e-5)


def test_a_wall_that_faces_the_camera_is_more_open_than_its_back():
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    up = np.array([0.0, -1, 0])
    light, open_by_side = Light(up, np.ones(3), ROUND, up), {}
    for faces in ([[0, 1, 2], [0, 2, 3]], [[0, 2, 1], [0, 3, 2]]):
        shading = vertex_shading(RayScene(corners, np.array(faces)), light)
        open_by_side[bool(shading[0, 2] < 0)] = shading[:, 4]
    assert (open_by_side[True] > open_by_side[False] + 0.1).all()


def test_random_light_stands_above_or_at_the_camera():
    view = view_rotation(0.7, 0.3, 0.1)
    lights = [random_light(np.random.default_rng(seed), view) for seed in range(400)]
    suns = np.stack([light.sun for light in lights])
    np.testing.assert_allclose(np.linalg.norm(suns, axis=1), 1)
    for light in lights:
        np.testing.assert_allclose(light.up, view[:, 2])
    flash = suns @ TOWARD > 0.95
    assert 0.3 * FLASHES < flash.mean() < 2 * FLASHES
    heights = suns[~flash] @ view[:, 2]
    assert heights.min() > np.sin(np.radians(9)) and heights.max() < np.sin(np.radians(86))
    around = suns[~flash] @ view[:, :2]
    assert all((np.abs(around[:, axis].mean()) < 0.1) for axis in (0, 1))
    colours = np.stack([light.sun_colour for light in lights])
    np.testing.assert_allclose(colours[:, 0] + colours[:, 2], 2 * colours[:, 1])  # warm or cold
    ambient = np.stack([light.ambient[:, 3, 3] for light in lights])
    assert (ambient > 0).all() and 0.2 < ambient.mean() < 0.6


def test_light_along_rays_lies_between_pixels():
    """At the middles of pixels it is theirs, between two the mean of both, also where the panorama closes."""
    picture = np.random.default_rng(0).uniform(size=(6, 12, 3))
    polar = (np.arange(6)[:, None] + 0.5) * np.pi / 6
    azimuth = np.pi - (np.arange(12) + 0.5) * np.pi / 6

    def along(polar, azimuth):
        axes = np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth
        return _looked_up(picture, np.stack(axes, axis=2))

    np.testing.assert_allclose(along(polar, azimuth), picture, atol=1e-9)
    beside, below = (picture + np.roll(picture, -1, axis=1)) / 2, (picture[:-1] + picture[1:]) / 2
    np.testing.assert_allclose(along(polar, azimuth - np.pi / 12), beside, atol=1e-9)
    np.testing.assert_allclose(along(polar[:-1] + np.pi / 12, azimuth), below, atol=1e-9)
    np.testing.assert_allclose(along(0 * polar + 1e-6, azimuth)[0], picture[0], atol=1e-9)


def test_the_brightest_place_is_white_and_the_dark_is_black():
    view = view_rotation(0.3, 0.2, 0.0)
    bright, dark = (place_view(np.random.default_rng(2), np.full((16, 32, 3), value), view, 32) for value in (1e3, 0.0))
    assert bright.max() == 1 and np.median(bright) == 1 and not dark.any()
