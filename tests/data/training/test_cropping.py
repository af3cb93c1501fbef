"""Weights of thin parts, and renders that are made once."""

import numpy as np
import pytest

from dp3d_data.detection.training import stream
from dp3d_data.detection.training.compose import Picture, cropped, drawn_points, thin_weights
from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.stream import Kind, SyntheticBatches
from dp3d_data.geometry import load_template


def test_a_thin_bar_weighs_more_than_a_thick_disc():
    rows, columns = np.mgrid[:128, :128]
    disc, bar = (rows - 80) ** 2 + (columns - 80) ** 2 < 30**2, (abs(rows - 16) < 2) & (abs(columns - 64) < 40)
    weights = thin_weights(disc | bar, 4.0)
    assert weights[16, 64] > 2 and weights[80, 80] == 1 and weights.max() <= 4 and weights.min() == 1
    assert (thin_weights(bar, 1.0) == 1).all()


@pytest.mark.parametrize("seed", range(8))
def test_an_animal_stands_near_the_middle_of_its_crop(seed):
    objects = np.full((200, 240), -1, dtype=np.int32)
    objects[20:60, 150:200] = 3
    picture = Picture(np.zeros((200, 240, 3), dtype=np.uint8), objects, np.where(objects == 3, 7, -1).astype(np.int32))
    image, mask, vertex_map, _ = cropped(np.random.default_rng(seed), picture, 3, 64, 1.0)
    assert image.shape == (64, 64, 3) and np.array_equal(vertex_map, np.where(mask, 7, -1))
    assert abs(np.argwhere(mask).mean(axis=0) / 64 - 0.5).max() < 0.12


def test_points_are_drawn_where_weights_are():
    weights = np.full((6, 9), 1e-9)
    weights[2] = 1
    points, vertices = drawn_points(np.arange(54).reshape(6, 9), 9, np.random.default_rng(0), weights)
    assert set(points[:, 1]) == {2.5} and sorted(vertices) == list(range(18, 27))


def render(folder, index, seed=0):
    config = TrainCseConfig(cache=str(folder), seed=seed, image_size=64)
    return SyntheticBatches((Kind("dog", load_template("dog"), True, 1.0),), config).render(0, index)


def test_a_picture_is_rendered_once_and_another_world_has_its_own(tmp_path, monkeypatch):
    asked = []
    maps = np.arange(-1, 15, dtype=np.int32).reshape(4, 4)
    monkeypatch.setattr(stream, "training_world", lambda *arguments, **settings: None)
    monkeypatch.setattr(
        stream,
        "rendered",
        lambda world, index: asked.append(index) or Picture(np.full((4, 4, 3), index, np.uint8), maps, maps),
    )
    first, again = render(tmp_path, 7), render(tmp_path, 7)
    assert (
        asked == [7] and np.array_equal(first.vertex_map, again.vertex_map) and np.array_equal(first.image, again.image)
    )
    render(tmp_path, 7, seed=2)
    assert asked == [7, 7] and not list(tmp_path.rglob("*.part"))


def test_a_render_of_a_large_mesh_keeps_its_vertices(tmp_path, monkeypatch):
    """More vertices than two bytes count."""
    large = Picture(
        np.zeros((4, 4, 3), dtype=np.uint8), np.full((4, 4), 200, np.int32), np.full((4, 4), 70_000, np.int32)
    )
    monkeypatch.setattr(stream, "rendered", lambda world, index: large)
    monkeypatch.setattr(stream, "training_world", lambda *arguments, **settings: None)
    again = render(tmp_path, 0)
    assert (again.vertex_map == 70_000).all() and (again.objects == 200).all()
