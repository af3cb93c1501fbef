"""The CSE losses against slow twins and their laws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.detection.training import losses
from dp3d_data.detection.training.compose import Batch
from dp3d_data.detection.training.losses import (
    KERNELS,
    at_points,
    embedding_losses,
    mask_loss,
    mirror_loss,
    mirror_losses,
    overlap_loss,
    pixel_cycle_loss,
    shape_cycle_loss,
    soft_embedding_loss,
    soft_targets,
)
from dp3d_data.detection.training.recipe import TrainCseConfig
from tests.data.inference.small import SMALL, small_network
from tests.references.training import cycle_loss_slow, mirror_loss_slow, soft_embedding_loss_slow


def units(rng, count, dim=4):
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=rng, dtype=torch.float64), dim=1)


def random_case(seed, points=5, vertices=7):
    """Pixel embeddings, vertex embeddings, true vertices, and a symmetric table of distances."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randn(points, 4, generator=rng, dtype=torch.float64)
    truth = torch.randint(vertices, (points,), generator=rng)
    field = units(rng, vertices)
    return pixels, field, truth, torch.cdist(field, field)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("seed", range(3))
def test_soft_embedding_loss_equals_its_slow_twin(seed, kernel):
    pixels, field, truth, geodesics = random_case(seed)
    slow = soft_embedding_loss_slow(
        pixels.tolist(), field.tolist(), truth.tolist(), geodesics.tolist(), 0.5, 0.3, kernel
    )
    fast = soft_embedding_loss(pixels, field, truth, soft_targets(geodesics, 0.3, kernel), 0.5)
    assert float(fast) == pytest.approx(slow, rel=1e-9)


def test_soft_embedding_loss_vanishes_when_the_prediction_is_the_target():
    """Distances on the surface that are the squared distances of the embeddings, and pixels at their vertices."""
    _, field, truth, _ = random_case(0)
    squared = torch.cdist(field, field).square()
    perfect = soft_embedding_loss(field[truth], field, truth, soft_targets(squared, 1.0), 1.0)
    assert float(perfect) == pytest.approx(0, abs=1e-12)
    assert float(soft_embedding_loss(field[truth], field, (truth + 1) % 7, soft_targets(squared, 1.0), 1.0)) > 1e-3


def test_soft_embedding_loss_gradient():
    pixels, field, truth, geodesics = random_case(1)
    targets = soft_targets(geodesics, 0.3)
    inputs = (pixels.requires_grad_(), field.requires_grad_())
    assert torch.autograd.gradcheck(lambda p, v: soft_embedding_loss(p, v, truth, targets, 0.5), inputs)


@pytest.mark.parametrize("kernel", KERNELS)
def test_vertices_of_another_component_get_no_share(kernel):
    apart = torch.tensor([[0.0, torch.inf], [torch.inf, 0.0]])
    targets = soft_targets(apart, 0.1, kernel)
    torch.testing.assert_close(targets.share, torch.eye(2))
    assert targets.log_share.tolist() == [0, 0]


def test_no_points_give_a_zero_that_can_be_differentiated():
    targets = soft_targets(torch.zeros(3, 3), 1.0)
    for loss_of in (
        lambda pixels: soft_embedding_loss(pixels, torch.ones(3, 4), torch.zeros(0, dtype=torch.int64), targets, 1.0),
        lambda pixels: pixel_cycle_loss(pixels, torch.ones(3, 4), torch.zeros(0, 2), 1.0),
    ):
        pixels = torch.zeros(0, 4, requires_grad=True)
        loss_of(pixels).backward()
        assert loss_of(pixels).item() == 0


@pytest.mark.parametrize("seed", range(3))
def test_cycle_losses_equal_their_slow_twin(seed):
    rng = torch.Generator().manual_seed(seed)
    here, there, pixels = units(rng, 5), units(rng, 6), torch.randn(4, 4, generator=rng, dtype=torch.float64)
    geodesics, positions = torch.cdist(here, here), torch.rand(4, 2, generator=rng, dtype=torch.float64)
    slow = cycle_loss_slow(here.tolist(), there.tolist(), geodesics.tolist(), 0.4)
    assert float(shape_cycle_loss(here, there, geodesics, 0.4)) == pytest.approx(slow, rel=1e-9)
    slow = cycle_loss_slow(pixels.tolist(), there.tolist(), torch.cdist(positions, positions).tolist(), 0.4)
    assert float(pixel_cycle_loss(pixels, there, positions, 0.4)) == pytest.approx(slow, rel=1e-9)


def test_a_cycle_through_the_same_field_returns():
    """Embeddings that are told apart lead every start back to itself."""
    field = torch.eye(6)
    assert float(shape_cycle_loss(field, field, 1 - torch.eye(6), 0.05)) < 1e-6
    assert float(shape_cycle_loss(field, field[:3], 1 - torch.eye(6), 0.05)) > 0.1


def mirrored_case(seed):
    """Pixels of an image and of its mirror image, a field whose mirror flips its last dimension, and the mirror."""
    pixels, field, *_ = random_case(seed)
    turned = field * torch.tensor([1.0, 1, 1, -1], dtype=torch.float64)
    field, mirror = torch.cat([field, turned]), torch.arange(14).roll(7)
    return (
        pixels,
        torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed + 9), dtype=torch.float64),
        field,
        mirror,
    )


@pytest.mark.parametrize("seed", range(3))
def test_mirror_loss_equals_its_slow_twin(seed):
    case = mirrored_case(seed)
    assert float(mirror_loss(*case, 0.5)) == pytest.approx(mirror_loss_slow(*case, 0.5))
    assert float(mirror_loss(*case, 0.5)) > 0.01


def test_mirror_loss_vanishes_where_left_and_right_are_exchanged():
    pixels, _, field, mirror = mirrored_case(1)
    assert float(mirror_loss(pixels, pixels * torch.tensor([1.0, 1, 1, -1]), field, mirror, 0.5)) == pytest.approx(
        0, abs=1e-12
    )
    assert float(mirror_loss(pixels, pixels, field, mirror, 0.5)) > 0.01


def test_overlap_loss_is_one_minus_dice_of_each_box():
    """Sure answers: the same mask has none, half of a mask that is itself a half 1/3, a mask elsewhere all; small ones
    count alike."""
    true = torch.zeros(3, 40, 40)
    true[0, :20], true[1, :20], true[2, :2] = 1, 1, 1
    said = torch.zeros(3, 40, 40)
    said[0, :20], said[1, :10], said[2, 2:4] = 1, 1, 1
    logits = 40 * torch.stack([1 - said, said], dim=1)
    apart = [overlap_loss(logits[i : i + 1], true[i : i + 1]).item() for i in range(3)]
    assert apart == pytest.approx([0, 1 / 3, 1], abs=0.01)
    assert overlap_loss(logits, true).item() == pytest.approx(sum(apart) / 3, rel=1e-5)
    none = torch.zeros(0, 2, 4, 4, requires_grad=True)
    assert overlap_loss(none, torch.zeros(0, 4, 4)).item() == 0


def test_mask_loss_vanishes_on_a_sure_and_right_answer():
    masks = (torch.rand(2, 6, 6) > 0.5).float()
    sure = torch.stack([1 - masks, masks], dim=1) * 50
    assert float(mask_loss(sure, masks)) < 1e-6 < float(mask_loss(-sure, masks))


def test_a_cell_that_is_half_covered_is_of_the_object():
    assert float(mask_loss(torch.tensor([-25.0, 25.0]).reshape(1, 2, 1, 1), torch.full((1, 1, 1), 0.5))) < 1e-6


def test_every_point_counts_the_same_whichever_mesh_it_is_on():
    rng = torch.Generator().manual_seed(0)
    spec = replace(SMALL, class_to_mesh={0: "dog", 1: "cow"}, mesh_sizes={"dog": 40, "cow": 30})
    network, targets = small_network(spec), {}
    for class_id, mesh in spec.class_to_mesh.items():
        field = network.embedder(mesh)().detach()
        targets[class_id] = replace(soft_targets(torch.cdist(field, field), 0.2), mesh=mesh)
    classes, owner = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1, 2, 2, 2])
    boxes, vertices = torch.tensor([[0.0, 0, 8, 8]]).expand(3, 4), torch.arange(6)
    places, maps = 8 * torch.rand(6, 2, generator=rng), torch.randn(3, 16, 8, 8, generator=rng)
    config, drawn = TrainCseConfig(embedding_sigma=0.5), (owner, vertices, places)
    loss = embedding_losses(network, maps, boxes, classes, drawn, targets, config, rng)["embedding"]
    pixels, kinds = at_points(maps, boxes, owner, places), classes[owner].tolist()
    each = [
        soft_embedding_loss(
            pixels[i : i + 1], network.embedder(targets[kind].mesh)(), vertices[i : i + 1], targets[kind], 0.5
        )
        for i, kind in enumerate(kinds)
    ]
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_the_mirror_image_is_read_at_the_mirrored_points(monkeypatch):
    """A network that says the pixel's own colour says the same of a point and of its mirror image."""
    network = small_network()
    images = torch.randint(0, 255, (1, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    points, owner = torch.tensor([[1.5, 2.5], [6.5, 0.5], [4.5, 7.5]]), torch.zeros(3, dtype=torch.int64)
    whole, masks = torch.tensor([[0.0, 0, 8, 8]]), images[:, 0] > 0
    crops = Batch(images, owner[:1], owner[:1], whole, masks, points, owner, owner, images[:, 0].float())
    targets = {0: replace(soft_targets(torch.rand(40, 40), 0.1), mirror=torch.arange(40), mesh="dog")}
    said = {}
    monkeypatch.setattr(
        losses,
        "_second_look",
        lambda network, images, config: {"embedding": images[:, :1].float().expand(-1, 16, -1, -1)},
    )
    monkeypatch.setattr(losses, "mirror_loss", lambda pixels, mirrored, *rest: said.update(it=mirrored) or pixels.sum())
    own = images[0, 0, [2, 0, 7], [1, 6, 4]].float()[:, None].expand(-1, 16)
    mirror_losses(network, crops, own, targets, TrainCseConfig())
    torch.testing.assert_close(said["it"], own, atol=1e-3, rtol=0)


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
