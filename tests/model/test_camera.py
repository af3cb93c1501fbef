"""The closed-form camera."""

import numpy as np
import pytest
import torch

from dp3d_data.errors import ShapeError
from dp3d_data.geometry.rigid_camera import fit_camera, orthonormal_rows
from dp3d_model.geometry.camera import random_rotations, rotation_from_6d
from tests.model.toy import toy_instances, toy_surface
from tests.references.model import camera_by_least_squares


def test_a_rigid_template_gives_its_camera_back():
    surface = toy_surface()
    world = toy_instances(surface, bend=0.0)
    camera = fit_camera(surface.vertices, world.keypoints, world.visible)
    expected = (torch.linalg.pinv(surface.vertices) @ world.true_vertices).transpose(1, 2)
    assert torch.allclose(camera.rotation, expected, atol=1e-4)
    assert torch.allclose(camera.scale, world.true_scale, rtol=1e-4)
    again = (
        camera.scale[:, None, None] * (surface.vertices @ camera.rotation.transpose(1, 2))[..., :2]
        + camera.translation[:, None]
    )
    assert torch.allclose(again, world.keypoints, atol=0.05)


def test_agrees_with_least_squares_and_svd():
    surface = toy_surface()
    world = toy_instances(surface, count=12, bend=0.3)
    camera = fit_camera(surface.vertices, world.keypoints, world.visible)
    for i in range(12):
        rotation, scale = camera_by_least_squares(
            surface.vertices.numpy(), world.keypoints[i].numpy(), world.visible[i].numpy()
        )
        assert np.abs(camera.rotation[i].numpy() - rotation).max() < 1e-4
        assert abs(float(camera.scale[i]) / scale - 1) < 1e-4


def test_turning_moving_and_zooming_the_image_does_the_same_to_the_camera():
    surface = toy_surface()
    world = toy_instances(surface, count=8, bend=0.3)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    before = fit_camera(surface.vertices, world.keypoints, world.visible)
    after = fit_camera(surface.vertices, 2.5 * world.keypoints @ turn.T + 30.0, world.visible)
    whole = torch.block_diag(turn, torch.ones(1, 1))
    assert torch.allclose(after.rotation, whole @ before.rotation, atol=1e-4)
    assert torch.allclose(after.scale, 2.5 * before.scale, rtol=1e-4)


def test_invisible_keypoints_do_not_matter():
    surface = toy_surface()
    world = toy_instances(surface, count=5)
    spoiled = torch.where(world.visible[..., None], world.keypoints, torch.nan)
    assert torch.equal(
        fit_camera(surface.vertices, spoiled, world.visible).rotation,
        fit_camera(surface.vertices, world.keypoints, world.visible).rotation,
    )


def test_an_instance_without_visible_vertices_is_refused():
    surface = toy_surface()
    world = toy_instances(surface, count=3)
    visible = world.visible.clone()
    visible[1] = False
    with pytest.raises(ShapeError, match="an instance has no visible vertex"):
        fit_camera(surface.vertices, world.keypoints, visible)


def test_orthonormal_rows_are_nearest():
    affine = torch.randn(50, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, scale = orthonormal_rows(affine)
    u, s, vt = torch.linalg.svd(affine, full_matrices=False)
    assert torch.allclose(rows, u @ vt, atol=1e-6)
    assert torch.allclose(scale, s.mean(1), atol=1e-6)


def test_six_numbers():
    six = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rotation = rotation_from_6d(six)
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(20, dtype=torch.float64))
    assert torch.equal(rotation_from_6d(torch.zeros(6)), torch.eye(3))
    assert torch.autograd.gradcheck(rotation_from_6d, (six[:3].requires_grad_(),))


@pytest.mark.parametrize("law", ["uniform", "uniform-angle"])
def test_random_rotations_are_rotations(law):
    rotation = random_rotations(2000, law, torch.Generator().manual_seed(0))
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(2000, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(2000), atol=1e-5)
    angle = torch.acos(((rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)).mean()
    expected = np.pi / 2 if law == "uniform-angle" else np.pi / 2 + 2 / np.pi
    assert abs(float(angle) - expected) < 0.06
