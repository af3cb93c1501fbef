"""The forward-backward weight: the slow twin, its laws, and what it is for."""

from inspect import unwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data.errors import ShapeError
from dp3d_data.matching import VertexIndex, cycle_weights, dense_prediction, view_of
from dp3d_data.matching.nearest import _largest_products, best_pixels
from tests.references.matching import cycle_weights_slow

sizes = st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(2, 8), st.integers(0, 2**31))


def scene(case):
    """Pixel embeddings of any length, the nearest vertex of each, positions, unit vertices."""
    count, vertices, dim, seed = case
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(vertices, dim))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("f4")
    pixels = (rng.normal(size=(count, dim)) * rng.uniform(0.1, 10, (count, 1))).astype("f4")
    return pixels, VertexIndex(rows).search(pixels), rng.uniform(0, 100, (count, 2)), rows


@settings(max_examples=60, deadline=None)
@given(sizes, st.floats(1, 50))
def test_weights_equal_the_slow_twin(case, reach):
    pixels, ids, positions, rows = scene(case)
    found = cycle_weights(pixels, ids, positions, rows, reach)
    assert found.dtype == np.float32 and found.shape == (len(pixels),)
    np.testing.assert_allclose(found, cycle_weights_slow(pixels, ids, positions, rows, reach), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(0, 2**31))
def test_neither_order_nor_length_of_the_embeddings_counts(case, seed):
    pixels, ids, positions, rows = scene(case)
    rng = np.random.default_rng(seed)
    order, lengths = rng.permutation(len(pixels)), 2.0 ** rng.integers(-3, 4, (len(pixels), 1))
    one = cycle_weights(pixels, ids, positions, rows, 10.0)
    other = cycle_weights((pixels * lengths).astype("f4")[order], ids[order], positions[order], rows, 10.0)
    np.testing.assert_array_equal(one[order], other)


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_weights_lie_between_0_and_1_and_each_cycle_that_closes_weighs_1(case):
    pixels, ids, positions, rows = scene(case)
    weights = cycle_weights(pixels, ids, positions, rows, 5.0)
    assert ((0 <= weights) & (weights <= 1)).all()
    if len(pixels):
        closed = best_pixels(pixels, rows)[ids] == np.arange(len(pixels))
        assert (weights[closed] == 1).all()


@settings(max_examples=30, deadline=None)
@given(sizes)
def test_the_matrix_product_answers_as_faiss_does(case):
    pixels, _, _, rows = scene(case)
    if len(pixels):
        directions = pixels / np.linalg.norm(pixels, axis=1, keepdims=True)
        np.testing.assert_array_equal(_largest_products(rows, directions, "cpu"), best_pixels(pixels, rows))


def test_two_far_clusters_of_one_vertex_get_a_small_weight_and_one_cluster_a_large_one():
    """Vertex 0 is seen at the left and, less clearly, at the right; vertex 1 is seen once."""
    rows = np.eye(2, 3, dtype="f4")
    embedding = np.zeros((3, 1, 40), dtype="f4")
    embedding[0, 0, :10], embedding[:2, 0, 30:] = 2.0, [[1.0], [0.4]]
    embedding[1, 0, 10:30] = 1.0
    segm = np.stack([np.zeros((1, 40)), np.ones((1, 40))]).astype("f4")
    view = view_of(dense_prediction((3, 7, 43, 8), embedding, segm, VertexIndex(rows), cycle=True), 2)
    assert view.ids.tolist() == [0, 1] and view.counts.tolist() == [20, 20]
    assert view.keypoints.tolist() == [[23.0, 7.5], [23.0, 7.5]]
    assert 0.1 < view.cycle[0] < 0.4, "a reach of two pixels, of the box's longer side"
    assert view.cycle[1] > 0.14


def test_without_being_asked_there_is_no_weight():
    maps = np.ones((2, 2, 2), dtype="f4")
    segm = np.stack([np.zeros((2, 2)), np.ones((2, 2))]).astype("f4")
    assert view_of(dense_prediction((0, 0, 2, 2), maps, segm, VertexIndex(np.eye(2, dtype="f4"))), 2).cycle is None


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ShapeError, match="one vertex and one position for each pixel"):
        unwrap(cycle_weights)(np.ones((2, 2)), np.zeros(1, int), np.ones((2, 2)), np.eye(2), 1.0)
    with pytest.raises(ShapeError, match="a positive reach"):
        cycle_weights(np.ones((1, 2), "f4"), np.zeros(1, int), np.ones((1, 2)), np.eye(2, dtype="f4"), 0.0)
