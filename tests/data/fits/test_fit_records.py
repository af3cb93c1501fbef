"""What a fit may hold, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from dp3d_data.datasets.fits import Fit, FitCamera
from dp3d_data.errors import InputCorrupt, ShapeError
from tests.data.fits.trees import same_fit

CAMERA = FitCamera("perspective", np.eye(3), np.zeros(3), focal=(500, 510), centre=(64, 48))


def one_fit(**changes) -> Fit:
    known = {
        "instance_id": "a/0",
        "image_id": "a",
        "image_path": None,
        "image_size": (128, 96),
        "group": "a",
        "split": None,
    }
    known |= {
        "body": "smpl",
        "pose": np.zeros((24, 3)),
        "betas": np.zeros(10),
        "translation": np.zeros(3),
        "camera": CAMERA,
    }
    return Fit(**(known | changes))


def test_numbers_become_float64():
    fit = one_fit(pose=np.zeros((24, 3), np.float32), betas=[1, 2], translation=(0, 0, 3), box=[1, 2, 3, 4])
    assert fit.pose.dtype == fit.betas.dtype == fit.translation.dtype == np.float64
    assert fit.box == (1.0, 2.0, 3.0, 4.0) and fit.camera.focal == (500.0, 510.0)


def test_fits_compare_by_value():
    assert same_fit(one_fit(), one_fit())
    assert not same_fit(one_fit(), one_fit(betas=np.ones(10)))
    assert not same_fit(one_fit(), one_fit(joint_scales=np.zeros(7)))
    assert not same_fit(one_fit(), one_fit(camera=replace(CAMERA, centre=(64, 49))))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"pose": np.zeros(72)}, ShapeError, "pose has another shape"),
        ({"translation": np.zeros(2)}, ShapeError, "translation has another shape"),
        ({"betas": [float("nan")]}, InputCorrupt, "betas holds NaN or infinity"),
        ({"betas": ["a"]}, InputCorrupt, "betas is no array of numbers"),
        ({"betas": [[1], [2, 3]]}, InputCorrupt, "betas is no array of numbers"),
        ({"box": (3, 0, 1, 4)}, InputCorrupt, "not a box"),
        ({"box": (3, 0, 1)}, InputCorrupt, "not a box"),
    ],
)
def test_a_fit_of_nonsense_is_refused(changes, error, text):
    with pytest.raises(error, match=text):
        one_fit(**changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kind": "fisheye"}, "unknown kind of camera"),
        ({"focal": None}, "focal is missing"),
        ({"focal": (0, 500)}, "focal is out of range"),
        ({"kind": "orthographic"}, "scale is missing"),
        ({"rotation": np.diag([1, 1, -1])}, "rotation is none"),
        ({"rotation": 2 * np.eye(3)}, "rotation is none"),
        ({"centre": (np.inf, 0)}, "centre is out of range"),
    ],
)
def test_a_camera_of_nonsense_is_refused(changes, text):
    with pytest.raises(InputCorrupt, match=text):
        replace(CAMERA, **changes)
