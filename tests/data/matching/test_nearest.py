"""Exact nearest vertex: the slow twin, both back ends, ties, the recorded reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data.errors import NotFinite, ShapeError
from dp3d_data.matching import VertexIndex, nearest_vertices
from dp3d_data.matching.nearest import _torch_search
from tests.references.matching import nearest_vertices_slow

sizes = st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**31))


def random_embeddings(case):
    pixels, vertices, dim, seed = case
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(vertices, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return (rng.normal(size=(pixels, dim)) * rng.uniform(0.1, 10)).astype("f4"), rows.astype("f4")


def squared_distances(pixels, vertices):
    return np.square(pixels[:, None].astype("f8") - vertices[None].astype("f8")).sum(axis=2)


def assert_nearest_but_for_rounding(found, pixels, vertices):
    """No vertex is nearer than the one found by more than float32 can tell."""
    distances = squared_distances(pixels, vertices)
    scale = np.square(np.linalg.norm(pixels, axis=1) + 1)
    excess = distances[np.arange(len(found)), found] - distances.min(axis=1, initial=np.inf)
    assert (excess <= 4e-6 * scale).all()


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_search_equals_the_slow_twin(case):
    pixels, vertices = random_embeddings(case)
    found = nearest_vertices(pixels, vertices)
    assert found.dtype == np.int32 and found.shape == (len(pixels),)
    assert_nearest_but_for_rounding(found, pixels, vertices)
    slow = np.array(nearest_vertices_slow(pixels, vertices), dtype=int)
    two_nearest = np.sort(squared_distances(pixels, vertices), axis=1)[:, :2]
    clear = np.diff(two_nearest, axis=1)[:, 0] > 1e-4 if len(vertices) > 1 else np.ones(len(pixels), bool)
    assert (found == slow)[clear].all()


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_the_matrix_product_answers_as_faiss_does(case):
    pixels, vertices = random_embeddings(case)
    if len(pixels) == 0:
        return
    by_product = _torch_search(vertices, "cpu")(pixels)
    assert_nearest_but_for_rounding(by_product, pixels, vertices)


def test_equal_embeddings_answer_with_the_smallest_id():
    rng = np.random.default_rng(0)
    distinct = rng.normal(size=(500, 16)).astype("f4")
    vertices = np.concatenate([distinct] * 3)[rng.permutation(1500)]
    pixels = rng.normal(size=(3000, 16)).astype("f4")
    found = nearest_vertices(pixels, vertices)
    for vertex in np.unique(found):
        assert vertex == np.flatnonzero((vertices == vertices[vertex]).all(axis=1))[0]
    index = VertexIndex(vertices)
    by_product = index._first_equal[_torch_search(vertices, "cpu")(pixels)]
    assert (by_product == found).mean() > 0.999


def test_batches_do_not_change_the_answer():
    rng = np.random.default_rng(1)
    index = VertexIndex(rng.normal(size=(700, 16)))
    pixels = rng.normal(size=(4096, 16)).astype("f4")
    whole = index.search(pixels)
    for size in (1, 7, 100, 1000):
        pieces = [index.search(pixels[start : start + size]) for start in range(0, 2000, size)]
        assert (np.concatenate(pieces) == whole[: sum(map(len, pieces))]).all()


def test_a_pixel_with_a_vertex_embedding_finds_that_vertex():
    rng = np.random.default_rng(2)
    vertices = rng.normal(size=(300, 8))
    vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
    assert (nearest_vertices(3.0 * vertices, vertices) == np.arange(300)).all()


def test_wrong_shapes_and_bad_numbers_are_named():
    index = VertexIndex(np.eye(4))
    with pytest.raises(ShapeError, match="differ in dimension"):
        index.search(np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="a row per vertex"):
        VertexIndex(np.zeros((0, 3)))
    with pytest.raises(NotFinite, match="pixel embeddings hold NaN or infinity"):
        index.search(np.full((2, 4), np.nan))
    with pytest.raises(NotFinite, match="vertex embeddings hold NaN"):
        VertexIndex(np.array([[np.inf, 0.0]]))
