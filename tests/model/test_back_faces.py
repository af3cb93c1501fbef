"""What visibility says: normals, the back-face penalty and the silhouette loss, against loops and on shapes whose
answer is known."""

import math

import pytest
import torch
import trimesh

from dp3d_model.geometry.camera import random_rotations
from dp3d_model.geometry.surface import Surface
from dp3d_model.losses.terms import (
    MARGIN,
    SCALE,
    back_face_loss,
    faces_around,
    normals_at,
    outline_points,
    silhouette_loss,
)
from tests.model.toy import toy_surface
from tests.references.model import back_face_by_loop, normal_by_loop, silhouette_by_loop


def sphere(level=3):
    mesh = trimesh.creation.icosphere(subdivisions=level, radius=0.5)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32)
    return Surface("sphere", "", vertices, torch.tensor(mesh.faces), torch.ones(len(vertices), 1))


def scene(n=3, v=12, k=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    projected, keypoints = (torch.randn(n, count, 2, generator=generator, dtype=torch.float64) for count in (v, k))
    hidden, visible = (torch.rand(n, count, generator=generator) > 0.4 for count in (v, k))
    return projected, hidden, keypoints, visible


@pytest.mark.parametrize("part", [False, True])
def test_normals_agree_with_the_loop(part):
    surface = toy_surface(subdivisions=1)
    points = surface.vertices + 0.02 * torch.randn(2, 42, 3)
    corners, centres = faces_around(surface), torch.tensor([3, 17, 40])
    chosen = corners[centres].ravel().unique() if part else None
    found = normals_at(corners, points if chosen is None else points[:, chosen], centres, chosen)
    for i in range(2):
        for place, vertex in enumerate(centres.tolist()):
            expected = normal_by_loop(points[i].double().numpy(), surface.faces.numpy(), vertex)
            assert torch.allclose(found[i, place].double(), torch.tensor(expected), atol=1e-5)


def test_normals_turn_with_the_shape_and_point_outward():
    surface = sphere()
    turn, everything = (
        random_rotations(1, "uniform", torch.Generator().manual_seed(2)),
        torch.arange(len(surface.vertices)),
    )
    corners = faces_around(surface)
    still = normals_at(corners, surface.vertices[None], everything, None)
    assert ((still[0] * surface.vertices).sum(1) > 0.49).all()
    turned = normals_at(corners, surface.vertices @ turn.transpose(1, 2), everything, None)
    assert torch.allclose(turned, still @ turn.transpose(1, 2), atol=1e-5)


def test_the_back_face_penalty_agrees_with_the_loop():
    depths = torch.rand(4, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    visible = torch.rand(4, 20, generator=torch.Generator().manual_seed(1)) > 0.5
    expected = back_face_by_loop(depths.numpy(), visible.numpy(), 0.01, MARGIN, SCALE)
    assert math.isclose(float(back_face_loss(depths, visible, 0.01)), expected, rel_tol=1e-12)


def test_the_back_face_penalty_costs_nothing_where_all_that_is_seen_faces_the_viewer():
    """A law, for any camera: the near side of a sphere; its far side costs, and hidden vertices never do."""
    surface, corners = sphere(), faces_around(sphere())
    everything = torch.arange(len(surface.vertices))
    for turn in random_rotations(5, "uniform", torch.Generator().manual_seed(0)):
        away = (normals_at(corners, surface.vertices[None], everything, None) * turn[2]).sum(2)
        assert float(back_face_loss(away, away < -MARGIN, 0.01)) == 0.0
        assert float(back_face_loss(away, away > 0.5, 0.01)) > 0.01
        assert float(back_face_loss(away, torch.zeros_like(away, dtype=torch.bool), 0.01)) == 0.0


def test_the_silhouette_loss_agrees_with_the_loop():
    projected, hidden, keypoints, visible = scene()
    expected = silhouette_by_loop(*(part.numpy() for part in (projected, hidden, keypoints, visible)), 0.2, 0.01)
    assert expected > 0
    assert math.isclose(
        float(silhouette_loss(projected, hidden, keypoints, visible, 0.2, 0.01)), expected, rel_tol=1e-9
    )


def test_the_silhouette_loss_costs_nothing_inside():
    """A law: the far side of a sphere lies behind its near side; moved out of the outline it costs, and seen vertices
    never do."""
    surface = sphere()
    points, slack = outline_points(surface, 384)
    near = surface.vertices[:, 2] < 0
    image = surface.vertices[None, :, :2]
    keypoints, visible = image[:, points], near[None, points]
    inside = 0.9 * image
    assert float(silhouette_loss(inside, ~near[None], keypoints, visible, 2 * slack, 0.01)) == 0.0
    assert float(silhouette_loss(inside + 0.7, ~near[None], keypoints, visible, 2 * slack, 0.01)) > 0.1
    assert float(silhouette_loss(inside + 0.7, torch.zeros_like(near)[None], keypoints, visible, slack, 0.01)) == 0.0


def test_turning_the_image_changes_no_silhouette_loss():
    projected, hidden, keypoints, visible = scene()
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    values = [
        silhouette_loss(projected @ r, hidden, keypoints @ r + 0.0, visible, 0.2, 0.01)
        for r in (turn, torch.eye(2).double())
    ]
    assert math.isclose(*map(float, values), rel_tol=1e-9)


def test_gradients():
    projected, hidden, keypoints, visible = scene()
    check = torch.autograd.gradcheck
    assert check(lambda p: silhouette_loss(p, hidden, keypoints, visible, 0.2, 0.01), projected.requires_grad_())
    depths = torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert check(lambda d: back_face_loss(d, torch.ones(2, 6, dtype=torch.bool), 0.01), depths.requires_grad_())
    surface = toy_surface(subdivisions=1)
    corners, points = faces_around(surface), surface.vertices[None].double().requires_grad_()
    assert check(lambda x: normals_at(corners, x, torch.arange(0, 42, 7), None), points)
