"""The CSE losses against slow twins and their laws."""

import numpy as np
import pytest
import torch

from dp3d_data.training.losses import at_points, mask_loss, soft_embedding_loss
from tests.references.training import soft_embedding_loss_slow


def random_case(seed, points=5, vertices=7, dim=4):
    rng = torch.Generator().manual_seed(seed)
    embeddings = torch.nn.functional.normalize(torch.randn(vertices, dim, generator=rng, dtype=torch.float64), dim=1)
    pixels = torch.randn(points, dim, generator=rng, dtype=torch.float64)
    return pixels, embeddings, torch.rand(points, vertices, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
def test_soft_embedding_loss_equals_its_slow_twin(seed):
    case = random_case(seed)
    slow = soft_embedding_loss_slow(*(part.tolist() for part in case), 0.5, 0.3)
    assert float(soft_embedding_loss(*case, 0.5, 0.3)) == pytest.approx(slow, rel=1e-9)


def test_soft_embedding_loss_is_smallest_when_prediction_is_the_target():
    """A pixel whose distances to the embeddings mirror the geodesics scores zero."""
    _, vertices, _ = random_case(0)
    pixels = vertices[:3] * 0.9
    squared = ((pixels[:, None] - vertices[None]) ** 2).sum(-1)
    assert float(soft_embedding_loss(pixels, vertices, squared, 1.0, 1.0)) == pytest.approx(0, abs=1e-12)
    assert float(soft_embedding_loss(pixels, vertices, squared.flip(1), 1.0, 1.0)) > 1e-3


def test_soft_embedding_loss_gradient():
    pixels, vertices, geodesics = random_case(1)
    inputs = (pixels.requires_grad_(), vertices.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, v: soft_embedding_loss(p, v, geodesics, 0.5, 0.3), inputs)


def test_no_points_give_a_zero_that_can_be_differentiated():
    pixels = torch.zeros(0, 4, requires_grad=True)
    loss = soft_embedding_loss(pixels, torch.ones(3, 4), torch.zeros(0, 3), 1.0, 1.0)
    loss.backward()
    assert float(loss) == 0


def test_mask_loss_vanishes_on_a_sure_and_right_answer():
    masks = (torch.rand(2, 6, 6) > 0.5).float()
    sure = torch.stack([1 - masks, masks], dim=1) * 50
    assert float(mask_loss(sure, masks)) < 1e-6 < float(mask_loss(-sure, masks))


def test_at_points_reads_cell_centres_exactly():
    """A point at the centre of a cell of its box reads that cell, for boxes of any size."""
    maps = torch.randn(2, 3, 4, 4)
    boxes = torch.tensor([[10.0, 20.0, 18.0, 28.0], [0.0, 0.0, 40.0, 4.0]])
    owner, cells = torch.tensor([0, 1, 1]), np.array([[1, 2], [0, 0], [3, 1]])
    size = boxes[:, 2:] - boxes[:, :2]
    positions = boxes[owner, :2] + (torch.from_numpy(cells) + 0.5) / 4 * size[owner]
    read = at_points(maps, boxes, owner, positions.float())
    expected = torch.stack([maps[o, :, y, x] for o, (x, y) in zip(owner, cells, strict=True)])
    torch.testing.assert_close(read, expected, atol=1e-4, rtol=1e-4)
