"""Perspective: bodies before pinholes of known intrinsics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.files import write_arrays
from dp3d_data.loader import Loader
from dp3d_data.shards.batch import collate
from dp3d_data.shards.reader import ShardReader
from dp3d_model.evaluation.evaluator import lift, score_model
from dp3d_model.geometry.perspective import (
    Pinhole,
    about_the_axis,
    in_units_of,
    normalise,
    place,
    rotation_to,
    solve_placement,
    turned_towards,
)
from dp3d_model.geometry.surface import surface_of
from dp3d_model.lifting.prediction import predict
from dp3d_model.networks.lifter import Lifter, reproject
from dp3d_model.training.trainer import Trainer
from tests.model.pinholes import pinhole_instances, pinhole_shards
from tests.model.toy import source_of, tiny, toy_instances, toy_surface
from tests.references.model import pinhole_by_loop, place_by_loop, placement_by_least_squares

SURFACE = toy_surface()


def stirred(*changes):
    """A lifter whose network says something."""
    torch.manual_seed(0)
    lifter = Lifter(SURFACE, tiny({"model.projection": "perspective"}, *changes)).eval()
    torch.nn.init.normal_(lifter.trunks[0].head.weight, std=0.03)
    return lifter


def random_placement(count=3, points=9):
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    visible = torch.rand(count, points, generator=generator) < 0.7
    inverse_depth = 0.2 + 0.2 * torch.rand(count, generator=generator, dtype=torch.float64)
    pinhole = Pinhole(inverse_depth, 0.1 * draw(count, 2), torch.eye(3).expand(count, 3, 3))
    body = draw(count, points, 3)
    return body, 0.8 * body[..., :2] + 0.1 * draw(count, points, 2), visible, pinhole


def test_the_solved_translation_is_the_least_squares_one():
    points, keypoints, visible, pinhole = random_placement()
    shift, distance = solve_placement(points, keypoints, visible, pinhole)
    for i in range(len(points)):
        pieces = (
            points[i].numpy(),
            keypoints[i].numpy(),
            visible[i].numpy(),
            float(pinhole.inverse_depth[i]),
            pinhole.axis[i].numpy(),
        )
        expected_shift, expected = placement_by_least_squares(*pieces)
        assert abs(float(distance[i]) - expected) < 1e-9
        assert np.abs(shift[i].numpy() - expected_shift).max() < 1e-9


def test_bodies_are_placed_like_the_slow_twin():
    points, keypoints, visible, pinhole = random_placement()
    placed = place(0.3 * points, keypoints, visible, pinhole)
    for i in range(len(points)):
        pieces = (
            0.3 * points[i].numpy(),
            keypoints[i].numpy(),
            visible[i].numpy(),
            float(pinhole.inverse_depth[i]),
            pinhole.axis[i].numpy(),
        )
        assert np.abs(placed[i].numpy() - place_by_loop(*pieces)).max() < 1e-9


def test_gradients_of_the_solved_translation():
    points, keypoints, visible, pinhole = random_placement()
    points.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: solve_placement(x, keypoints, visible, pinhole), (points,))
    assert torch.autograd.gradcheck(lambda x: place(x, keypoints, visible, pinhole), (points,))


def test_every_visible_point_lies_before_the_pinhole():
    """Keypoints that only a body behind the viewer could give: the distance stops where the nearest point would reach
    it."""
    points, keypoints, visible, pinhole = random_placement()
    _, distance = solve_placement(points, -5.0 * keypoints, visible, pinhole)
    depth = points[..., 2] - (points[..., 2] * visible).sum(1, keepdim=True) / visible.sum(1, keepdim=True)
    assert bool(((distance[:, None] + pinhole.inverse_depth[:, None] * depth)[visible] > 0).all())
    assert bool(place(points * torch.tensor([1.0, 1.0, 50.0]), keypoints, visible, pinhole).isfinite().all())


def test_the_turned_camera_looks_at_the_object():
    world = pinhole_instances(SURFACE, 2, 4, count=6)
    seen, turn, per_focal = turned_towards(world)
    assert torch.allclose(turn @ turn.transpose(1, 2), torch.eye(3).expand(6, 3, 3), atol=1e-5)
    assert torch.allclose(per_focal, 1.0 / world.intrinsics[:, :2].prod(1).sqrt())
    for i in range(6):
        rays = (
            np.append(seen[i].numpy() * float(per_focal[i]), np.ones((SURFACE.vertices.shape[0], 1)), axis=1)
            @ turn[i].numpy().T
        )
        again = pinhole_by_loop(rays, world.intrinsics[i, :2].numpy(), world.intrinsics[i, 2:].numpy())
        assert np.abs(again - world.keypoints[i].numpy()).max() < 0.02


def test_other_keypoints_of_the_same_cameras_come_in_the_same_units():
    world = collate([pinhole_instances(SURFACE, 2, 4, count=3), toy_instances(SURFACE, count=2, name="flat")])
    seen = normalise(SURFACE, world, "closed-form")
    again = in_units_of(seen, world)
    assert torch.allclose(again.keypoints, seen.keypoints, atol=1e-5)
    assert torch.allclose(normalise(SURFACE, about_the_axis(world)).keypoints, seen.keypoints, atol=1e-4)


def test_the_smallest_turn():
    direction = torch.nn.functional.normalize(
        torch.tensor([[0.3, -0.5, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64), dim=1
    )
    turn = rotation_to(direction)
    assert torch.allclose(turn[:, :, 2], direction) and torch.allclose(turn[1], torch.eye(3, dtype=torch.float64))
    assert torch.allclose(turn @ turn.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(2, 3, 3))


def test_a_rigid_body_before_a_pinhole_gives_its_pose_and_distance_back():
    world = pinhole_instances(SURFACE, 2, 4, count=10, bend=0.0)
    seen = normalise(SURFACE, world, "closed-form")
    lifter = Lifter(SURFACE, tiny({"model.body": "rigid", "model.projection": "perspective"})).eval()
    _, lifted = lift(lifter, world)
    centred = lifted.in_camera() - lifted.in_camera().mean(1, keepdim=True)
    assert (centred - world.true_vertices).abs().max() < 5e-3
    assert torch.allclose(lifted.scale(seen), world.true_scale, rtol=5e-3)
    assert (reproject(lifted, seen) - seen.keypoints)[world.visible].abs().max() < 2e-3


@pytest.mark.parametrize("scale", ["fitted", "solved", "learned"])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_far_pinhole_is_orthographic(scale, steps):
    """The law: as the focal length grows with the distance, the answer becomes the orthographic one."""
    lifter = stirred({"model.scale": scale, "model.camera_steps": steps})
    world = pinhole_instances(SURFACE, 3e4, 4e4, count=8, aside=0.0, oblong=0.0)
    flat = replace(world, intrinsics=None)
    near, far = lift(lifter, world)[1], lift(lifter, flat)[1]
    assert (near.in_camera() - far.in_camera()).abs().max() < 2e-3
    assert torch.allclose(near.log_scale, far.log_scale, atol=1e-3)


def test_instances_without_intrinsics_fall_back_one_by_one():
    lifter = stirred()
    known, unknown = pinhole_instances(SURFACE, 2, 4, count=4), toy_instances(SURFACE, count=4, name="flat")
    both = lift(lifter, collate([known, unknown]))[1]
    alone, parallel = lift(lifter, known)[1], lift(lifter, unknown)[1]
    assert torch.allclose(both.in_camera()[:4], alone.in_camera(), atol=1e-5)
    assert torch.allclose(both.in_camera()[4:], parallel.in_camera(), atol=1e-5)
    blind = Lifter(SURFACE, tiny()).eval()
    assert blind.normalise(known).pinhole is None


@pytest.mark.parametrize("scale", ["fitted", "solved"])
def test_predictions_carry_the_pinhole(scale, tmp_path):
    lifter, world = stirred({"model.scale": scale}), pinhole_instances(SURFACE, 2, 4, count=5)
    mixed = collate([world, toy_instances(SURFACE, count=1, name="flat")])
    (many,) = predict(lifter, mixed)
    predictions = [many.at(i) for i in range(6)]
    seen, lifted = lift(lifter, mixed)
    for i, prediction in enumerate(predictions[:5]):
        expected = reproject(lifted, seen)[i] * seen.camera.scale[i]
        placed = prediction.vertices @ prediction.camera_from_template.T + prediction.position
        pixels = pinhole_by_loop(placed, prediction.intrinsics[:2], prediction.intrinsics[2:])
        assert np.abs(pixels - prediction.projected()[:, :2]).max() < 1e-2
        focal = np.sqrt(prediction.intrinsics[:2].prod())
        assert prediction.scale == pytest.approx(focal / placed[:, 2].mean(), rel=1e-4)
        again, _, per_focal = turned_towards(replace(mixed.take([i]), keypoints=torch.tensor(pixels)[None].float()))
        assert (again[0] - again[0].mean(0) - (expected - expected.mean(0))).abs().max() < 2.0
    assert np.isnan(predictions[5].intrinsics).all() and np.isnan(predictions[5].position).all()
    stored = np.load(write_arrays(tmp_path / "near.npz", **predictions[0].arrays()))
    assert np.array_equal(stored["position"], predictions[0].position)


@pytest.mark.slow
@pytest.mark.parametrize(("near", "far", "aside", "oblong"), [(2.0, 4.0, 0.3, 0.05), (3e4, 4e4, 0.0, 0.0)])
def test_perspective_shards_train_and_beat_parallel_rays_on_near_cameras(near, far, aside, oblong, tmp_path):
    """Through the real writer; every fifth instance keeps its camera to itself. Far away both are the same."""
    shards = pinhole_shards(tmp_path, pinhole_instances(SURFACE, near, far, 120, bend=0.1, aside=aside, oblong=oblong))
    reader, fields = ShardReader(shards), {"batch_size": 16, "fields": ["intrinsics"], "threads": 0}
    batch = next(iter(Loader(shards, "train", **fields)))
    assert batch.intrinsics.shape == (16, 4)
    assert 0 < int(batch.intrinsics.isnan().any(1).sum()) < 16
    surface, world = surface_of(reader.template, reader.basis.functions, 12), reader.split("train")
    errors = {}
    for projection in ("orthographic", "perspective"):
        settings = tiny(
            {"model.projection": projection, "optim.steps": 40, "optim.learning_rate": 3e-3, "loss.canonical": 0.0}
        )
        lifter = Trainer(surface, source_of(world), settings, tmp_path / projection, threads=0).run()
        errors[projection] = score_model(lifter, reader.split("val").with_truth()).means()["given"]["mpjpe"]
    ratio = errors["perspective"] / errors["orthographic"]
    assert ratio < 0.85 if near < 10 else abs(ratio - 1) < 0.05
