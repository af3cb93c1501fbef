"""The renderer against a loop over triangles, its pictures, and the colours of vertices."""

import numpy as np
import pytest

from dp3d_data.geometry.renderer import (
    cast_pixels,
    colour_by_part,
    colour_by_value,
    render,
    silhouette,
    turntable,
    view_rotation,
)
from dp3d_data.geometry.visibility import RayScene
from tests.model.toy import blob
from tests.references.world import first_hit_slow


def test_each_pixel_shows_the_nearest_triangle():
    """Against every triangle in turn; a pixel on an edge may show either side of it. The picture's border cuts the
    mesh."""
    vertices, faces = blob(1)
    points = vertices * 30.0 + [10.0, 8.0, 3.0]
    hits = cast_pixels(RayScene(points, faces), (18, 17))
    shown = {(row, column): i for i, (row, column) in enumerate(np.argwhere(hits.mask).tolist())}
    values = hits.interpolate(points.astype(np.float64))
    for row in range(18):
        for column in range(17):
            triangle, weights, depth = first_hit_slow(points, faces, column + 0.5, row + 0.5)
            if triangle < 0 or weights.min() < 1e-4:
                continue
            at = shown.pop((row, column))
            assert hits.triangles[at] == triangle and hits.weights[at] == pytest.approx(weights, abs=1e-4)
            assert values[at] == pytest.approx([column + 0.5, row + 0.5, depth], abs=1e-3)
    assert len(shown) < 6, "no pixel shows a mesh that is not there"
    assert hits.mask.sum() == len(hits.corners) and (silhouette(points, faces, 17, 18) == hits.mask).all()
    assert ((hits.vertex_map() >= 0) == hits.mask).all() and (faces[hits.triangles] == hits.corners).all()


def test_a_triangle_is_drawn_where_it_is_in_its_colour():
    vertices = np.array([[10.0, 10.0, 0.0], [50.0, 10.0, 0.0], [10.0, 50.0, 0.0]])
    faces = np.array([[0, 2, 1]])
    colours = np.array([[200, 0, 0]] * 3, dtype=np.uint8)
    picture, mask = render(vertices, faces, colours, 64, 60)
    y, x = np.nonzero(mask)
    assert picture.shape == (60, 64, 3)
    assert (x.min(), y.min()) == (10, 10)
    assert abs(mask.sum() - 800) < 30
    assert np.all((x + 0.5) + (y + 0.5) <= 60.5)
    assert np.all(picture[mask][:, 1:] == 0)
    assert np.all(picture[~mask] == picture[0, 0])


def test_the_nearer_surface_hides_the_farther_one():
    square = np.array([[5.0, 5.0, 0.0], [35.0, 5.0, 0.0], [35.0, 35.0, 0.0], [5.0, 35.0, 0.0]])
    vertices = np.concatenate([square, square + [0.0, 0.0, -9.0]])
    faces = np.array([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]])
    colours = np.repeat(np.array([[255, 0, 0], [0, 255, 0]], dtype=np.uint8), 4, axis=0)
    picture, mask = render(vertices, faces, colours, 40, 40)
    assert picture[mask][:, 0].max() == 0
    assert picture[mask][:, 1].min() > 0


def test_a_face_is_lit_from_both_sides():
    """A mesh whose faces all point inwards gives the same picture."""
    vertices, faces = blob()
    colours = np.full((len(vertices), 3), 200, dtype=np.uint8)
    outward, inward = (render(vertices * 40 + [50.0, 50.0, 0.0], f, colours, 100, 100) for f in (faces, faces[:, ::-1]))
    assert np.array_equal(outward[1], inward[1]) and np.abs(outward[0].astype(int) - inward[0]).max() <= 1
    assert outward[0][outward[1]].std() > 5


def test_a_mesh_outside_the_picture_is_not_in_it():
    vertices, faces = blob()
    for centre in ([-500.0, 20.0, 0.0], [20.0, 900.0, 5.0]):
        picture, mask = render(vertices + centre, faces, np.zeros((len(vertices), 3), dtype=np.uint8), 40, 30)
        assert not mask.any() and np.ptp(picture) == 0 and not silhouette(vertices + centre, faces, 40, 30).any()


def test_views_are_rotations_with_z_up_in_the_picture():
    for azimuth in (0.0, 90.0, 210.0):
        view = view_rotation(np.deg2rad(azimuth), np.deg2rad(15.0))
        assert np.allclose(view @ view.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(view) == pytest.approx(1.0)
        assert (view @ [0.0, 0.0, 1.0])[1] < 0
    assert np.allclose(view_rotation(0.0, 0.0) @ [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], atol=1e-9)
    assert np.allclose(view_rotation(0.0, 0.0) @ [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], atol=1e-9)


def test_a_turntable_shows_the_body_in_every_tile():
    vertices, faces = blob()
    strip = turntable(vertices, faces, np.full((len(vertices), 3), 90, dtype=np.uint8), views=3, size=48)
    assert strip.shape == (48, 144, 3)
    for tile in np.split(strip, 3, axis=1):
        assert 0.05 < (tile[..., 0] < 200).mean() < 0.9


def test_colours_of_parts():
    palette = colour_by_part(np.eye(16))
    assert len(np.unique(palette, axis=0)) == 16
    half = colour_by_part(np.full((1, 2), 0.5))
    assert np.abs(half - palette[:2].mean(0)).max() <= 1


def test_colours_of_values_run_from_blue_to_red_and_are_clipped():
    ends = colour_by_value(np.array([0.0, 1.0]))
    assert ends.tolist() == [[94, 79, 162], [158, 1, 66]]
    assert np.array_equal(colour_by_value(np.array([-1.0, 2.0])), ends) and np.array_equal(
        colour_by_value(np.array([np.nan])), ends[:1]
    )
