"""Crops of boxes and their maps: known answers, at the borders too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dp3d_data.detection.crops import MARGIN, Prepared, crop_of, part_of_maps, region_of, square_of
from dp3d_data.detection.detections import RawDetection, once, tightened
from dp3d_data.detection.loading import load_predictor
from dp3d_data.detection.predictor import DensePredictor
from dp3d_data.geometry import load_template
from dp3d_data.matching import VertexIndex, match_detection
from tests.data.inference.small import small_network

SQUARES = [(10.0, 20.0, 32.0), (-7.5, 3.25, 40.0), (70.0, 50.0, 48.0)]
WIDTH, HEIGHT = 100, 80


def test_a_square_holds_its_box_in_the_middle():
    left, top, side = square_of(np.array([10.0, 20, 50, 40]))
    assert side == MARGIN * 40 and (left + side / 2, top + side / 2) == (30, 30)
    assert square_of(np.array([5.0, 5, 5, 5]))[2] == MARGIN


def test_a_crop_beyond_the_image_is_filled():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    crop = crop_of(image, (-4.0, -6.0, 20.0), 20, (1.2, 2.6, 3.0))
    assert np.array_equal(crop[6:, 4:], image[:14, :16])
    assert (crop[:6] == (1, 3, 3)).all() and (crop[:, :4] == (1, 3, 3)).all()
    assert (crop_of(image, (100.0, 100.0, 8.0), 8, (9, 8, 7)) == (9, 8, 7)).all()


@pytest.mark.parametrize("square", SQUARES)
def test_maps_that_say_their_place_come_back_as_places_of_the_image(square):
    left, top, side = square
    share = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    maps = torch.stack([(left + side * share)[None].expand(16, -1), (top + side * share)[:, None].expand(-1, 16)])
    region = region_of(square, WIDTH, HEIGHT)
    assert (region >= 0).all() and (region <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
    said, half = part_of_maps(maps, square, region), side / 32
    for axis, start in enumerate((left, top)):
        wanted = region[axis] + share * (region[axis + 2] - region[axis])
        wanted = wanted.clamp(start + half, start + side - half)  # no map speaks beyond the centre of its outer cells
        read = said[axis, 3] if axis == 0 else said[axis, :, 3]
        assert torch.allclose(read, wanted, atol=1e-6)


def detection(mask, region=(10.0, 20.0, 74.0, 84.0), score=0.9):
    """A detection whose mask is given on the cells of its region."""
    segm = np.stack([~mask, mask]).astype(np.float32)
    return RawDetection((0.0, 0.0, 99.0, 99.0), score, 0, segm, None, {}, region)


def test_boxes_lie_around_the_masks_of_a_second_look():
    mask = np.zeros((128, 128), dtype=bool)
    mask[16:80, 32:112] = True
    assert tightened(detection(mask)).box == (26.0, 28.0, 66.0, 60.0)
    whole = tightened(detection(mask))
    mask[100:110, 120:122] = True  # a speck, however long
    speckless = tightened(detection(mask))
    assert speckless.box == whole.box and np.array_equal(speckless.coarse_segm, whole.coarse_segm)
    mask[100:110, 110:122] = True  # more than a speck
    assert tightened(detection(mask)).box == (26.0, 28.0, 71.0, 75.0)
    assert np.array_equal(tightened(detection(mask)).coarse_segm[1] > 0, mask)
    nothing = detection(np.zeros((32, 32), dtype=bool))
    assert tightened(nothing) is nothing


def test_a_piece_of_a_better_animal_is_left_out_where_that_is_asked_for():
    """The head of an animal overlaps it by little; it lies in it wholly."""
    whole, head, beside = (np.zeros((128, 128), dtype=bool) for _ in range(3))
    whole[10:120, 10:120], head[10:40, 10:40], beside[10:40, 100:128] = True, True, True
    animals = [detection(mask, score=score) for mask, score in ((whole, 0.9), (head, 0.8), (beside, 0.7))]
    assert once(animals) == animals
    assert once(animals, within=0.8) == [animals[0], animals[2]]
    better = replace(animals[1], score=0.95)
    assert once([animals[0], better], within=0.8) == [better]


@pytest.fixture(scope="module")
def embedded():
    return load_predictor(category="dog")


@pytest.fixture(scope="module")
def symmetry():
    return np.asarray(load_template("dog").symmetry)


def test_both_looks_say_the_same_of_a_photograph_and_of_its_mirror_image(embedded, symmetry):
    """What one look says of the mirror image, the other says of the photograph; left and right change places."""
    both = embedded.mirrored(symmetry)
    image = np.random.default_rng(2).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    box, width = np.array([[40.0, 28, 80, 60]], dtype=np.float32), image.shape[1]
    (one,) = both.predict(image, box)
    (other,) = both.predict(np.ascontiguousarray(image[:, ::-1]), np.array([[width - 80.0, 28, width - 40, 60]]))
    (plain,) = embedded.predict(image, box)
    size = len(plain.embedding)
    assert np.allclose(one.embedding[:size], plain.embedding, atol=1e-4)
    assert np.allclose(one.embedding[size:], other.embedding[:size, :, ::-1], atol=1e-4)
    assert np.allclose(one.coarse_segm, other.coarse_segm[:, :, ::-1], atol=1e-4)
    found, turned = (
        match_detection(each, VertexIndex(both.vertex_embeddings(both.class_of("dog")))).vertex_ids
        for each in (one, other)
    )
    mask = match_detection(one, VertexIndex(both.vertex_embeddings(both.class_of("dog")))).mask
    assert mask.any() and (symmetry[turned[:, ::-1]] == found)[mask].mean() > 0.99  # all but ties


def test_a_mirrored_network_has_vertices_of_its_own(embedded, symmetry):
    before = embedded.vertex_embeddings(embedded.class_of("dog"))
    vertices = embedded.mirrored(symmetry).vertex_embeddings(embedded.class_of("dog"))
    size = before.shape[1]
    assert np.array_equal(vertices[:, :size], before) and np.array_equal(vertices[:, size:], before[symmetry])
    assert embedded.vertex_embeddings(embedded.class_of("dog")) is before


def test_without_symmetry_or_a_second_look_nothing_is_mirrored(embedded, symmetry):
    assert embedded.mirrored(None) is embedded
    small = DensePredictor(small_network())
    assert small.mirrored(symmetry) is small


def test_a_fiftieth_of_the_largest_part_is_no_speck():
    mask = np.zeros((16, 16), dtype=bool)
    mask[0:5, 0:10], mask[12, 12] = True, True
    assert tightened(detection(mask)).coarse_segm[1].sum() == 51
    mask[5, 0] = True
    assert tightened(detection(mask)).coarse_segm[1].sum() == 51


def test_of_two_views_of_one_animal_the_surer_one_stays():
    mask = np.zeros((64, 64), dtype=bool)
    mask[8:56, 8:56] = True
    beside = (80.0, 20.0, 144.0, 84.0)
    three = [detection(mask, score=0.5), detection(mask, beside, score=0.6), detection(mask, score=0.8)]
    assert once(three) == three[1:]
    less = mask.copy()
    less[:, 34:] = False  # shares 54 % with the whole
    assert len(once([detection(mask), detection(less, score=0.5)])) == 2


def test_sides_are_scaled_each_by_its_own_number():
    pixels = np.zeros((30, 50, 3), dtype=np.uint8)
    assert Prepared(pixels, 60, 200, (32, 64)).scale.tolist() == [0.25, 0.5, 0.25, 0.5]
