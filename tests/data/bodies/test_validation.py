"""What is said of a poor mesh."""

import numpy as np
import pytest

from dp3d_data.errors import TemplateError
from dp3d_data.geometry import load_template
from dp3d_data.geometry.template import MOST_VERTICES, check_mesh
from tests.data.bodies.shapes import sphere

VERTICES, FACES = sphere(1)


def test_a_good_mesh_has_nothing_said_of_it():
    assert check_mesh(VERTICES, FACES) == []
    assert check_mesh(load_template("dog").vertices, load_template("dog").faces) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_counted_and_the_first_named(bad):
    vertices = VERTICES.copy()
    vertices[[7, 9], 1] = bad
    with pytest.raises(TemplateError, match="not finite") as caught:
        check_mesh(vertices, FACES)
    assert "2 vertices, the first is 7" in str(caught.value)


@pytest.mark.parametrize("index", [-1, len(VERTICES)])
def test_faces_out_of_range_are_named(index):
    faces = FACES.copy()
    faces[3, 2] = index
    with pytest.raises(TemplateError, match="vertices that do not exist") as caught:
        check_mesh(VERTICES, faces)
    assert f"the first is 3: {faces[3].tolist()}" in str(caught.value)


def test_nothing_zero_and_one_point_are_empty():
    with pytest.raises(TemplateError, match="no vertices"):
        check_mesh(np.zeros((0, 3)), FACES)
    with pytest.raises(TemplateError, match="all vertices are zero"):
        check_mesh(0 * VERTICES, FACES)
    with pytest.raises(TemplateError, match="in one point"):
        check_mesh(0 * VERTICES + [1.0, 2.0, 3.0], FACES)


def test_as_many_vertices_as_may_be_are_enough(monkeypatch):
    monkeypatch.setattr("dp3d_data.geometry.template.MOST_VERTICES", len(VERTICES))
    assert check_mesh(VERTICES, FACES) == []


def test_too_many_vertices_are_refused_before_the_work():
    many = np.random.default_rng(0).random((MOST_VERTICES + 1, 3))
    with pytest.raises(TemplateError, match="too many vertices"):
        check_mesh(many, FACES)


def test_separate_parts_holes_and_seams_are_told():
    two = check_mesh(np.concatenate([VERTICES, VERTICES + 5]), np.concatenate([FACES, FACES + len(VERTICES)]))
    assert len(two) == 1 and "2 separate parts (vertices: 42, 42)" in two[0]
    assert any("3 border edges" in text for text in check_mesh(VERTICES, FACES[1:]))
    fan = np.concatenate([FACES, FACES[:1, [0, 1, 2]]])
    assert any("more than two faces" in text for text in check_mesh(VERTICES, fan))
    turned = FACES.copy()
    turned[0] = turned[0, ::-1]
    assert any("opposite winding" in text for text in check_mesh(VERTICES, turned))


def test_flat_faces_are_told():
    vertices = VERTICES.copy()
    vertices[FACES[0, 0]] = (vertices[FACES[0, 1]] + vertices[FACES[0, 2]]) / 2
    assert any("1 faces have no area" in text for text in check_mesh(vertices, FACES))
