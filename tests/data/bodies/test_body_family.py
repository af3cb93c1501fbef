"""The changes that SMALify and WLDO make to a model before they fit, against their lines written out."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from dp3d_data.bodies.files import load_body_model
from dp3d_data.bodies.model import family_model, symmetric_model
from dp3d_data.errors import InputCorrupt, InputMissing, ShapeError
from pipelines.cli.body import body
from tests.data.bodies.body_arrays import random_model, sphere
from tests.data.bodies.body_pickles import old_pickle, published


def dog():
    """A dog with a surface that is its mirror image but for a hundredth, away from the origin."""
    surface = sphere(2)[0] * (0.9, 0.4, 0.6) + np.random.default_rng(0).normal(0, 0.01, (66, 3)) + (0.1, 0.02, 0.3)
    return replace(random_model(joints=35, betas=6, kind="smal"), template=surface)


def test_a_symmetric_model_is_that_of_wldo():
    model = dog()
    exact = sphere(2)[0]
    other = np.linalg.norm(exact[:, None] * (1, -1, 1) - exact, axis=2).argmin(axis=1)
    middle = np.flatnonzero(np.abs(exact[:, 1]) < 1e-9)
    v = model.template - np.mean(model.template)
    v[:, 1] = v[:, 1] - np.mean(v[middle, 1])
    v[middle, 1] = 0
    for left in np.flatnonzero(v[:, 1] < 0):
        v[other[left]] = np.array([1, -1, 1]) * v[left]
    np.testing.assert_allclose(symmetric_model(model).template, v, atol=1e-12)
    with pytest.raises(ShapeError, match="no left and right"):
        symmetric_model(replace(model, template=model.template * np.linspace(0.5, 1, 66)[:, None]))


def test_the_mean_of_a_family_is_added_before(tmp_path):
    model, means = dog(), np.random.default_rng(1).normal(size=(5, 6))
    path = tmp_path / "my_smpl_data_00781_4_all.pkl"
    path.write_bytes(old_pickle({"cluster_means": means, "cluster_cov": [np.eye(6)] * 5}))
    found = family_model(model, path, 2)
    shaped = model.template + sum(means[2, n] * model.shape_basis[:, :, n] for n in range(6))
    np.testing.assert_allclose(found.template, shaped, atol=1e-12)
    for family in (-1, 5):
        with pytest.raises(ShapeError, match="a family that does not fit"):
            family_model(model, path, family)
    with pytest.raises(ShapeError, match="of 6 betas"):
        family_model(replace(model, shape_basis=model.shape_basis[..., :4]), path, 1)
    for content in ({"cluster_means": "words"}, [1]):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(InputCorrupt, match="no families of shapes"):
            family_model(model, path, 1)


def test_import_does_both(tmp_path):
    model, means = dog(), np.zeros((2, 6))
    means[1, 0] = 0.5
    (tmp_path / "model.pkl").write_bytes(old_pickle(published(model)))
    (tmp_path / "data.pkl").write_bytes(old_pickle({"cluster_means": means}))
    words = [
        "import",
        tmp_path / "model.pkl",
        "--name",
        "smalify",
        "--family",
        tmp_path / "data.pkl",
        "--symmetric",
        "--betas",
        "4",
    ]
    result = CliRunner().invoke(body, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    expected = symmetric_model(replace(model, template=model.template + 0.5 * model.shape_basis[:, :, 0]))
    found = load_body_model("smalify")
    np.testing.assert_allclose(found.template, expected.template, atol=1e-12)
    assert found.num_betas == 4
    lost = CliRunner().invoke(
        body, ["import", str(tmp_path / "model.pkl"), "--name", "b", "--family", str(tmp_path / "no.pkl")]
    )
    assert lost.exit_code == InputMissing.exit_code
