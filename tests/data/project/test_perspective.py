"""Perspective cameras: pixels by hand, and visible areas of shapes whose answer is known."""

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.datasets.fits import FitCamera
from dp3d_data.errors import ShapeError
from dp3d_data.geometry import make_template
from dp3d_data.geometry.visibility import (
    TOLERANCE,
    inside_mask,
    project_orthographic,
    project_perspective,
    to_camera,
    vertex_areas,
    vertex_normals,
    visible_fraction,
    visible_vertices,
    weak_scale,
)
from pipelines.fits import fit_view
from tests.data.world.test_visibility import knot, split_cube, turned
from tests.references.projection import visible_slow


def test_pixels_by_hand():
    points = np.array([[1.0, -2.0, 4.0], [0, 0, 1]])
    np.testing.assert_allclose(project_perspective(points, (100, 200), (50, 60)), [[75, -40], [50, 60]])
    np.testing.assert_allclose(project_orthographic(points, 10, (50, 60)), [[60, 40], [50, 60]])
    assert weak_scale(points, (100, 400)) == pytest.approx(200 / 2.5)  # depths 4 and 1
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(to_camera(points[:1], quarter, np.array([0, 0, 5.0])), [[2, 1, 9]])


@given(st.floats(20, 1000), st.integers(0, 1000))
def test_far_away_a_pinhole_is_weak_perspective(distance, seed):
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (30, 3)) + [0, 0, distance]
    focal = (100 * distance, 100 * distance)
    flat = project_orthographic(points, weak_scale(points, focal), (0, 0))
    assert np.abs(project_perspective(points, focal, (0, 0)) - flat).max() < 100 / distance


def test_a_pinhole_sees_what_lies_before_it():
    for call in (lambda p: project_perspective(p, (1, 1), (0, 0)), lambda p: weak_scale(p, (1, 1))):
        with pytest.raises(ShapeError, match="a point does not lie before the camera"):
            call(np.array([[0.0, 0, 1], [0, 0, 0]]))
    with pytest.raises(ShapeError, match="a point does not lie before the camera"):
        visible_vertices(*knot(0), perspective=True)


@pytest.mark.parametrize("distance", [1.5, 2.0, 4.0, 50.0])
def test_a_sphere_shows_its_cap(distance):
    """From distance d a unit sphere shows the cap of height 1 - 1/d: (1 - 1/d) / 2 of its area, a half from far
    away."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    direction = np.array([0.3, -0.2, 1.0])
    vertices = turned(ball.vertices, 3) + distance * direction / np.linalg.norm(direction)
    visible = visible_vertices(vertices, ball.faces, perspective=True)
    assert visible_fraction(visible, vertex_areas(vertices, ball.faces)) == pytest.approx(
        (1 - 1 / distance) / 2, abs=0.03
    )


def test_faces_of_a_cube():
    """Face on a sixth; on the diagonal three faces, though the rays are not parallel."""
    points, faces = split_cube()
    areas = vertex_areas(points, faces)
    assert areas.sum() == pytest.approx(6 * np.ptp(points[:, 0]) ** 2)
    seen = visible_vertices(points + [0, 0, 3], faces, perspective=True)
    assert visible_fraction(seen, areas) == pytest.approx(1 / 6, abs=1e-6)
    seen = visible_vertices(points + [3, 3, 3], faces, perspective=True)
    assert visible_fraction(seen, areas) == pytest.approx(1 / 2, abs=1e-6)


def test_the_nearer_of_two_plates_is_half():
    """Equal plates one behind the other: the nearer one looks larger and hides all of the farther one."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)))
    plate = np.stack([x, y, np.full(25, 4.0)], axis=1)
    cells = [5 * i + j for i in range(4) for j in range(4)]
    faces = np.array([t for c in cells for t in ((c, c + 6, c + 1), (c, c + 5, c + 6))])
    both = np.concatenate([plate, plate + [0, 0, 1]])
    template = make_template("plates", both, np.concatenate([faces, faces + 25]))
    visible = visible_vertices(both, template.faces, perspective=True)
    assert visible[:25].all() and not visible[25:].any()
    assert visible_fraction(visible, template.vertex_areas) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_visibility_agrees_with_a_loop_over_triangles(seed):
    vertices, faces = knot(seed, sections=24)
    vertices = vertices + np.random.default_rng(seed).uniform(-1, 1, 3) + [0, 0, 3.5]
    expected = visible_slow(vertices, faces, vertex_normals(vertices, faces), TOLERANCE)
    assert (visible_vertices(vertices, faces, perspective=True) == expected).mean() > 0.99


def test_far_from_the_origin_nothing_is_lost():
    vertices, faces = knot(1)
    near = visible_vertices(vertices + [0, 0, 2000.0], faces, perspective=True)
    assert (near == visible_vertices(vertices, faces)).mean() > 0.99


def test_a_mask_hides_what_lies_outside():
    mask = np.zeros((4, 6), dtype=bool)
    mask[1, 2] = mask[1, 5] = mask[3, 2] = True
    points = np.array([[2.0, 1.0], [2.99, 1.99], [3.0, 1.5], [-0.1, 1.5], [2.5, 4.0], [6.0, 1.0], [2.5, -0.1]])
    assert inside_mask(points, mask).tolist() == [True, True, False, False, False, False, False]


def test_a_view_ends_at_the_sides_of_the_image_and_at_the_horizon():
    """Of a stretched ball, seen by a camera near it: what is visible, the box, and the share of either surface."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    template = make_template("ball", ball.vertices, ball.faces)
    vertices = ball.vertices * [1.0, 1.0, 0.5]
    lens = {"centre": (90.0, 30.0), "focal": (80.0, 80.0)}
    camera = FitCamera("perspective", np.eye(3), np.array([0.0, 0, 1.5]), **lens)
    view, wide = (fit_view(vertices, template, camera, size) for size in ((100, 60), (1000, 1000)))
    x, y = view.keypoints.T
    assert np.array_equal(view.visible, wide.visible & (x < 100) & (y < 60))
    assert wide.visible.sum() > view.visible.sum() > 0 and (x[view.visible] > 60).any()
    assert view.box == (0.0 if x.min() < 0 else pytest.approx(x.min()), 0.0, 100.0, 60.0)
    horizon = visible_vertices(vertices + [0, 0, 1.5], ball.faces, perspective=True)
    assert np.array_equal(wide.visible, horizon & (wide.keypoints >= 0).all(axis=1))
    assert horizon.sum() < visible_vertices(vertices, ball.faces).sum(), "a pinhole sees less than half"
    shares = [visible_fraction(view.visible, vertex_areas(shape, ball.faces)) for shape in (ball.vertices, vertices)]
    assert [view.area, view.posed_area] == pytest.approx(shares, rel=1e-5) and abs(shares[0] - shares[1]) > 0.005
