"""Matching on another device gives the vertices and weights of faiss, ties aside."""

import numpy as np
import pytest

from dp3d_data.errors import NotFinite
from dp3d_data.matching import cycle_weights
from dp3d_data.matching.nearest import VertexIndex, best_pixels
from tests.gpu.devices import ELSEWHERE


def unit_rows(count, dim, seed):
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@ELSEWHERE
@pytest.mark.parametrize("pixels,vertices,dim", [(1, 1, 1), (500, 40, 16), (3000, 2000, 16), (60_000, 7466, 16)])
def test_the_nearest_vertices_are_those_of_faiss(device, pixels, vertices, dim):
    if device == "pretend" and pixels > 10_000:
        pytest.skip("as large as this on a GPU only")
    mesh, seen = unit_rows(vertices, dim, 0), 1.3 * unit_rows(pixels, dim, 1)
    found, expected = VertexIndex(mesh, device).search(seen), VertexIndex(mesh).search(seen)
    distance = [np.square(seen - mesh[ids]).sum(1) for ids in (found, expected)]
    np.testing.assert_allclose(*distance, atol=1e-5)
    assert (found == expected).mean() > 0.999 and found.dtype == np.int32


@ELSEWHERE
def test_equal_vertices_and_bad_numbers_are_as_on_the_cpu(device):
    mesh = unit_rows(30, 8, 0)
    mesh[20:] = mesh[:10]
    assert VertexIndex(mesh, device).search(mesh).tolist() == [*range(20), *range(10)]
    assert len(VertexIndex(mesh, device).search(mesh[:0])) == 0
    with pytest.raises(NotFinite):
        VertexIndex(mesh, device).search(mesh * np.nan)


@ELSEWHERE
def test_the_weights_are_those_of_the_cpu(device):
    mesh, seen = unit_rows(300, 16, 0), 0.7 * unit_rows(900, 16, 1)
    seen[5] = 0
    assert (best_pixels(seen, mesh, device) == best_pixels(seen, mesh)).mean() > 0.999
    ids = VertexIndex(mesh).search(seen)
    places = np.random.default_rng(2).uniform(0, 50, (900, 2)).astype(np.float32)
    here, there = (cycle_weights(seen, ids, places, mesh, 5.0, where) for where in ("cpu", device))
    assert (np.abs(here - there) < 1e-4).mean() > 0.99
