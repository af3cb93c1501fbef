"""Normalised batches and what the network reads of them."""

from dataclasses import replace

import pytest
import torch

from dp3d_model.geometry.perspective import normalise
from dp3d_model.networks.encoder import Encoder
from dp3d_model.networks.lifter import Lifter, reproject
from tests.model.toy import tiny, toy_instances, toy_surface


def test_a_rigid_body_leaves_no_residual():
    surface = toy_surface()
    world = toy_instances(surface, count=6, bend=0.0)
    encoder = Encoder(surface, "residual", 24)
    features = encoder(normalise(surface, world))
    assert features.shape == (6, encoder.size)
    assert features[:, :72].abs().max() < 0.02
    assert features[:, 72:96].min() >= 0
    assert features[:, 72:96].max() <= 1 + 1e-5


@pytest.mark.parametrize("cells", [0, 24])
def test_turning_the_image_changes_no_input_and_turns_the_answer(cells):
    """A law of the residual input: in-plane rotation, zoom and shift drop out."""
    surface = toy_surface()
    world = toy_instances(surface, count=5, bend=0.3)
    lifter = Lifter(surface, tiny({"model.input_cells": cells})).eval()
    torch.nn.init.normal_(lifter.trunks[0].head.weight, std=0.05)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    one = lifter.normalise(world)
    two = lifter.normalise(replace(world, keypoints=1.7 * world.keypoints @ turn.T - 40.0))
    assert torch.allclose(lifter.encoder(one), lifter.encoder(two), atol=1e-3)
    before, after = lifter(one).in_camera(), lifter(two).in_camera()
    assert torch.allclose(after, before @ torch.block_diag(turn, torch.ones(1, 1)).T, atol=1e-3)


def test_patches_average_their_visible_vertices():
    surface = toy_surface()
    world = toy_instances(surface, count=4, bend=0.3)
    seen = normalise(surface, world)
    whole, pooled = Encoder(surface, "residual", 0), Encoder(surface, "residual", 24)
    each = whole(seen)[:, : 3 * 162].reshape(4, 162, 3)
    cell = 5
    weight = pooled.share[:, 0] * world.visible[0] * (pooled.owner == cell)
    if weight.sum() > 0:
        assert torch.allclose(pooled(seen)[0, 3 * cell : 3 * cell + 3], weight @ each[0] / weight.sum(), atol=1e-4)


@pytest.mark.parametrize("camera", ["closed-form", "learned"])
def test_the_supplement_reads_keypoints(camera):
    surface = toy_surface()
    world = toy_instances(surface, count=4)
    lifter = Lifter(
        surface, tiny({"model.network_input": "keypoints", "model.camera": camera, "model.input_cells": 0})
    ).eval()
    seen = lifter.normalise(world)
    assert lifter.encoder(seen).shape == (4, 3 * 162 + 6)
    if camera == "learned":
        assert torch.equal(seen.camera.rotation[0], torch.eye(3))


def test_reprojection_is_aligned_on_the_visible_keypoints():
    surface = toy_surface()
    world = toy_instances(surface, count=4, bend=0.0)
    lifter = Lifter(surface, tiny()).eval()
    with torch.no_grad():
        lifter.trunks[0].head.weight.zero_()
        seen = lifter.normalise(world)
        projected = reproject(lifter(seen), seen)
    assert torch.allclose(projected[world.visible], seen.keypoints[world.visible], atol=1e-3)
