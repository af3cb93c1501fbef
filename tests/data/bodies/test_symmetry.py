"""Left and right: the mirror map."""

import numpy as np

from dp3d_data.geometry import load_template
from dp3d_data.geometry.symmetry import detect_symmetry, mirror_map
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
