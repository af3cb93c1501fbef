"""Left and right: the mirror map."""

import numpy as np
import pytest

from dp3d_data.geometry import load_template
from dp3d_data.geometry.symmetry import detect_symmetry, guessed_axes, mirror_map, mirrored_vertices
from tests.data.bodies.shapes import sphere
from tests.references.bodies import mirror_map_slow


def test_the_map_agrees_with_the_slow_twin():
    points = np.random.default_rng(0).standard_normal((60, 3))
    index, distance = mirror_map(points)
    assert np.array_equal(index, mirror_map_slow(points))
    assert np.allclose(distance, np.linalg.norm(points[index] - points * [1, -1, 1], axis=1))


def test_the_dog_is_exactly_symmetric():
    dog = load_template("dog")
    assert np.array_equal(dog.symmetry[dog.symmetry], np.arange(dog.num_vertices))
    assert np.array_equal(dog.vertices[dog.symmetry], dog.vertices * [1, -1, 1])
    assert np.array_equal(detect_symmetry(dog.vertices), dog.symmetry)


def test_the_dogs_bones_and_weights_are_symmetric():
    """Weights exactly; some tail joints of the source lie 0.4 mm beside the middle."""
    dog = load_template("dog")
    swap = {"L": "R", "R": "L"}
    names = dog.skeleton.names
    other = [names.index(n[:-1] + swap[n[-1]]) if n[-2:] in ("_L", "_R") else i for i, n in enumerate(names)]
    assert np.allclose(dog.skeleton.weights[dog.symmetry][:, other], dog.skeleton.weights, atol=1e-6)
    assert np.allclose(dog.skeleton.rest[other, :3, 3] * [1, -1, 1], dog.skeleton.rest[:, :3, 3], atol=5e-4)


def test_a_body_that_is_not_symmetric_has_no_map():
    assert detect_symmetry(np.random.default_rng(0).standard_normal((60, 3))) is None


def test_faces_tell_the_other_side_of_a_body_whose_sides_differ():
    points, faces = sphere(1)
    points = points * [1.0, 0.7, 1.3]
    exact, off = mirror_map(points)
    assert off.max() < 1e-9
    moved = points + [5, 7, -2] + np.random.default_rng(0).uniform(-0.02, 0.02, points.shape)
    assert np.array_equal(mirrored_vertices(moved, faces), exact)
    for pull, same in ((0.08, True), (0.2, False)):  # a twentieth of the extent is 0.13
        pulled = moved.copy()
        pulled[np.abs(points).prod(axis=1).argmax(), 2] += pull
        found = mirrored_vertices(pulled, faces)
        assert np.array_equal(found, exact) if same else found is None
    assert mirrored_vertices(moved, faces[1:]) is None, "a hole on one side"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_mirror_lies_across_the_axis_that_is_asked_for(axis):
    points = sphere(1)[0] * [1.0, 0.7, 1.3]
    index, off = mirror_map(points, axis)
    assert off.max() < 1e-9 and np.allclose(points[index], points * np.where(np.arange(3) == axis, -1, 1))


def standing(leg):
    """A body as a cloud: a box on four feet, and a head at +x; left and right alike."""
    rng = np.random.default_rng(0)
    half = rng.uniform([-1, 0, 0], [1, 0.3, 0.5], (200, 3))
    feet = np.array([[0.8, 0.25, -leg], [-0.8, 0.25, -leg]])
    head = rng.uniform([1, 0, 0.5], [1.4, 0.1, 0.9], (40, 3))
    half = np.concatenate([half, feet, head])
    return np.concatenate([half, half * [1, -1, 1]])


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_a_body_stands_on_few_points_that_lie_wide_apart_and_looks_where_its_upper_half_lies(scale):
    points = standing(0.6) * scale + [3, 4, 5]
    assert guessed_axes(points) == "+x+y+z"
    assert guessed_axes(points * [-1, 1, -1]) == "-x+y-z"
    assert guessed_axes(points[:, [2, 0, 1]]) == "+y+z+x"
