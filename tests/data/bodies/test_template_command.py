"""dp3d-data template: list, show and import at the command line."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dp3d_data.geometry import Template, load_template
from dp3d_data.geometry.mesh_files import import_mesh, write_mesh
from dp3d_data.geometry.renderer import BACKGROUND, colour_by_vertex, turntable, view_from
from pipelines.cli.template import template
from tests.data.bodies.shapes import arm


def run(*words: object):
    return CliRunner().invoke(template, [str(word) for word in words])


@pytest.fixture
def mesh(tmp_path):
    return write_mesh(arm(), tmp_path / "my arm.obj")


def test_import_then_show_then_list(mesh, tmp_path):
    result = run("import", mesh, "--name", "rex", "--unit", "m")
    assert result.exit_code == 0, result.output
    assert "162 vertices, 320 faces" in result.output and "1.000 m per template unit" in result.output
    picture, copy = tmp_path / "pictures" / "rex.png", tmp_path / "rex.glb"
    result = run("show", "rex", "--picture", picture, "--mesh", copy)
    assert result.exit_code == 0 and "none of its own" in result.output
    assert Image.open(picture).size == (6 * 256, 256)
    assert import_mesh(copy)[0].content_hash == arm().content_hash
    result = run("list")
    assert result.exit_code == 0 and "rex" in result.output and "Apache-2.0" in result.output


def test_show_says_what_the_dog_is():
    result = run("show")
    assert result.exit_code == 0
    assert "59 joints, 77 limited hinges" in result.output and load_template("dog").content_hash in result.output


def test_warnings_are_said_and_do_not_stop(tmp_path):
    body = arm()
    write_mesh(Template("hole", body.vertices, body.faces[1:]), tmp_path / "hole.obj")
    result = run("import", tmp_path / "hole.obj", "--name", "hole")
    assert result.exit_code == 0 and "warning: 3 border edges" in result.output


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["import", "none.obj", "--name", "a"], 3, "no such mesh file"),
        (["import", "MESH", "--name", "../a"], 2, "no name for a template"),
        (["import", "MESH", "--name", "dog"], 2, "built-in template has that name"),
        (["import", "MESH", "--name", "a", "--axes", "up"], 2, "name no frame"),
        (["show", "dgo"], 6, "did you mean 'dog'"),
        (["show", "none.npz"], 3, "no such template file"),
        (["show", "dog", "--picture", "dog.gif"], 2, "a picture is a .png or .jpg file"),
    ],
)
def test_mistakes_are_answered(mesh, words, code, text):
    result = run(*(mesh if word == "MESH" else word for word in words))
    assert result.exit_code == code and text in result.output, result.output
    assert "Traceback" not in result.output


def test_an_all_zero_mesh_is_refused_with_the_reason(tmp_path):
    (tmp_path / "zero.obj").write_text("v 0 0 0\n" * 3 + "f 1 2 3\n")
    result = run("import", tmp_path / "zero.obj", "--name", "zero")
    assert result.exit_code == 6 and "published CSE meshes hold no geometry" in result.output


def test_a_name_is_taken_once(mesh):
    assert run("import", mesh, "--name", "twice").exit_code == 0
    result = run("import", mesh, "--name", "twice")
    assert result.exit_code == 2 and "--overwrite" in result.output
    assert run("import", mesh, "--name", "twice", "--overwrite").exit_code == 0


def test_the_picture_shows_the_body_from_every_side():
    dog = load_template("dog")
    body = dog.vertices, dog.faces, colour_by_vertex(dog)
    strip = turntable(*body, views=4, size=64)
    assert strip.shape == (64, 256, 3)
    assert ((strip != BACKGROUND).any(axis=2).reshape(64, 4, 64).sum(axis=(0, 2)) > 150).all()
    front, side = ((view_from(azimuth, *body, 64) != BACKGROUND).any(axis=2).sum() for azimuth in (0.0, 90.0))
    assert side > front, "longer from the side than from the front"
    assert np.array_equal(strip, turntable(*body, views=4, size=64))


def test_rig_gives_a_mesh_joints_and_draws_them(mesh, tmp_path):
    result = run("rig", mesh, "--name", "rex", "--picture", tmp_path / "rex.png")
    assert result.exit_code == 0, result.output
    assert "162 vertices" in result.output and "joints, found" in result.output
    assert load_template("rex").skeleton is not None and Image.open(tmp_path / "rex.png").size == (6 * 256, 4 * 256)
    assert run("rig", "rex", "--name", "rex").exit_code == 2
    assert "the mesh's own" in run("rig", "dog", "--name", "other").output
