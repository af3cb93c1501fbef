"""The stream of training batches: the same whatever the processes, each rendered image used a few times, truth that fits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.bodies import load_template
from dp3d_data.training.recipe import TrainCseConfig
from dp3d_data.training.stream import LANES, SyntheticBatches, batches, window_of

TINY = TrainCseConfig(image_size=64, batch=2, steps=20, points=16, workers=0, replay=3, overlaid=0.5)


@pytest.fixture(scope="module")
def dog():
    return load_template("dog")


def same(a, b):
    return all(torch.equal(one, two) for one, two in zip(vars(a).values(), vars(b).values(), strict=True))


def test_a_batch_depends_on_its_step_alone(dog):
    """Neither on the step that a run went on from nor on what was made before."""
    whole, later = SyntheticBatches(dog, TINY), SyntheticBatches(dog, TINY, first_step=4)
    for step in range(10):
        whole[step]
    assert same(whole[9], later[5])


def test_processes_change_nothing(dog):
    few = replace(TINY, steps=3)
    alone, beside = list(batches(dog, few, 0)), list(batches(dog, replace(few, workers=2), 0))
    assert len(alone) == len(beside) == 3 and all(map(same, alone, beside))


def test_points_lie_on_their_object(dog):
    batch = SyntheticBatches(dog, TINY)[1]
    columns, rows = (batch.points - 0.5).long().unbind(1)
    assert batch.masks[batch.owner, rows, columns].all()
    assert batch.owner.unique().tolist() == list(range(len(batch.boxes)))
    assert ((batch.vertices >= 0) & (batch.vertices < dog.num_vertices)).all()
    assert (batch.image_of.diff() >= 0).all()


def test_boxes_hug_masks_and_belong_to_images(dog):
    batch = SyntheticBatches(dog, TINY)[2]
    for box, mask in zip(batch.boxes, batch.masks, strict=True):
        x0, y0, x1, y1 = box.int().tolist()
        assert mask[y0:y1, x0:x1].sum() == mask.sum() and mask[y0, :].any() and mask[:, x1 - 1].any()
    assert [len(each) for each in batch.boxes_by_image()] == [int((batch.image_of == i).sum()) for i in range(TINY.batch)]


def test_no_pixel_shows_two_objects(dog):
    stream = SyntheticBatches(dog, replace(TINY, overlaid=1.0))
    several = 0
    for step in range(6):
        batch = stream[step]
        for index in range(TINY.batch):
            mine = batch.masks[batch.image_of == index]
            several += len(mine) > 1
            assert mine.sum(0).max() <= 1
    assert several


@pytest.mark.parametrize("replay", [1, 3, 8])
def test_every_rendered_image_is_drawn_about_as_often_as_asked(replay):
    config = replace(TINY, replay=replay, batch=4)
    steps = 40 * LANES
    rendered = window_of(steps - 1, config).stop * LANES
    drawn = steps * config.batch
    assert drawn / rendered == pytest.approx(replay, rel=0.2)
    assert all(window_of(step, config).stop >= window_of(max(step - 1, 0), config).stop for step in range(steps))


def test_a_process_keeps_no_more_than_its_windows(dog):
    stream = SyntheticBatches(dog, replace(TINY, image_size=64, replay=1))
    for step in range(0, 10 * LANES, LANES):
        if step < TINY.steps:
            stream[step]
    assert len(stream._kept) <= len(window_of(step, TINY)) + TINY.batch * LANES
    assert {index % LANES for index in stream._kept} == {0}


def test_images_are_blue_green_red(dog):
    """The network's order: the picture of one step, channel by channel, against the composed picture."""
    stream = SyntheticBatches(dog, TINY)
    batch = stream[0]
    rng = np.random.default_rng(np.random.SeedSequence([TINY.seed, 7, 0, 0]))
    picture = stream._composed(rng, window_of(0, TINY), 0)
    np.testing.assert_array_equal(batch.images[0].numpy(), picture.image[:, :, ::-1].transpose(2, 0, 1))
