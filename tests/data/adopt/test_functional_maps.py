"""Functional maps: laws, and the field error on a deformed and remeshed dog whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from dp3d_data.detection import load_predictor
from dp3d_data.detection.training.adoption import blank_field, field_from_landmarks
from dp3d_data.errors import UsageError
from dp3d_data.geometry import load_template, make_template, pose_vertices
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.matching.landmarks import (
    bare_spectrum,
    correspondence,
    landmark_map,
    smooth_field,
    spectrum_of,
)
from dp3d_data.synthesis.poses import random_pose
from dp3d_data.synthesis.proportions import joint_scales, random_proportions
from tests.data.bodies.shapes import arm
from tests.references.bodies import landmark_energy_slow

LANDMARKS = np.array([1036, 772, 2362, 676, 2273, 192, 1814, 410, 260, 1338, 702, 1])  # as in husky_landmarks.csv


@given(st.integers(0, 2**31))
def test_no_map_agrees_better_with_the_landmarks(seed):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 5, 6))
    eigenvalues = np.concatenate([[0.0], np.sort(rng.uniform(1, 30, 5))])
    mapping = landmark_map(source, target, eigenvalues)
    least = landmark_energy_slow(mapping, source, target, eigenvalues)
    for _ in range(3):
        other = mapping + rng.normal(0, 0.1, mapping.shape)
        assert landmark_energy_slow(other, source, target, eigenvalues) >= least - 1e-9


def test_a_surface_corresponds_to_itself_whatever_the_order_of_its_vertices():
    spectrum, eigenvalues = spectrum_of(arm(), 30)
    order = np.random.default_rng(0).permutation(len(spectrum[1]))
    shuffled = spectrum[0][order], spectrum[1][order]
    marks = np.array([0, 20, 50, 90, 130, 160])
    found = correspondence(spectrum, shuffled, eigenvalues, marks, np.argsort(order)[marks])
    assert np.array_equal(found, order)


def test_too_few_landmarks_are_refused():
    spectrum, eigenvalues = spectrum_of(arm(), 30)
    few = np.array([0, 1, 2])
    with pytest.raises(UsageError, match="too few landmarks"):
        correspondence(spectrum, spectrum, eigenvalues, few, few)


def test_functions_of_any_scale_are_one_spectrum():
    functions = np.random.default_rng(0).normal(size=(50, 6))
    assert np.allclose(bare_spectrum(7 * functions)[0], bare_spectrum(functions)[0])


def test_a_smooth_field_is_found_again():
    (functions, areas), eigenvalues = spectrum_of(arm(), 20)
    coefficients = np.random.default_rng(0).normal(size=(20, 3))
    again = smooth_field(functions @ coefficients, areas, functions, eigenvalues, ridge=1e-9)
    assert np.allclose(again, coefficients, atol=1e-4)


def deformed(seed: int, strength: float, faces: int):
    """The dog in another pose and with other proportions, of fewer triangles; and the dog's vertex nearest to each of
    its."""
    simplify = pytest.importorskip("fast_simplification").simplify
    dog, rng = load_template("dog"), np.random.default_rng(seed)
    proportions = random_proportions(rng, strength)
    posed = pose_vertices(dog, random_pose(rng, dog.skeleton, proportions)[0], joint_scales(dog.skeleton, proportions))
    vertices, triangles = simplify(posed.astype(np.float32), dog.faces, target_count=faces, agg=3)
    return make_template("other", vertices, triangles), cKDTree(posed).query(vertices)[1]


@pytest.mark.parametrize(("seed", "strength"), [(1, 0.5), (2, 1.0)])
def test_the_field_lands_where_it_belongs_without_the_geometry_of_its_mesh(seed, strength):
    """Only spectral functions and embeddings of the checkpoint are used; the mean error stays under 3 % of the
    extent."""
    predictor, distances = load_predictor("animals-3"), geodesic_distances(load_template("dog"))
    features = predictor.network.embedder("dog").features.numpy()
    embeddings = predictor.vertex_embeddings(0)
    other, truth = deformed(seed, strength, 3800)
    marks = distances[truth][:, LANDMARKS].argmin(axis=0)
    field = field_from_landmarks(blank_field(other, 64, 16), features, embeddings, LANDMARKS, marks)
    matched = (field.embeddings @ embeddings.T).argmax(axis=1)
    assert distances[matched, truth].mean() < 0.03
