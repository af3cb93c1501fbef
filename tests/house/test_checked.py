"""Types and shapes of whole packages are checked while the tests run: see conftest.py."""

import numpy as np
import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped

from dp3d_data.matching.dense import pool_pixels
from dp3d_model.geometry.camera import random_rotations
from tests.checked import typechecked


@jaxtyped(typechecker=typechecked)
def doubled(x: Float[np.ndarray, "n 2"], times: int | None = None, *rest: str) -> Float[np.ndarray, "n 2"] | None:
    return None if times == 0 else np.tile(x, (times or 1, 1))


def test_the_packages_are_checked():
    with pytest.raises(TypeCheckError, match="vertex_ids"):
        pool_pixels(np.zeros(3), np.zeros((3, 2)), 5)
    with pytest.raises(TypeCheckError, match="count"):
        random_rotations("three", "uniform", torch.Generator())


def test_what_is_as_declared_passes():
    x = np.zeros((3, 2))
    assert doubled(x, times=1).shape == doubled(x).shape == (3, 2) and doubled(x, 0, "a") is None


@pytest.mark.parametrize(
    "given", [(np.zeros((3, 3)),), (np.zeros((3, 2), int),), (np.zeros((3, 2)), 1.5), (np.zeros((3, 2)), 1, 2)]
)
def test_wrong_arguments_are_refused(given):
    with pytest.raises(TypeCheckError, match="parameters of"):
        doubled(*given)


def test_a_wrong_answer_is_refused():
    with pytest.raises(TypeCheckError, match="return value"):
        doubled(np.zeros((3, 2)), 2)
