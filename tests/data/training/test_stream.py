"""The stream of training batches: the same whatever the processes, each rendered image used a few times, truth that
fits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.stream import FIRST, MORE, Kind, SyntheticBatches, batch_of, batches, kinds_of
from dp3d_data.geometry import load_template

TINY = TrainCseConfig(image_size=64, batch=2, steps=20, points=16, workers=0, renders=8, copy_paste=0.5)


@pytest.fixture(scope="module")
def dog():
    return (Kind("dog", load_template("dog"), True, 1.0),)


def same(a, b):
    pairs = zip(vars(a).values(), vars(b).values(), strict=True)
    return all(
        torch.equal(one, two) if isinstance(one, torch.Tensor) else one is two or same(one, two) for one, two in pairs
    )


def test_a_batch_depends_on_its_step_alone(dog):
    """Neither on the step that a run went on from nor on what was made before."""
    whole, later = SyntheticBatches(dog, TINY), SyntheticBatches(dog, TINY, first_step=4)
    for step in range(10):
        whole[step]
    assert same(whole[9], later[5])


@pytest.mark.slow
def test_processes_change_nothing(dog):
    few = replace(TINY, steps=3)
    alone, beside = list(batches(dog, few, 0)), list(batches(dog, replace(few, workers=2), 0))
    assert len(alone) == len(beside) == 3 and all(map(same, alone, beside))


def test_points_lie_on_their_object(dog):
    batch = SyntheticBatches(dog, TINY)[1]
    columns, rows = (batch.points - 0.5).long().unbind(1)
    assert batch.masks[batch.owner, rows, columns].all()
    assert batch.owner.unique().tolist() == list(range(len(batch.boxes)))
    assert ((batch.vertices >= 0) & (batch.vertices < dog[0].template.num_vertices)).all()
    assert (batch.image_of.diff() >= 0).all()


def test_boxes_hug_masks_and_belong_to_images(dog):
    batch = SyntheticBatches(dog, TINY)[2]
    for box, mask in zip(batch.boxes, batch.masks, strict=True):
        x0, y0, x1, y1 = box.int().tolist()
        assert mask[y0:y1, x0:x1].sum() == mask.sum() and mask[y0, :].any() and mask[:, x1 - 1].any()
    assert [len(each) for each in batch.by_image(batch.boxes)] == [
        int((batch.image_of == i).sum()) for i in range(TINY.batch)
    ]


def test_animals_that_are_not_matched_give_no_points(dog):
    picture = SyntheticBatches(dog, TINY).render(0, 0)
    for matched in (True, False):
        batch = batch_of([(np.random.default_rng(0), picture, [(0, matched)])], 16, TINY.image_size)
        assert len(batch.boxes) == 1 and len(batch.points) == (16 if matched else 0)


def test_each_step_adds_some_renders_to_draw_from(dog, monkeypatch):
    stream, drawn = SyntheticBatches(dog, replace(TINY, renders=4000, mirror=False)), []
    monkeypatch.setattr(stream, "render", lambda kind, index: drawn.append(index))
    for step, count in ((0, FIRST), (200, FIRST + 200 * MORE), (9999, 4000)):
        drawn.clear()
        for seed in range(400):
            stream._drawn(np.random.default_rng(seed), step)
        assert 0.97 * count < max(drawn) < count


def test_no_pixel_shows_two_objects(dog):
    stream = SyntheticBatches(dog, replace(TINY, copy_paste=1.0))
    several = 0
    for step in range(6):
        batch = stream[step]
        for index in range(TINY.batch):
            mine = batch.masks[batch.image_of == index]
            several += len(mine) > 1
            assert mine.sum(0).max() <= 1
    assert several


def test_images_are_blue_green_red(dog):
    """The network's order: the picture of one step, channel by channel, against the composed picture."""
    stream = SyntheticBatches(dog, TINY)
    batch = stream[0]
    rng = np.random.default_rng(np.random.SeedSequence([TINY.seed, 7, 0, 0]))
    picture = stream._composed(rng, 0, whole=True)[0]
    np.testing.assert_array_equal(batch.images[0].numpy(), picture.image[:, :, ::-1].transpose(2, 0, 1))


SEVERAL = replace(TINY, kinds="dog=dog:2,cow=cow:1,other~dog:1", crops=6, crop_size=64, box_every=2, points=8)


def test_crops_of_several_kinds_depend_on_their_step_alone(tmp_path):
    """Whatever lies in the cache; scenes come every second step; what is not matched has no points."""
    kinds = kinds_of(SEVERAL)
    first = SyntheticBatches(kinds, replace(SEVERAL, cache=str(tmp_path / "a")), True)
    again = SyntheticBatches(kinds, replace(SEVERAL, cache=str(tmp_path / "b")), True, first_step=3)
    for step in range(3):
        first[step]
    batch = first[3]
    assert same(batch, again[0]) and len(batch.images) == 0 and len(first[2].images) == TINY.batch
    crops = batch.crops
    assert crops.images.shape == (6, 3, 64, 64) and crops.masks.flatten(1).any(dim=1).all()
    assert (crops.classes[crops.owner] < 2).all() and (crops.weights >= 1).all()
    columns, rows = (crops.points - 0.5).long().unbind(1)
    assert crops.masks[crops.owner, rows, columns].all()


def test_crops_of_every_second_step_are_of_the_second_size(tmp_path):
    config = replace(TINY, crops=1, crop_size=64, second_size=96, cache=str(tmp_path))
    stream = SyntheticBatches(kinds_of(config), config, True)
    assert [stream[step].crops.images.shape[-1] for step in range(3)] == [64, 96, 64]
