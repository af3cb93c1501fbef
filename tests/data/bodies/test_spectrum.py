"""The Laplace-Beltrami basis: orthonormal, known on the sphere, deterministic, cached."""

import numpy as np
import pytest

from dp3d_data.config import cache_dir
from dp3d_data.errors import UsageError
from dp3d_data.geometry import load_template, make_template
from dp3d_data.geometry.laplacian import laplace_beltrami, laplacian_basis, laplacian_matrices
from tests.data.bodies.shapes import arm, sphere


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DP3D_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("count", [1, 16, 64])
def test_the_basis_is_orthonormal_under_the_mass(count):
    dog = load_template("dog")
    eigenvalues, functions = laplace_beltrami(dog, count)
    laplacian, mass = laplacian_matrices(dog.vertices, dog.faces)
    functions = functions.astype(float)
    assert np.allclose(functions.T @ (mass @ functions), np.eye(count), atol=1e-5)
    assert np.allclose(functions.T @ (laplacian @ functions), np.diag(eigenvalues), atol=1e-4 * (eigenvalues[-1] + 1))


def test_the_first_function_is_constant_and_frequencies_rise():
    eigenvalues, functions = laplace_beltrami(load_template("dog"), 20)
    assert eigenvalues[0] == pytest.approx(0, abs=1e-6) and (np.diff(eigenvalues) >= 0).all()
    assert np.ptp(functions[:, 0]) < 1e-4 * np.abs(functions[:, 0]).mean()


def test_the_sphere_has_its_textbook_spectrum():
    """l (l + 1), each 2 l + 1 times, on the unit sphere."""
    eigenvalues, _ = laplacian_basis(*sphere(4), 16)
    expected = np.repeat([0, 2, 6, 12], [1, 3, 5, 7])
    assert np.allclose(eigenvalues, expected, rtol=0.01, atol=1e-6)


def test_size_scales_the_spectrum_and_keeps_the_functions():
    """Twice as large: eigenvalues a quarter, functions half."""
    body = arm()
    small, large = laplacian_basis(body.vertices, body.faces, 8), laplacian_basis(2 * body.vertices, body.faces, 8)
    assert np.allclose(large[0] * 4, small[0], rtol=1e-6, atol=1e-6)
    assert np.allclose(large[1] * 2, small[1], atol=1e-4)


def test_the_same_template_gives_the_same_bytes_with_and_without_a_cache():
    body = arm()
    first = laplace_beltrami(body, 12)
    again = laplace_beltrami(body, 12)
    direct = laplacian_basis(body.vertices, body.faces, 12)
    for one, other, fresh in zip(first, again, direct, strict=True):
        assert one.tobytes() == other.tobytes() == fresh.tobytes()


def test_dense_and_sparse_solvers_agree():
    vertices, faces = sphere(1)
    vertices = vertices * [1, 1.7, 2.9] + 0.1 * np.sin(3 * vertices[:, [1, 2, 0]])
    few, many = laplacian_basis(vertices, faces, 10), laplacian_basis(vertices, faces, 40)
    assert np.allclose(few[0], many[0][:10], rtol=1e-6, atol=1e-6)
    assert np.allclose(few[1], many[1][:, :10], atol=1e-4)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:100], lambda data: b"x" + data[1:]])
def test_a_damaged_cache_is_computed_again(damage):
    body = arm()
    first = laplace_beltrami(body, 6)
    (path,) = cache_dir().iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert all(np.array_equal(a, b) for a, b in zip(first, laplace_beltrami(body, 6), strict=True))
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DP3D_CACHE", str(tmp_path / "file"))
    assert laplace_beltrami(arm(), 4)[1].shape[1] == 4


@pytest.mark.parametrize("count", [0, -3, 12])
def test_more_functions_than_vertices_are_refused(count):
    body = make_template("ball", *sphere(0))
    with pytest.raises(UsageError, match="cannot have that many functions"):
        laplace_beltrami(body, count)
