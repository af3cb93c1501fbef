"""The lifters that ours is measured beside answer in the camera's frame and learn; python -m tests.bench.peers.lifters
trains them."""

import pytest
import torch

from dp3d_model.geometry.perspective import in_units_of, normalise
from tests.bench.peers.lifting_networks import C3DPO, LocalSubsets, Tokens
from tests.model.toy import toy_instances, toy_surface

MAKERS = {
    "C3DPO": lambda rest: C3DPO(rest, width=32, blocks=1),
    "local subsets": lambda rest: LocalSubsets(rest, width=32, blocks=1, sets=2, size=4),
    "tokens": lambda rest: Tokens(rest, width=8, layers=2, heads=2, code=4),
    "tokens named once": lambda rest: Tokens(rest, width=8, layers=2, heads=2, every_layer=False),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_peer_answers_every_point_and_learns(name):
    """Its own loss falls, and its answer is a point for each keypoint."""
    surface = toy_surface(subdivisions=1)
    world = toy_instances(surface, 24)
    torch.manual_seed(0)
    network, inputs = MAKERS[name](surface.vertices), normalise(surface, world)
    targets, losses = in_units_of(inputs, world), []
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(25):
        loss = network.own_loss(inputs, targets, torch.Generator().manual_seed(1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    network.eval()
    with torch.no_grad():
        found = network(inputs)
    assert found.shape == world.true_vertices.shape
    assert bool(found.isfinite().all())
