"""Composed training images: what moves takes its truth along."""

import numpy as np
import pytest

from dp3d_data.detection.training.compose import (
    HIDDEN,
    Picture,
    colour_jittered,
    copy_pasted,
    mirrored,
    random_crop,
    similarity,
    warped,
)
from dp3d_data.geometry import load_template


@pytest.fixture(scope="module")
def dog():
    return load_template("dog")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def marked(size=40, low=12, high=26, colour=200, vertex=300):
    """A square object on black: its colour, number and vertices known."""
    image = np.zeros((size, size, 3), dtype=np.uint8)
    objects, vertices = np.full((size, size), -1, dtype=np.int32), np.full((size, size), -1, dtype=np.int32)
    image[low:high, low:high] = colour
    objects[low:high, low:high] = 0
    vertices[low:high, low:high] = vertex + np.arange(high - low)[:, None]
    return Picture(image, objects, vertices)


def test_the_identity_changes_nothing():
    picture = marked()
    same = warped(picture, similarity(1.0, 0.0, np.array([5.0, 9.0]), np.array([5.0, 9.0])))
    for name in vars(picture):
        np.testing.assert_array_equal(getattr(same, name), getattr(picture, name))


def test_a_similarity_brings_the_centre_to_its_place():
    source_from_target = similarity(2.0, 0.7, np.array([3.0, 4.0]), np.array([30.0, 20.0]))
    np.testing.assert_allclose(source_from_target @ [30, 20, 1], [3, 4])
    away = source_from_target @ [32, 20, 1] - [3, 4]
    assert np.linalg.norm(away) == pytest.approx(1.0)


def test_an_enlarged_object_takes_its_truth_along():
    picture = marked()
    centre = np.array([20.0, 20.0])
    large = warped(picture, similarity(2.0, 0.0, centre, centre))
    assert (large.objects == 0).sum() == pytest.approx(4 * (picture.objects == 0).sum(), rel=0.05)
    shown = large.objects >= 0
    np.testing.assert_array_equal(shown, large.vertex_map >= 0)
    assert large.image[shown].min() > 90 and set(np.unique(large.vertex_map[shown])) <= set(range(300, 314))


@pytest.mark.parametrize("seed", range(6))
def test_framing_leaves_no_empty_corner(seed):
    picture = marked()
    white = Picture(np.full_like(picture.image, 255), picture.objects, picture.vertex_map)
    assert random_crop(np.random.default_rng(seed), white).image.min() > 250


def test_mirroring_swaps_sides_and_twice_changes_nothing(dog, rng):
    """Laws for a template whose symmetry is its own inverse; y is left on the dog."""
    ids = rng.integers(-1, dog.num_vertices, (6, 8)).astype(np.int32)
    picture = Picture(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), np.where(ids >= 0, 0, -1), ids)
    once = mirrored(picture, dog.symmetry)
    twice = mirrored(once, dog.symmetry)
    for name in vars(picture):
        np.testing.assert_array_equal(getattr(twice, name), getattr(picture, name))
    inside, mirror = ids >= 0, once.vertex_map[:, ::-1]
    np.testing.assert_array_equal(mirror >= 0, inside)
    np.testing.assert_allclose(dog.vertices[mirror[inside]], dog.vertices[ids[inside]] * [1, -1, 1], atol=1e-3)


def test_what_is_laid_over_covers_and_has_its_own_truth():
    below, above = marked(colour=90, vertex=100), marked(colour=220, vertex=900)
    seen = 0
    for seed in range(20):
        both = copy_pasted(np.random.default_rng(seed), below, above)
        if both is below:
            continue
        seen += 1
        new = both.objects == 1
        assert (both.vertex_map[new] >= 900).all() and (both.vertex_map[both.objects == 0] < 900).all()
        hidden = new & (below.objects == 0)
        assert hidden.sum() <= HIDDEN * (below.objects == 0).sum()
    assert seen > 5


def test_a_small_animal_is_not_hidden_by_a_large_one():
    below, above = marked(low=16, high=24), marked(low=6, high=34, vertex=900)
    size = (below.objects == 0).sum()
    for seed in range(20):
        both = copy_pasted(np.random.default_rng(seed), below, above)
        assert (both.objects == 0).sum() >= (1 - HIDDEN) * size


def test_animals_cut_by_their_border_are_not_laid_over(rng):
    below, cut = marked(), marked(low=0, high=14)
    assert copy_pasted(rng, below, cut) is below


def test_colour_jitter_keeps_the_order_of_greys(rng):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for _ in range(10):
        lit = colour_jittered(rng, ramp).astype(int)
        assert (np.diff(lit, axis=1) >= 0).all() and lit.dtype == int
