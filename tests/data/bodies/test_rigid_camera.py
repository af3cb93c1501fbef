"""Where the closed-form camera stands and what the rigid template leaves; the fit itself is tested with the model."""

import numpy as np
import torch

from dp3d_data.geometry.rigid_camera import LEAST_WEIGHT, Camera, fit_camera, fit_residual, view_angles
from tests.references.bodies import view_angles_slow
from tests.references.model import camera_by_least_squares


def rotations(count, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(count, 3, 3)))
    return torch.tensor(q * np.linalg.det(q)[:, None, None], dtype=torch.float64)


def test_angles_agree_with_their_slow_twin():
    turned = rotations(50)
    azimuth, elevation = view_angles(turned)
    for i in range(50):
        a, e = view_angles_slow(turned[i].numpy())
        assert abs((float(azimuth[i]) - a + 180) % 360 - 180) < 1e-6 and abs(float(elevation[i]) - e) < 1e-6


def test_known_stands():
    left = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]])
    above = torch.tensor([[[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]])
    assert [float(v) for v in view_angles(left)] == [90.0, 0.0]
    assert float(view_angles(above)[1]) == 90.0


def test_turning_the_picture_leaves_the_stand():
    turned = rotations(20)
    c, s = np.cos(0.7), np.sin(0.7)
    roll = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    for before, after in zip(view_angles(turned), view_angles(roll @ turned), strict=True):
        assert torch.allclose(before, after)


def test_a_rigid_template_leaves_nothing_and_the_residual_is_a_length():
    generator = torch.Generator().manual_seed(0)
    template = torch.rand(40, 3, generator=generator, dtype=torch.float64) - 0.5
    visible = torch.rand(6, 40, generator=generator) > 0.4
    rotation = rotations(6, 1)
    flat = 120.0 * torch.einsum("nca,ka->nkc", rotation[:, :2], template) + 60.0
    assert float(fit_residual(fit_camera(template, flat, visible), template, flat, visible).max()) < 1e-6
    camera = Camera(
        rotation, torch.full((6,), 120.0, dtype=torch.float64), torch.full((6, 2), 60.0, dtype=torch.float64)
    )
    pushed = fit_residual(camera, template, flat + torch.tensor([3.6, 4.8]), visible)
    assert torch.allclose(pushed, torch.full((6,), 0.05, dtype=torch.float64)), "6 pixels at 120 pixels a unit"


def test_the_fit_is_the_least_squares_one():
    generator = torch.Generator().manual_seed(2)
    template = torch.rand(30, 3, generator=generator) - 0.5
    keypoints = 100.0 * torch.rand(3, 30, 2, generator=generator)
    visible = torch.rand(3, 30, generator=generator) > 0.3
    camera = fit_camera(template, keypoints, visible)
    for i in range(3):
        rotation, scale = camera_by_least_squares(template.numpy(), keypoints[i].numpy(), visible[i].numpy())
        assert (
            np.abs(camera.rotation[i].numpy() - rotation).max() < 1e-4
            and abs(float(camera.scale[i]) / scale - 1) < 1e-4
        )


def test_a_vertex_of_twice_the_weight_counts_as_two_and_without_trust_all_count_alike():
    generator = torch.Generator().manual_seed(3)
    template = torch.rand(30, 3, generator=generator, dtype=torch.float64) - 0.5
    keypoints = 100.0 * torch.rand(2, 30, 2, generator=generator, dtype=torch.float64)
    visible = torch.rand(2, 30, generator=generator) > 0.3
    weights = torch.full((2, 30), 1 - LEAST_WEIGHT, dtype=torch.float64)
    weights[:, :9] += 1
    twice = torch.cat([torch.arange(30), torch.arange(9)])
    pairs = [
        (
            fit_camera(template, keypoints, visible, weights),
            fit_camera(template[twice], keypoints[:, twice], visible[:, twice]),
        ),
        (fit_camera(template, keypoints, visible, 0 * weights), fit_camera(template, keypoints, visible)),
    ]
    for one, other in pairs:
        assert torch.allclose(one.rotation, other.rotation) and torch.allclose(one.translation, other.translation)
