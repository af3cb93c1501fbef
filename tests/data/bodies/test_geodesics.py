"""Distances along the surface: a metric, close to the truth, infinite between parts."""

import numpy as np
import pytest

from dp3d_data.geometry import load_template
from dp3d_data.geometry.laplacian import geodesic_distances, surface_distances, surface_graph
from tests.data.bodies.shapes import arm, sphere
from tests.references.bodies import shortest_paths_slow


@pytest.fixture(scope="module")
def dog_distances():
    return surface_distances(load_template("dog").vertices, load_template("dog").faces)


def test_on_the_sphere_it_is_the_great_circle_within_five_percent():
    vertices, faces = sphere(3)
    truth = np.arccos(np.clip(vertices @ vertices.T, -1, 1))
    ratio = surface_distances(vertices, faces)[truth > 0.01] / truth[truth > 0.01]
    assert 0.985 < ratio.min() and ratio.max() < 1.06 and ratio.mean() < 1.03


def test_on_the_dog_it_is_a_metric(dog_distances):
    distances = dog_distances
    assert np.array_equal(distances, distances.T) and not np.diagonal(distances).any()
    assert np.isfinite(distances).all() and (distances >= 0).all()
    rng = np.random.default_rng(0)
    a, b, c = rng.integers(0, len(distances), (3, 20_000))
    assert (distances[a, c] <= distances[a, b] + distances[b, c] + 1e-6).all()
    straight = np.linalg.norm(load_template("dog").vertices[a] - load_template("dog").vertices[b], axis=1)
    assert (distances[a, b] >= straight - 1e-6).all()


def test_mirrored_pairs_are_equally_far(dog_distances):
    mirror = load_template("dog").symmetry
    assert np.allclose(dog_distances, dog_distances[np.ix_(mirror, mirror)], atol=1e-5)


def test_it_agrees_with_shortened_geodesics(dog_distances):
    """An independent method (edge flips) finds paths that are a little shorter, never longer."""
    import potpourri3d

    dog = load_template("dog")
    solver = potpourri3d.EdgeFlipGeodesicSolver(dog.vertices.astype(float), dog.faces)
    pairs = np.random.default_rng(3).integers(0, dog.num_vertices, (40, 2))
    paths = (solver.find_geodesic_path(int(a), int(b)) for a, b in pairs)
    exact = np.array([np.linalg.norm(np.diff(path, axis=0), axis=1).sum() for path in paths])
    ratio = dog_distances[pairs[:, 0], pairs[:, 1]] / exact
    assert 0.9 < ratio.min() and ratio.max() < 1.07 and 0.98 < np.median(ratio) < 1.05


def test_shortest_paths_agree_with_the_slow_twin():
    body = arm()
    graph = surface_graph(body.vertices, body.faces).tocoo()
    lengths = dict(zip(zip(graph.row.tolist(), graph.col.tolist(), strict=True), graph.data.tolist(), strict=True))
    slow = shortest_paths_slow(body.num_vertices, lengths)
    assert np.allclose(surface_distances(body.vertices, body.faces), slow, atol=1e-6)


def test_separate_parts_are_infinitely_far():
    vertices, faces = sphere(0)
    both = surface_distances(np.concatenate([vertices, vertices + 5]), np.concatenate([faces, faces + len(vertices)]))
    assert (
        np.isinf(both[: len(vertices), len(vertices) :]).all()
        and np.isfinite(both[: len(vertices), : len(vertices)]).all()
    )


def test_a_second_call_reads_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_CACHE", str(tmp_path))
    first = geodesic_distances(arm())
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("dp3d_data.geometry.laplacian.surface_distances", None)
    assert geodesic_distances(arm()).tobytes() == first.tobytes()
