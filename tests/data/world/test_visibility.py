"""Visibility by ray casting, against shapes whose answer is known and against a loop over all triangles."""

import sys

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import DependencyMissing, ShapeError
from dp3d_data.geometry import make_template
from dp3d_data.geometry.visibility import (
    TOLERANCE,
    RayScene,
    vertex_normals,
    visible_fraction,
    visible_vertices,
)
from tests.references.world import first_hit_slow, visible_slow


def turned(vertices, seed):
    """A random rotation of points."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return vertices @ (rotation * np.sign(np.linalg.det(rotation))).T


@pytest.fixture(scope="module")
def ball():
    mesh = trimesh.creation.icosphere(subdivisions=4)
    return make_template("ball", mesh.vertices, mesh.faces)


@given(st.integers(0, 10_000))
def test_half_of_a_sphere_is_visible(ball, seed):
    visible = visible_vertices(turned(ball.vertices, seed), ball.faces)
    assert visible_fraction(visible, ball.vertex_areas) == pytest.approx(0.5, abs=0.03)


def split_cube(cells=12):
    """A cube of six separate faces, each a grid, so that corners belong to one face only."""
    axis = np.linspace(-0.5, 0.5, cells)
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    cell = [i * cells + j for i in range(cells - 1) for j in range(cells - 1)]
    faces = np.array([t for c in cell for t in ((c, c + cells, c + cells + 1), (c, c + cells + 1, c + 1))])
    points, triangles = [], []
    for axis_of_normal in range(3):
        for side in (-0.5, 0.5):
            local = np.stack([x, y, np.full_like(x, side)], axis=1)
            triangles.append((faces if side > 0 else faces[:, ::-1]) + len(points) * cells**2)
            points.append(np.roll(local, axis_of_normal + 1, axis=1))
    return np.concatenate(points), np.concatenate(triangles)


def test_one_face_of_a_cube_is_a_sixth():
    points, faces = split_cube()
    template = make_template("cube", points, faces)
    visible = visible_vertices(template.vertices, template.faces)
    assert visible_fraction(visible, template.vertex_areas) == pytest.approx(1 / 6, abs=1e-6)


def test_the_nearer_of_two_plates_is_half():
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(5.0), np.arange(5.0)))
    plate = np.stack([x, y, np.zeros(25)], axis=1)
    cells = [5 * i + j for i in range(4) for j in range(4)]
    faces = np.array([t for c in cells for t in ((c, c + 5, c + 6), (c, c + 6, c + 1))])
    if vertex_normals(plate, faces)[0, 2] > 0:
        faces = faces[:, ::-1]
    template = make_template(
        "plates", np.concatenate([plate, 0.99 * plate + [0.02, 0.02, 2]]), np.concatenate([faces, faces + 25])
    )
    visible = visible_vertices(template.vertices, template.faces)
    assert visible[:25].all() and not visible[25:].any()
    assert visible_fraction(visible, template.vertex_areas) == pytest.approx(0.5, abs=0.01)


def knot(seed, sections=60):
    """A closed tube that hides parts of itself."""
    rng = np.random.default_rng(seed)
    ring = trimesh.creation.torus(1.0, 0.3, major_sections=sections, minor_sections=10)
    return turned(ring.vertices + 0.02 * rng.normal(size=ring.vertices.shape), seed).astype(np.float64), ring.faces


@pytest.mark.parametrize("seed", range(3))
def test_rays_agree_with_a_loop_over_triangles(seed):
    vertices, faces = knot(seed)
    rng = np.random.default_rng(seed)
    starts = np.column_stack([rng.uniform(-1.3, 1.3, (60, 2)), np.full(60, -5)])
    triangles, weights = RayScene(vertices, faces).first_hits(starts, np.array([0.0, 0, 1]))
    for start, triangle, weight in zip(starts, triangles, weights, strict=True):
        expected, slow, _ = first_hit_slow(vertices, faces, *start[:2])
        if expected >= 0 and slow.min() > 1e-3:
            assert triangle == expected
            np.testing.assert_allclose(weight, slow, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_visibility_agrees_with_a_loop_over_triangles(seed):
    vertices, faces = knot(seed, sections=24)
    expected = visible_slow(vertices, faces, vertex_normals(vertices, faces), TOLERANCE)
    assert (visible_vertices(vertices, faces) == expected).mean() > 0.99


def test_scale_and_place_do_not_matter():
    vertices, faces = knot(5)
    moved = 137 * vertices + np.array([40, -3, 9])
    assert (visible_vertices(vertices, faces) == visible_vertices(moved, faces)).mean() > 0.995


def test_faces_must_name_vertices():
    with pytest.raises(ShapeError, match="a face names a vertex that is not there"):
        visible_vertices(np.zeros((3, 3)), np.array([[0, 1, 3]]))


def test_without_embreex_there_is_a_word_on_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    with pytest.raises(DependencyMissing, match="ray casting needs embreex"):
        RayScene(np.eye(3), np.array([[0, 1, 2]]))


@pytest.mark.parametrize(("gap", "shown"), [(0.003, True), (0.01, False)])
def test_a_surface_hides_what_lies_behind_it_beyond_twice_the_tolerance(gap, shown):
    """Gaps are shares of the largest extent; a vertex that faces the viewer starts two tolerances before itself."""
    square = np.array([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    vertices = np.concatenate([0.9 * square + [0, 0, gap], square])
    visible = visible_vertices(vertices, np.concatenate([faces, faces + 4]))
    assert visible[4:].all() and (visible[:4] == shown).all()
