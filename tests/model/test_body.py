"""Parts, blendshapes and posing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.errors import TemplateError
from dp3d_model.bodies import BODIES, Body, make_body
from dp3d_model.bodies.shape import blend, first_parts, fit_linear, motions_about, part_centres, pose, shaped
from dp3d_model.geometry.camera import random_rotations
from dp3d_model.geometry.surface import spread_seeds
from tests.model.toy import tiny, toy_surface
from tests.references.model import pose_by_loop


def motions(m=4, n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return random_rotations(n * m, "uniform", generator).reshape(n, m, 3, 3), torch.randn(n, m, 3, generator=generator)


def test_posing_agrees_with_the_loop():
    surface, weights = toy_surface(subdivisions=1), torch.softmax(torch.randn(42, 4), 1)
    rotations, translations = motions()
    centres = torch.randn(4, 3)
    shaped = surface.vertices.expand(3, -1, -1) * torch.tensor([1.0, 1.2, 0.8])[:, None, None]
    posed = pose(blend(weights, motions_about(rotations, translations, centres)), shaped)
    for i in range(3):
        arrays = [part.double().numpy() for part in (shaped[i], weights, rotations[i], translations[i], centres)]
        assert np.allclose(posed[i], pose_by_loop(*arrays), atol=1e-5)


@pytest.mark.parametrize("name", BODIES)
def test_every_body_keeps_the_contract(name):
    """Numbers give shapes with a motion from rest to posed; single vertices, single instances and gradients agree with
    the whole."""
    surface = toy_surface()
    body = make_body(surface, tiny({"model.body": name})).eval()
    numbers = (0.1 * torch.randn(3, body.size, generator=torch.Generator().manual_seed(0))).requires_grad_()
    shape, chosen = body(numbers), torch.tensor([2, 3, 70])
    assert shape.posed.shape == shape.rest.shape == (3, len(surface.vertices), 3)
    moved = (shape.motions[..., :3] @ shape.rest[..., None])[..., 0] + shape.motions[..., 3]
    assert torch.allclose(moved, shape.posed, atol=1e-5)
    some, wanted = body(numbers, chosen), shape.at(chosen)
    for part in ("posed", "rest", "motions"):
        assert torch.allclose(getattr(some, part), getattr(wanted, part), atol=1e-5)
    assert torch.allclose(body(numbers[1:2]).posed, shape.posed[1:2], atol=1e-5)
    assert body(torch.zeros(1, body.size)).posed.isfinite().all()
    if body.size:
        shape.posed.square().sum().backward()
        assert numbers.grad.isfinite().all() and numbers.grad.any()


def test_a_body_that_takes_numbers_and_has_no_forward_is_not_taken_for_the_rigid_one():
    class Forgotten(Body):
        size = 3

    body = Forgotten(toy_surface(), tiny({"model.body": "rigid"}))
    with pytest.raises(NotImplementedError, match="Forgotten takes 3 numbers and has no forward"):
        body(torch.zeros(2, 3))


@pytest.mark.parametrize("name", BODIES)
def test_every_body_goes_to_another_meshing_or_refuses(name):
    """What Body.carry says: from then on the vertices are those of the other meshing, or TemplateError."""
    body, other = make_body(toy_surface(), tiny({"model.body": name})).eval(), toy_surface(subdivisions=1)
    try:
        body.carry(other)
    except TemplateError:
        return
    assert body(torch.zeros(1, body.size)).posed.shape == (1, *other.vertices.shape)


def test_identity_parts_give_the_template():
    surface = toy_surface()
    body = make_body(surface, tiny())
    shape = body(torch.zeros(2, body.size))
    assert torch.allclose(shape.posed, surface.vertices.expand(2, -1, -1), atol=1e-6)
    assert torch.equal(shape.rest, surface.vertices.expand(2, -1, -1))


def test_one_motion_for_all_parts_is_rigid():
    """A law: with every part given the same motion about the same centre, distances are kept whatever the weights."""
    surface = toy_surface()
    rotations, translations = motions(1, 2)
    weights = torch.softmax(torch.randn(162, 5), 1)
    moved = pose(
        blend(weights, motions_about(rotations.expand(2, 5, 3, 3), translations.expand(2, 5, 3), torch.zeros(5, 3))),
        surface.vertices.expand(2, -1, -1),
    )
    assert torch.allclose(
        torch.cdist(moved, moved), torch.cdist(surface.vertices, surface.vertices).expand(2, -1, -1), atol=1e-3
    )


def test_parts_are_a_soft_assignment_that_follows_the_seeds():
    surface = toy_surface(basis=40)
    weights = torch.softmax(surface.functions @ first_parts(surface, 4, 32.0), dim=1)
    seeds, distance = spread_seeds(surface, 4)
    assert torch.allclose(weights.sum(1), torch.ones(162))
    assert len(set(seeds.tolist())) == 4
    assert torch.equal(weights[seeds].argmax(1), torch.arange(4))
    assert (weights.argmax(1) == distance.argmin(1)).float().mean() > 0.85


def test_seeds_do_not_cross_the_air():
    """Two bodies nearly touching each other are far apart, as no path joins them; within one, distance is at least
    straight."""
    one = toy_surface()
    vertices = torch.cat([one.vertices, one.vertices + torch.tensor([0.0, 0.6, 0.0])])
    pair = replace(
        one, vertices=vertices, faces=torch.cat([one.faces, one.faces + 162]), functions=one.functions.repeat(2, 1)
    )
    seeds, distance = spread_seeds(pair, 2)
    assert (seeds < 162).sum() == 1
    home = (torch.arange(324) >= 162) == (seeds[0] >= 162)
    straight = (vertices - vertices[seeds[0]]).norm(dim=1)
    assert (distance[:, 0] >= straight - 1e-5).all()
    assert torch.allclose(distance[~home, 0], straight[~home] + 0.5)


def test_least_squares_on_the_basis():
    surface = toy_surface()
    known = torch.randn(12, 3)
    assert torch.allclose(
        fit_linear(surface.functions, surface.functions @ known, surface.vertex_areas), known, atol=1e-4
    )


def test_part_centres_of_crisp_parts_are_their_centres_of_area():
    surface = toy_surface()
    weights = torch.eye(2)[(surface.vertices[:, 0] > 0).long()]
    areas = surface.vertex_areas
    right = surface.vertices[:, 0] > 0
    expected = (surface.vertices[right] * areas[right, None]).sum(0) / areas[right].sum()
    assert torch.allclose(part_centres(surface.vertices, weights, areas)[1], expected, atol=1e-5)


def test_blendshapes_are_linear_and_vanish_at_zero():
    surface, directions = toy_surface(), 0.02 * torch.randn(3, 12, 3)
    a, b = torch.randn(2, 3), torch.randn(2, 3)

    def offset(beta):
        return shaped(surface.vertices, surface.functions, directions, beta) - surface.vertices

    assert torch.equal(offset(torch.zeros(2, 3)), torch.zeros(2, 162, 3))
    assert torch.allclose(offset(a + 2 * b), offset(a) + 2 * offset(b), atol=1e-5)
    by_hand = torch.einsum("nb,kj,bjc->nkc", a, surface.functions, directions)
    assert torch.allclose(offset(a), by_hand, atol=1e-5)


def test_no_blendshapes():
    surface = toy_surface()
    body = make_body(surface, tiny({"model.blendshapes": 0}))
    assert body.size == 36
    assert torch.equal(body(torch.zeros(1, 36)).rest[0], surface.vertices)
