"""What goes into the dense head, what comes out, and in which pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.detection import DensePredictor
from dp3d_data.detection.crops import crop_of, network_size, resized
from dp3d_data.errors import ShapeError, UsageError
from tests.data.inference.recorded import network_of, outputs_of, recorded
from tests.data.inference.small import SMALL, small_network


@pytest.fixture(scope="module")
def predictor():
    return DensePredictor(small_network())


def picture(height=90, width=120, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def boxes_that_enter(predictor, **settings):
    """Number of boxes that the dense head sees."""
    seen = []
    hook = predictor.network.roi_heads.densepose_head.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0]))
    )
    found = predictor.predict(picture(), **settings)
    hook.remove()
    assert sum(seen) == len(found)
    return sum(seen), found


def test_only_wanted_boxes_enter_the_dense_head(predictor):
    count, found = boxes_that_enter(predictor, score=0.0)
    assert count > 2
    middle = sorted(one.score for one in found)[count // 2]
    fewer, kept = boxes_that_enter(predictor, score=middle)
    assert 0 < fewer < count and all(one.score >= middle for one in kept)
    assert boxes_that_enter(predictor, score=0.0, classes=[5])[0] == 0
    assert boxes_that_enter(predictor, score=0.0, classes=[0])[0] == count


def test_an_animal_is_of_its_likeliest_class():
    predictor = DensePredictor(small_network())
    predictor.spec = replace(SMALL, other_classes=1)
    boxes = torch.tensor([[8.0, 8, 80, 80], [8, 8, 80, 82], [90, 8, 120, 40]])
    said = Instances((96, 128), pred_boxes=Boxes(boxes), scores=torch.tensor([0.6, 0.9, 0.7]))
    said.pred_classes = torch.tensor([0, 1, 0])
    predictor._detected = lambda photographs, score: [said]
    assert [round(one.score, 1) for one in predictor.predict(picture())] == [0.9, 0.7]
    assert [round(one.score, 1) for one in predictor.predict(picture(), classes=[0])] == [0.7]


def test_a_crop_of_a_large_photograph_shows_what_lies_in_its_square():
    predictor = DensePredictor(small_network())
    predictor.spec = replace(SMALL, crop_side=32)
    rows, columns = np.mgrid[0:1100, 0:2100] / 10
    image = np.stack([rows, columns, rows + columns], axis=2).clip(0, 255).astype(np.uint8)
    square = (600.0, 300.0, 400.0)
    prepared = predictor.prepare(image)
    assert max(prepared.source.shape) < 2100
    wanted = crop_of(image, square, 32, SMALL.pixel_mean).astype(int)
    assert abs(predictor._crop(prepared, square) - wanted).max() <= 3


def test_shapes_and_pixels(predictor):
    for one in predictor.predict(picture(), score=0.0):
        x0, y0, x1, y1 = one.box
        assert 0 <= x0 <= x1 <= 120 and 0 <= y0 <= y1 <= 90
        assert one.embedding.shape == (16, 112, 112) and one.coarse_segm.shape == (2, 112, 112) and one.charts == {}
    assert predictor.vertex_embeddings(0).shape == (40, 16)


def test_given_boxes_come_back_as_they_are(predictor):
    boxes = np.array([[5, 6, 50, 70], [0, 0, 120, 90], [30.5, 2, 31, 3]], dtype=np.float64)
    found = predictor.predict(picture(), boxes=boxes)
    assert [one.box for one in found] == [tuple(box) for box in boxes] and {one.score for one in found} == {1.0}
    alone = predictor.predict(picture(), boxes=boxes[1:2])[0]
    assert np.allclose(found[1].embedding, alone.embedding, atol=1e-4)
    assert predictor.predict(picture(), boxes=np.zeros((0, 4))) == []


def test_given_boxes_are_of_the_class_that_is_asked_for(predictor):
    assert [one.class_id for one in predictor.predict(picture(), boxes=np.array([[5, 6, 50, 70]]), classes=[1])] == [1]


def test_another_score_asks_the_box_branch_anew(predictor):
    prepared = predictor.prepare(picture())
    assert predictor.predict(prepared, score=1.0) == []
    assert len(predictor.predict(prepared, score=0.0)) == len(predictor.predict(picture(), score=0.0)) > 0


def test_many_images_are_as_one_by_one(predictor):
    images = [picture(90, 120, 1), picture(60, 60, 2), picture(90, 120, 3)]
    together = predictor.predict_many(images, score=0.0)
    for image, found in zip(images, together, strict=True):
        alone = predictor.predict(image, score=0.0)
        assert np.allclose([one.box for one in found], [one.box for one in alone], atol=1e-2)
        assert all(np.allclose(a.embedding, b.embedding, atol=1e-3) for a, b in zip(found, alone, strict=True))


def test_a_photograph_of_the_right_size_gives_the_recorded_outputs():
    record = recorded("cse")
    network = network_of(record)
    image = np.ascontiguousarray(record["image_bgr_chw"].transpose(1, 2, 0))
    network.spec = replace(network.spec, min_side=min(image.shape[:2]), max_side=10_000)
    same_size = DensePredictor(network)
    found = same_size.predict(image, boxes=record["given_boxes_xyxy"])
    expected = outputs_of(network, record)["embedding"].numpy()
    assert np.abs(np.stack([one.embedding for one in found]) - expected).max() < 1e-4 * np.abs(expected).max()


def test_charts_come_with_their_maps():
    record = recorded("chart_deeplab_wc2m")
    network = network_of(record)
    network.spec = replace(network.spec, min_side=160)
    predictor = DensePredictor(network)
    image = np.ascontiguousarray(record["image_bgr_chw"].transpose(1, 2, 0))
    found = predictor.predict(image, boxes=record["given_boxes_xyxy"])[0]
    assert found.embedding is None and found.charts["u"].shape == (25, 112, 112) and "kappa_v" in found.charts
    with pytest.raises(UsageError, match="no mesh for class 0"):
        predictor.vertex_embeddings(0)


def test_half_precision_changes_little(predictor):
    half = DensePredictor(predictor.network, precision="bfloat16")
    boxes = np.array([[10.0, 10, 100, 80]])
    exact, rough = (one.predict(picture(), boxes=boxes)[0].embedding for one in (predictor, half))
    assert rough.dtype == np.float32 and np.abs(exact - rough).max() < 0.1 * np.abs(exact).max()
    with pytest.raises(UsageError, match="unknown precision"):
        DensePredictor(predictor.network, precision="float8")


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(predictor, image):
    with pytest.raises(ShapeError, match="an image to look at"):
        predictor.predict(image)


def test_what_is_no_box_is_refused(predictor):
    with pytest.raises(ShapeError, match="boxes are rows"):
        predictor.predict(picture(), boxes=np.zeros(4))


def test_training_gives_losses_and_gradients_everywhere():
    network = small_network().train()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    boxes = torch.tensor([[4.0, 5, 60, 50], [10, 8, 90, 60]])
    inputs = network.normalised(images)
    features = network.backbone(inputs)
    losses = network.detection_losses(
        inputs, features, list(boxes[:, None].unbind()), [torch.zeros(1, dtype=torch.int64)] * 2
    )
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}
    outputs = network.dense_maps(network.pooled(features, list(boxes[:, None].unbind())))
    pixels = outputs["embedding"].flatten(2).mean(dim=2)
    total = (
        sum(losses.values())
        + outputs["coarse_segm"].square().mean()
        + (pixels @ network.embedder("dog")().T).square().mean()
    )
    total.backward()
    assert not [name for name, value in network.named_parameters() if value.grad is None]


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_network_size_keeps_within_its_sides(height, width):
    tall, wide = network_size(height, width, 320, 512)
    assert max(tall, wide) <= 512 and min(tall, wide) <= 320
    assert min(tall, wide) == 320 or max(tall, wide) == 512


def test_pictures_of_the_right_size_are_left_alone():
    image = picture()
    assert np.array_equal(resized(image, (90, 120)), image)
    assert resized(image, (45, 60)).shape == (45, 60, 3)
