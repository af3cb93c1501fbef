"""Trees of parts and the rotations in them: a recursive twin, laws, and other people's rotations."""

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.spatial.transform import Rotation

from dp3d_model.bodies import make_body
from dp3d_model.bodies.shape import chain, part_tree
from dp3d_model.geometry.camera import random_rotations, refine_rotation, rotation_from_log
from tests.model.toy import tiny, toy_surface
from tests.references.model import chain_by_recursion

TREES = [(-1,), (-1, 0, 1, 2), (3, 0, 0, -1, 1), (1, -1, 1, 1, 1)]


def motions(count, n=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    turn = random_rotations(n * count, "uniform", generator).reshape(n, count, 3, 3)
    return torch.cat([turn, torch.randn(n, count, 3, 1, generator=generator)], -1).double()


@pytest.mark.parametrize("parents", TREES)
def test_chains_agree_with_the_recursion(parents):
    own = motions(len(parents))
    found = chain(own, parents)
    for i in range(2):
        turns, shifts = own[i, :, :, :3].numpy(), own[i, :, :, 3].numpy()
        for part in range(len(parents)):
            turn, shift = chain_by_recursion(turns, shifts, parents, part)
            assert np.allclose(found[i, part, :, :3], turn, atol=1e-6)
            assert np.allclose(found[i, part, :, 3], shift, atol=1e-6)


@pytest.mark.parametrize("parents", TREES)
def test_still_parts_stay(parents):
    still = torch.eye(3, 4).expand(2, len(parents), 3, 4)
    assert torch.equal(chain(still, parents), still)


@pytest.mark.parametrize("parents", TREES)
def test_turning_the_root_turns_all(parents):
    """A law: a motion put before the root's own is put before everybody's."""
    own, extra = motions(len(parents)), motions(1, seed=5)[:, 0]

    def before(motion):
        moved = extra[..., :3] @ motion
        return torch.cat([moved[..., :3], moved[..., 3:] + extra[..., 3:]], -1)

    root = parents.index(-1)
    changed = own.clone()
    changed[:, root] = before(own[:, root])
    expected = torch.stack([before(part) for part in chain(own, parents).unbind(1)], 1)
    assert torch.allclose(chain(changed, parents), expected, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 2, 4, 9])
def test_every_part_reaches_the_root(parts):
    surface = toy_surface()
    parents = make_body(surface, tiny({"model.pivot": "joint", "model.parts": parts})).parents
    assert sorted(parents)[0] == -1 and parents.count(-1) == 1
    for part in range(parts):
        seen = []
        while part >= 0:
            assert part not in seen
            seen.append(part)
            part = parents[part]


def test_neighbours_are_joined():
    """Crisp parts in a row that overlap by pairs make a path rooted in one of the middle ones."""
    weights = torch.zeros(40, 4)
    for part in range(4):
        weights[10 * part : 10 * part + 13, part] = 1.0
    weights = weights / weights.sum(1, keepdim=True)
    parents = part_tree(weights, torch.ones(40))
    assert {frozenset(pair) for pair in enumerate(parents) if pair[1] >= 0} == {
        frozenset(pair) for pair in ((0, 1), (1, 2), (2, 3))
    }
    assert parents.index(-1) in (1, 2)


def test_a_still_tree_is_the_template():
    surface = toy_surface()
    body = make_body(surface, tiny({"model.pivot": "joint"}))
    assert torch.allclose(body(torch.zeros(2, body.size)).posed, surface.vertices.expand(2, -1, -1), atol=1e-6)


def test_rotations_from_logarithms_agree_with_scipy():
    """From nothing over tiny angles to more than a turn."""
    vectors = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in (0.0, 1e-8, 1e-4, 9e-4, 1.1e-3, 1.0, 4.0):
        expected = Rotation.from_rotvec((size * vectors).numpy()).as_matrix()
        assert np.abs(rotation_from_log(size * vectors).numpy() - expected).max() < 1e-9


def test_gradient_of_logarithms():
    vectors = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in (1e-5, 1.0):
        assert torch.autograd.gradcheck(rotation_from_log, (size * vectors).requires_grad_())


def test_refined_cameras_are_the_least_squares_ones():
    """Against scipy's solver on the same unknowns: three of the rotation, a scale, a translation."""
    generator = torch.Generator().manual_seed(0)
    posed = torch.randn(3, 40, 3, generator=generator, dtype=torch.float64)
    visible = torch.rand(3, 40, generator=generator) > 0.4
    start = random_rotations(3, "uniform", generator).double()
    true = rotation_from_log(0.2 * torch.randn(3, 3, generator=generator, dtype=torch.float64)) @ start
    keypoints = (
        1.1 * (posed @ true.transpose(1, 2))[..., :2]
        + 0.05 * torch.randn(3, 40, 2, generator=generator, dtype=torch.float64)
        + 0.3
    )
    rotation, scale = refine_rotation(start, posed, keypoints, visible, 30)
    for i in range(3):
        x, y, seen, first = posed[i].numpy(), keypoints[i].numpy(), visible[i].numpy(), start[i].numpy()

        def apart(numbers, x=x[seen], y=y[seen], first=first):
            turn = Rotation.from_rotvec(numbers[:3]).as_matrix() @ first
            return (numbers[3] * (x @ turn.T)[:, :2] + numbers[4:] - y).ravel()

        fitted = scipy.optimize.least_squares(apart, [0, 0, 0, 1, 0, 0], xtol=1e-14).x
        assert np.allclose(rotation[i], Rotation.from_rotvec(fitted[:3]).as_matrix() @ first, atol=1e-5)
        assert np.isclose(float(scale[i]), fitted[3], atol=1e-5)
