"""The rigidity loss: its laws, its slow twin and its gradient."""

import math

import fast_simplification
import pytest
import torch
import trimesh

from dp3d_model.geometry.camera import nearest_rotation, random_rotations
from dp3d_model.geometry.surface import Surface
from dp3d_model.losses.arap import REFERENCE_LENGTH, OneRings, arap_loss
from dp3d_model.losses.terms import pseudo_huber
from tests.model.toy import toy_surface
from tests.references.model import arap_by_loop


def wave(x, amount=0.1):
    """A smooth deformation."""
    return x + amount * torch.stack([torch.sin(3 * x[..., 1]), torch.cos(4 * x[..., 2]), torch.sin(2 * x[..., 0])], -1)


def surface_of_mesh(mesh):
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32)
    return Surface("mesh", "", vertices, torch.tensor(mesh.faces), torch.ones(len(vertices), 1))


def test_rigid_motion_costs_nothing():
    surface = toy_surface()
    rotations = random_rotations(5, "uniform", torch.Generator().manual_seed(0))
    moved = surface.vertices @ rotations.transpose(1, 2) + torch.randn(5, 1, 3)
    assert float(arap_loss(OneRings(surface), moved, surface.vertices.expand(5, -1, -1), 0.01)) < 1e-7


def test_agrees_with_the_loop():
    surface = toy_surface(subdivisions=1)
    posed = wave(surface.vertices, 0.15)
    fast = float(arap_loss(OneRings(surface), posed[None], surface.vertices[None], 0.01))
    slow = arap_by_loop(
        surface.vertices.double().numpy(), surface.faces.numpy(), posed.double().numpy(), 0.01, REFERENCE_LENGTH
    )
    assert math.isclose(fast, slow, rel_tol=1e-4)


def test_a_uniform_stretch_costs_its_strain():
    """A closed form: stretching everything by s leaves strain s - 1 along every edge."""
    surface = toy_surface()
    value = float(arap_loss(OneRings(surface), 1.2 * surface.vertices[None], surface.vertices[None], 0.01))
    expected = float(pseudo_huber(torch.tensor([0.2 * REFERENCE_LENGTH]), 0.01))
    assert math.isclose(value, expected, rel_tol=1e-3)


def test_turning_the_result_changes_nothing():
    surface, rings = toy_surface(), OneRings(toy_surface())
    posed = wave(surface.vertices)[None]
    turned = posed @ random_rotations(1, "uniform", torch.Generator().manual_seed(4)).transpose(1, 2) + 3.0
    still = surface.vertices[None]
    assert math.isclose(
        float(arap_loss(rings, posed, still, 0.01)), float(arap_loss(rings, turned, still, 0.01)), rel_tol=1e-3
    )


def test_a_mirror_image_is_not_rigid():
    surface = toy_surface()
    mirrored = surface.vertices * torch.tensor([-1.0, 1.0, 1.0])
    assert float(arap_loss(OneRings(surface), mirrored[None], surface.vertices[None], 0.01)) > 1e-4


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_unit_of_the_template_does_not_matter(scale):
    mesh = trimesh.creation.icosphere(subdivisions=2)
    small, large = surface_of_mesh(mesh), surface_of_mesh(mesh.copy().apply_scale(scale))
    values = [
        float(arap_loss(OneRings(s), factor * wave(small.vertices)[None], s.vertices[None], 0.01))
        for s, factor in ((small, 1.0), (large, scale))
    ]
    assert math.isclose(*values, rel_tol=1e-3)


def test_the_resolution_of_the_mesh_does_not_matter():
    """Within 5 %, from 642 to 2,562 vertices, for a smooth deformation."""
    values = []
    for level in (3, 4):
        surface = surface_of_mesh(trimesh.creation.icosphere(subdivisions=level, radius=0.5))
        values.append(float(arap_loss(OneRings(surface), wave(surface.vertices)[None], surface.vertices[None], 0.01)))
    assert abs(values[1] / values[0] - 1) < 0.05


@pytest.mark.parametrize("faces", [1700, 5000])
def test_another_meshing_does_not_matter(faces):
    """Within 5 %, for a smooth deformation: a fine regular mesh, the same decimated, and each of its faces split in
    four."""
    regular = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    coarse = trimesh.Trimesh(
        *fast_simplification.simplify(regular.vertices, regular.faces, target_count=faces), process=False
    )
    values = []
    for mesh in (regular, coarse, coarse.subdivide()):
        surface = surface_of_mesh(mesh)
        values.append(float(arap_loss(OneRings(surface), wave(surface.vertices)[None], surface.vertices[None], 0.01)))
    assert values == pytest.approx([values[0]] * 3, rel=0.05)


@pytest.mark.parametrize("cached", [1, 1 << 18])
def test_every_instance_has_its_own_rest_shape(monkeypatch, cached):
    """The mean over instances, each with a rest shape of its own, whatever the pieces it is made in."""
    monkeypatch.setattr("dp3d_model.losses.arap.CACHED", cached)
    surface = toy_surface(subdivisions=1)
    posed = torch.stack([wave(surface.vertices, amount) for amount in (0.05, 0.1, 0.2)])
    rest = surface.vertices * torch.tensor([[1.0, 1.0, 1.0], [1.1, 0.9, 1.0], [0.8, 1.0, 1.2]])[:, None]
    together = arap_loss(OneRings(surface), posed, rest, 0.01)
    apart = [arap_loss(OneRings(surface), p[None], r, 0.01) for p, r in zip(posed, rest, strict=True)]
    assert torch.allclose(together, torch.stack(apart).mean(), rtol=1e-5)
    flat, expanded = (arap_loss(OneRings(surface), posed, r, 0.01) for r in (rest[1], rest[1].expand(3, -1, -1)))
    assert torch.allclose(flat, expanded, rtol=1e-5)


def test_drawn_vertices_estimate_the_whole():
    surface = toy_surface()
    posed, still, rings = wave(surface.vertices)[None], surface.vertices[None], OneRings(surface)
    whole = float(arap_loss(rings, posed, still, 0.01))
    drawn = [float(arap_loss(rings, posed, still, 0.01, centres=torch.randperm(162)[:80])) for _ in range(30)]
    assert abs(sum(drawn) / 30 / whole - 1) < 0.1
    assert math.isclose(float(arap_loss(rings, posed, still, 0.01, centres=torch.randperm(162))), whole, rel_tol=1e-4)


@pytest.mark.parametrize("given", [False, True])
def test_a_part_of_the_template_is_enough_for_its_one_rings(given):
    surface = toy_surface()
    posed, still, rings = wave(surface.vertices)[None], surface.vertices[None], OneRings(surface)
    centres = torch.randperm(162)[:30]
    chosen = torch.cat([centres, rings.neighbours[centres].ravel()]).unique()
    turns = random_rotations(162, "uniform", torch.Generator().manual_seed(1))[None] if given else None
    whole = arap_loss(rings, posed, still, 0.01, turns, centres=centres)
    turns = turns[:, chosen] if given else None
    part = arap_loss(rings, posed[:, chosen], still[:, chosen], 0.01, turns, centres=centres, chosen=chosen)
    assert torch.allclose(whole, part)


def test_given_rotations_are_used():
    surface = toy_surface()
    turn = random_rotations(1, "uniform", torch.Generator().manual_seed(1))
    posed = surface.vertices @ turn.transpose(1, 2)
    right = turn[:, None].expand(1, 162, 3, 3)
    rings, still = OneRings(surface), surface.vertices[None]
    assert float(arap_loss(rings, posed, still, 0.01, right)) < 1e-7
    assert float(arap_loss(rings, posed, still, 0.01, torch.eye(3).expand(1, 162, 3, 3))) > 1e-3


@pytest.mark.slow
def test_gradient():
    surface = toy_surface(subdivisions=1)
    rings = OneRings(surface).double()
    still = surface.vertices[None].double()
    posed = wave(still).requires_grad_()
    turn = torch.eye(3, dtype=torch.float64).expand(1, 42, 3, 3)
    drawn = torch.arange(0, 42, 5)
    assert torch.autograd.gradcheck(
        lambda x, y: arap_loss(rings, x, y, 0.01, turn, drawn), (posed, still.clone().requires_grad_())
    )
    assert torch.autograd.gradcheck(
        lambda x, y: arap_loss(rings, x, y, 0.01, turn), (posed, still[0].clone().requires_grad_())
    )


def test_the_gradient_is_that_of_plain_operations():
    """With the best rotations, held fixed: autograd through gathers and pseudo_huber finds the same."""
    surface = toy_surface(subdivisions=1)
    rings = OneRings(surface).double()
    posed = torch.stack([wave(surface.vertices, amount) for amount in (0.05, 0.2)]).double().requires_grad_()
    rest = (surface.vertices * torch.tensor([1.1, 0.9, 1.0])).double().expand(2, -1, -1).clone().requires_grad_()
    total = mass = 0.0
    for k, degree in enumerate(rings.degrees.tolist()):
        ring, weight, length = (part[k, :degree] for part in (rings.neighbours, rings.weights, rings.lengths))
        moved, still = ((x[:, ring] - x[:, k : k + 1]) / length[:, None] for x in (posed, rest))
        turns = nearest_rotation(torch.einsum("d,nda,ndb->nab", weight, moved, still))
        total = (
            total + (weight * pseudo_huber(REFERENCE_LENGTH * (moved - still @ turns.transpose(1, 2)), 0.01)).sum() / 2
        )
        mass = mass + weight.sum()
    expected = torch.autograd.grad(total / mass, [posed, rest])
    loss = arap_loss(rings, posed, rest, 0.01)
    assert math.isclose(float(loss.detach()), float((total / mass).detach()), rel_tol=1e-9)
    for mine, plain in zip(torch.autograd.grad(loss, [posed, rest]), expected, strict=True):
        assert torch.allclose(mine, plain, atol=1e-10)
