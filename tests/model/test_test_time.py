"""Test-time optimisation: masks in template units, the prior, and what moving an instance to its evidence does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.config import changed
from dp3d_data.geometry.renderer import silhouette
from dp3d_data.run_lengths import encode_pixels
from dp3d_model.config import preset
from dp3d_model.evaluation.quality import agreement, silhouette_iou
from dp3d_model.lifting.model_file import load_model, save_model
from dp3d_model.lifting.prediction import predict
from dp3d_model.lifting.test_time import (
    HALVES,
    SLACK,
    answers_to_halves,
    evidence_of,
    halves,
    learn_prior,
    own_reprojection,
    refined,
    silhouette_cost,
    silhouettes_of,
)
from dp3d_model.losses.terms import pseudo_huber
from dp3d_model.networks.lifter import Lifter, reproject
from tests.model.toy import tiny, toy_instances, toy_surface


def square(size=(120, 100), low=(30, 20), high=(70, 60)):
    mask = np.zeros(size[::-1], dtype=bool)
    mask[low[1] : high[1], low[0] : high[0]] = True
    return mask


def test_distances_to_a_mask_are_those_of_the_picture_in_other_units():
    masks = silhouettes_of(
        [encode_pixels(square()), None], torch.tensor([[50.0, 40.0], [0.0, 0.0]]), torch.tensor([20.0, 1.0])
    )
    points = torch.tensor([[0.0, 0.0], [0.9, 0.9], [1.5, 0.0], [0.0, -1.4], [-1.3, -1.4]])  # the square is [-1, 1]
    distance = masks.outside(points.expand(2, 5, 2))
    torch.testing.assert_close(distance[0], torch.tensor([0.0, 0.0, 0.5, 0.4, 0.5]), atol=0.06, rtol=0.0)
    assert masks.known.tolist() == [True, False]
    assert masks.pixels[0].abs().max() <= 1.0 and masks.pixels[0].abs().max() > 0.95
    assert float(masks.uncovered(torch.zeros(2, 1, 2))[0].max()) == pytest.approx(2**0.5, abs=0.06)


def test_nobody_knows_what_lies_beyond_the_image():
    mask = np.zeros((60, 60), dtype=bool)
    mask[:, 40:] = True
    masks = silhouettes_of([encode_pixels(mask)], torch.zeros(1, 2), torch.ones(1))
    outside = masks.outside(torch.tensor([[[62.0, 30.0], [75.0, 30.0], [20.0, 30.0]]]))[0]
    assert outside[0] == 0 and outside[1] == 0 and outside[2] > 10


def test_no_mask_at_all_is_no_silhouette():
    assert silhouettes_of([None, None], torch.zeros(2, 2), torch.ones(2)) is None
    empty = silhouettes_of([encode_pixels(np.zeros((4, 4), dtype=bool))], torch.zeros(1, 2), torch.ones(1))
    assert float(empty.outside(torch.ones(1, 3, 2)).sum()) == 0


def test_a_mask_left_uncovered_costs_more_than_a_body_that_reaches_beyond_it():
    """A body larger than its mask by a margin, and one smaller by as much: three times the weight on what is left."""
    mask = np.zeros((100, 100), dtype=bool)
    mask[20:80, 20:80] = True
    one, two = (silhouettes_of([encode_pixels(mask)] * n, torch.zeros(n, 2), torch.full((n,), 100.0)) for n in (1, 2))

    def disc(low, high):
        lines = torch.linspace(low, high, 60)
        return torch.stack(torch.meshgrid(lines, lines, indexing="xy"), dim=-1).flatten(0, 1)

    larger, smaller = silhouette_cost(torch.stack([disc(0.1, 0.9), disc(0.3, 0.7)]), two, 0.01)
    outside = pseudo_huber(one.outside(disc(0.1, 0.9)[None])[..., None], 0.01).mean()
    inside = pseudo_huber((one.uncovered(disc(0.3, 0.7)[None])[..., None] - SLACK).clamp_min(0.0), 0.01).mean()
    assert larger == pytest.approx(0.5 * float(outside), rel=1e-3)
    assert smaller == pytest.approx(1.5 * float(inside), rel=1e-3)
    assert smaller > larger > 0


def lifter_with_prior(world, *changes):
    """A network whose answers differ, and the prior of them."""
    surface = toy_surface()
    torch.manual_seed(0)
    lifter = Lifter(surface, tiny({"model.prior_directions": 8, "model.scale": "learned"}, *changes)).eval()
    for parameter in lifter.trunks.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    with torch.no_grad():
        learn_prior(lifter, lifter.numbers(lifter.normalise(world)))
    return lifter


def test_the_start_is_the_mean_of_answers_to_halves_that_are_the_same_in_every_batch():
    world = toy_instances(toy_surface(), 24)
    lifter = lifter_with_prior(world, {"refine.steps": 1, "refine.learning_rate": 0.0})
    seen = lifter.normalise(world)
    parts = list(halves(seen))
    shown = torch.stack([part.visible for part in parts]).float()
    assert bool((shown.bool() <= seen.visible).all()) and shown.mean() / seen.visible.float().mean() == pytest.approx(
        0.5, abs=0.05
    )
    with torch.no_grad():
        mean = sum(lifter.numbers(part) for part in parts) / HALVES
    torch.testing.assert_close(refined(lifter, seen).numbers, mean, atol=1e-5, rtol=1e-4)
    alone = world.take([3])
    torch.testing.assert_close(refined(lifter, lifter.normalise(alone)).numbers, mean[3:4], atol=1e-5, rtol=1e-4)


def test_answers_to_halves_agree_less_the_noisier_the_keypoints():
    world = toy_instances(toy_surface(), 24)
    lifter = lifter_with_prior(world)
    noise = (
        0.1
        * (world.keypoints.amax(1) - world.keypoints.amin(1)).amax(1)[:, None, None]
        * torch.randn(world.keypoints.shape)
    )
    with torch.no_grad():
        seen = [lifter.normalise(each) for each in (world, replace(world, keypoints=world.keypoints + noise))]
        clean, noisy = (agreement(lifter, each, answers_to_halves(lifter, each), lifter(each)) for each in seen)
        assert noisy.mean() > 1.2 * clean.mean() > 0
        away = replace(lifter(seen[0]), log_scale=torch.full((24,), 0.5))
        moved = agreement(lifter, seen[0], answers_to_halves(lifter, seen[0]), away)
    assert moved.mean() > 2.0 * clean.mean(), "an answer that none of the halves gives"


def test_a_prior_holds_the_answers_it_was_learned_from():
    world = toy_instances(toy_surface(), 24)
    lifter = lifter_with_prior(world)
    with torch.no_grad():
        numbers = lifter.numbers(lifter.normalise(world))[:, : lifter.body.size]
    assert torch.allclose(lifter.prior_mean, numbers.mean(0), atol=1e-5)
    gram = lifter.prior_directions @ lifter.prior_directions.T
    assert torch.allclose(gram - gram.diag().diag(), torch.zeros_like(gram), atol=1e-5)
    along = (numbers - numbers.mean(0)) @ torch.linalg.pinv(lifter.prior_directions)
    assert torch.allclose(along[:, :4].std(0), torch.ones(4), atol=1e-2)


@pytest.mark.slow
def test_the_body_moves_to_its_mask_and_keypoints_within_the_prior():
    surface, world = toy_surface(), toy_instances(toy_surface(), 24)
    lifter = lifter_with_prior(world)
    lifter.config = changed(lifter.config, {"refine.steps": 0})
    (start,) = predict(lifter, world)
    faces, masks = surface.faces.numpy(), []
    for i in range(len(world)):
        shown = start.at(i).projected() * [1.15, 0.9, 1.0] + [12.0, -7.0, 0.0]
        masks.append(encode_pixels(silhouette(shown, faces, 256, 256)))
    world = replace(world, masks=tuple(masks))
    lifter.config = replace(lifter.config, refine=preset("photographs").refine)
    (end,) = predict(lifter, world)
    before, after = (
        [silhouette_iou(many.at(i).projected(), faces, masks[i]) for i in range(len(world))] for many in (start, end)
    )
    assert np.mean(after) > np.mean(before) + 0.02
    np.testing.assert_allclose(end.silhouette_iou, after, atol=1e-5)


@pytest.mark.slow
def test_keypoints_that_are_not_trusted_do_not_pull():
    world = toy_instances(toy_surface(), 6)
    wrong = world.keypoints.clone()
    wrong[:, ::3] += 80.0
    weights = torch.ones(6, world.keypoints.shape[1])
    weights[:, ::3] = 0.02
    lifter = Lifter(toy_surface(), preset("fit", {"model.parts": 4, "refine.steps": 40})).eval()
    seen = lifter.normalise(replace(world, keypoints=wrong))
    trusted = seen.visible & (weights > 0.5)
    clean = replace(seen, visible=trusted)
    errors = [own_reprojection(reproject(refined(lifter, seen, evidence), seen), clean, 0.01).mean()
              for evidence in (None, replace(world, weights=weights))]  # fmt: skip
    assert errors[1] < errors[0]


@pytest.mark.slow
def test_instances_move_alone():
    world = toy_instances(toy_surface(), 24)
    lifter = lifter_with_prior(world)
    masks = tuple(encode_pixels(square(low=(10 + i, 20))) if i % 3 else None for i in range(24))
    world = replace(world, masks=masks, weights=torch.rand(24, world.keypoints.shape[1]) * world.visible)
    # Few steps, and not number 7, which its mask pulls two ways: it doubles in every step what a processor rounds.
    lifter.config = replace(lifter.config, refine=replace(preset("photographs").refine, steps=8))
    (together,) = predict(lifter, world)
    for i in (0, 1, 2):
        (alone,) = predict(lifter, world.take([i]))
        np.testing.assert_allclose(alone.vertices[0], together.vertices[i], atol=5e-5)


def test_a_prior_travels_with_the_model_and_older_models_have_none(tmp_path):
    world = toy_instances(toy_surface(), 24)
    lifter = lifter_with_prior(world)
    again = load_model(save_model(lifter, tmp_path / "model.pt"))
    assert torch.equal(again.prior_directions, lifter.prior_directions)
    plain = Lifter(toy_surface(), tiny())
    assert not any("prior" in name for name in plain.state_dict())
    small = load_model(save_model(lifter, tmp_path / "small.pt", small=True))
    torch.testing.assert_close(small.prior_directions, lifter.prior_directions, atol=1e-3, rtol=1e-3)


def test_evidence_is_taken_from_instances():
    world = toy_instances(toy_surface(), 3)
    lifter = Lifter(toy_surface(), tiny())
    seen = lifter.normalise(world)
    assert evidence_of(world, seen) == (None, None)
    masked = replace(world, masks=(None, encode_pixels(square()), None))
    assert evidence_of(masked, seen)[1].known.tolist() == [False, True, False]
