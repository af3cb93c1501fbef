"""Mesh files: the way out and back keeps ids and places; what is no mesh is refused by name."""

import numpy as np
import PIL.Image
import pytest
import trimesh

from dp3d_data.errors import InputCorrupt, InputMissing, TemplateError, UsageError
from dp3d_data.geometry import Template, load_template, make_template
from dp3d_data.geometry.mesh_files import axes_matrix, import_mesh, read_mesh, write_mesh
from tests.data.bodies.shapes import sphere
from tests.shared import shared

SUFFIXES = [".obj", ".ply", ".glb"]
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_template_comes_back_from_its_file(tmp_path, suffix):
    dog = load_template("dog")
    template, warnings = import_mesh(write_mesh(dog, tmp_path / f"dog{suffix}"))
    assert warnings == ()
    assert template.content_hash == dog.content_hash
    assert np.array_equal(template.symmetry, dog.symmetry)


def test_formats_one_after_the_other_change_nothing(tmp_path):
    vertices, faces = sphere(2)
    first = make_template("ball", vertices * [1.0, 0.3, 0.7], faces)
    body = first
    for suffix in [".obj", ".ply", ".glb", ".obj"]:
        body = import_mesh(write_mesh(body, tmp_path / f"ball{suffix}"))[0]
    assert body.content_hash == first.content_hash


def test_source_units_come_back(tmp_path):
    dog = load_template("dog")
    metres = Template("dog", dog.vertices * dog.factor + dog.center, dog.faces)
    again = import_mesh(write_mesh(metres, tmp_path / "dog.ply"), unit="m")[0]
    assert again.factor == pytest.approx(dog.factor, rel=1e-5) and again.unit == "m"
    assert np.allclose(again.center, dog.center, atol=1e-5)


def test_an_obj_keeps_its_vertex_order_across_texture_seams(tmp_path):
    path = tmp_path / "seam.obj"
    path.write_text(
        "# a square with a seam and a polygon\nmtllib none.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0.5 0.5 1\n"
        "vt 0 0\nvt 1 1\nf 4/1 3/2 2/1 1/2\nf 1/1 2/2 5/1\nf -4/2 3/1 -1/2\nf 3 4 5\nf 4//1 1//2 5//1\n"
    )
    vertices, faces = read_mesh(path)
    assert vertices.tolist()[4] == [0.5, 0.5, 1.0]
    assert faces.tolist() == [[3, 2, 1], [3, 1, 0], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
    assert import_mesh(path)[1] == ()


def test_a_glb_is_joined_placed_and_welded(tmp_path):
    """Two halves of a box under a node transform, each with its own vertices along the seam."""
    box = trimesh.creation.box((2.0, 1.0, 1.0)).subdivide()
    scene = trimesh.Scene()
    for number, part in enumerate((box.faces[:24], box.faces[24:])):
        half = trimesh.Trimesh(box.vertices, part, process=False)
        half.remove_unreferenced_vertices()
        scene.add_geometry(
            half, geom_name=f"half{number}", transform=trimesh.transformations.translation_matrix([0, 5, 0])
        )
    scene.export(tmp_path / "halves.glb")
    template, warnings = import_mesh(tmp_path / "halves.glb")
    assert template.num_vertices == len(box.vertices) and warnings == ()
    assert np.allclose(np.ptp(template.vertices, axis=0), [0.5, 1.0, 0.5])
    assert template.center[2] == pytest.approx(5)


def test_axes_turn_the_file_into_the_template_frame(tmp_path):
    body = import_mesh(shared("data/rigs/spot.obj"), axes="-z-x+y")[0]
    assert body.num_vertices == 2930 and body.symmetry is not None
    forward = body.vertices[body.vertices[:, 2] > 0.42]
    assert forward[:, 0].mean() > 0.1, "the horns, highest of all, are at the front"


@pytest.mark.parametrize("axes", ["+x+y+z", "+z+x+y", "-z-x+y", "-x-y+z"])
def test_axes_are_rotations(axes):
    matrix = axes_matrix(axes)
    assert np.array_equal(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize("axes", ["xyz", "+x+x+z", "+x+y", "+x+y+w", "forward"])
def test_axes_that_name_no_frame_are_refused(axes):
    with pytest.raises(UsageError, match="name no frame"):
        axes_matrix(axes)


def test_axes_that_mirror_are_refused():
    with pytest.raises(UsageError, match="mirror the mesh"):
        axes_matrix("+x-y+z")


def contents(suffix: str, folder) -> dict[str, bytes]:
    whole = write_mesh(load_template("dog"), folder / f"whole{suffix}").read_bytes()
    return {
        "text": b"hello\nthis is no mesh\n",
        "noise": np.random.default_rng(0).bytes(4000),
        "image": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "head": whole[:25],
        "half": whole[: len(whole) // 2],
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["text", "noise", "image", "head", "half"])
def test_what_is_no_mesh_is_corrupt(tmp_path, suffix, kind):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(contents(suffix, tmp_path)[kind])
    if (suffix, kind) == (".obj", "half"):
        path.write_text(TRIANGLE + "v 0 0")
    with pytest.raises(InputCorrupt, match="not a mesh|not a binary glTF") as caught:
        import_mesh(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_is_said_to_be_empty(tmp_path, suffix):
    (tmp_path / f"empty{suffix}").touch()
    with pytest.raises(InputCorrupt, match="the file is empty"):
        read_mesh(tmp_path / f"empty{suffix}")


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "bad.obj").write_text(TRIANGLE + "f 1 2 oops\n")
    with pytest.raises(InputCorrupt, match="line 5: 'f 1 2 oops'"):
        read_mesh(tmp_path / "bad.obj")


def test_a_header_that_promises_too_much_is_corrupt(tmp_path):
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 4000000000\nproperty float x\nproperty float y\n"
    (tmp_path / "huge.ply").write_text(header + "property float z\nend_header\nabc")
    with pytest.raises(InputCorrupt, match="not a mesh"):
        read_mesh(tmp_path / "huge.ply")


def test_a_file_beyond_all_measure_is_refused_unread(tmp_path):
    with open(tmp_path / "huge.obj", "wb") as stream:
        stream.truncate(2_000_000_000)
    with pytest.raises(InputCorrupt, match="too large"):
        read_mesh(tmp_path / "huge.obj")


def test_missing_files_and_foreign_suffixes(tmp_path):
    with pytest.raises(InputMissing, match="no such mesh file"):
        import_mesh(tmp_path / "none.obj")
    with pytest.raises(UsageError, match="no such mesh format"):
        import_mesh(tmp_path / "scene.blend")
    with pytest.raises(UsageError, match="no such mesh format"):
        write_mesh(load_template("dog"), tmp_path / "dog.stl")


def test_the_published_empty_meshes_are_refused_with_the_reason(tmp_path):
    (tmp_path / "zero.obj").write_text("v 0 0 0\n" * 3 + "f 1 2 3\n")
    with pytest.raises(TemplateError, match="published CSE meshes hold no geometry") as caught:
        import_mesh(tmp_path / "zero.obj")
    assert str(caught.value).startswith(str(tmp_path / "zero.obj"))


def test_a_cloud_of_points_is_no_template(tmp_path):
    (tmp_path / "cloud.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(TemplateError, match="cloud of points"):
        import_mesh(tmp_path / "cloud.obj")
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "cloud.ply")
    with pytest.raises(TemplateError, match="cloud of points"):
        import_mesh(tmp_path / "cloud.ply")


def write_obj(path, vertices, faces):
    lines = [f"v {x} {y} {z}" for x, y, z in vertices] + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces]
    path.write_text("\n".join(lines))
    return path


def test_mending_is_done_only_when_asked(tmp_path):
    vertices, faces = sphere(1)
    extra = np.concatenate([vertices, vertices[:4] * 0.1 + 3, [[9, 9, 9]]])
    more = np.concatenate([faces, [[42, 43, 44], [42, 44, 45], [5, 5, 6]]])
    path = write_obj(tmp_path / "parts.obj", extra, more)
    with pytest.raises(TemplateError, match="belong to no face") as caught:
        import_mesh(path)
    assert "--clean" in str(caught.value)
    template, warnings = import_mesh(path, clean=True)
    assert template.num_vertices == 42 and len(template.faces) == len(faces)
    assert any("renumbered: 42 of 47" in text for text in warnings)
    assert any("name a vertex twice" in text for text in warnings)


def test_welding_joins_seams(tmp_path):
    vertices, faces = sphere(1)
    path = write_obj(tmp_path / "loose.obj", vertices[faces].reshape(-1, 3), np.arange(3 * len(faces)).reshape(-1, 3))
    assert any("join them with --weld" in text for text in import_mesh(path)[1])
    assert import_mesh(path, weld=True)[0].num_vertices == len(vertices)


def test_flipping_turns_the_surface_outwards(tmp_path):
    vertices, faces = sphere(1)
    path = write_obj(tmp_path / "inside_out.obj", vertices, faces[:, ::-1])
    assert any("turn them with --flip" in text for text in import_mesh(path)[1])
    assert import_mesh(path, flip=True)[1] == ()


def test_obj_comments_and_continued_lines_are_read(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text(
        "# a \\\nv 0 0 0 # origin\nv 1 \\\n  0 0\nv 0 1 0#up\nv 0 0 1\nf 1 3 \\  \n 2 # one\nf 1//1 2 4\nf 2 3 4\nf 1 4"
        " 3 \\\n"
    )
    vertices, faces = read_mesh(path)
    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]] and len(faces) == 4
    assert read_mesh(shared("cases/mesh/trailcomment.obj"))[0].shape == (2930, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pointer_in_the_place_of_a_mesh_is_named(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(InputCorrupt, match="fetch the file"):
        import_mesh(tmp_path / f"a{suffix}")


def ply(vertices, faces, lines, comment=""):
    """A .ply as text: what its header says, and its lines."""
    head = (
        f"ply\nformat ascii 1.0\n{comment}element vertex {vertices}\nproperty float x\nproperty float y\nproperty"
        " float z\n"
    )
    return (
        head
        + f"element face {faces}\nproperty list uchar int vertex_indices\nend_header\n"
        + "".join(f"{line}\n" for line in lines)
    )


CORNERS = ["0 0 0", "1 0 0", "0 1 0", "0 0 1"]
TRIANGLES = ["3 0 2 1", "3 0 1 3", "3 0 3 2", "3 1 2 3"]


@pytest.mark.parametrize(
    ("vertices", "faces", "lines"),
    [
        (4, 4, CORNERS + TRIANGLES[:3]),
        (4, 4, CORNERS[:3]),
        (4, 4, CORNERS),
        (99_999_999_999, 4, CORNERS + TRIANGLES),
        (4, 4, []),
    ],
)
def test_a_ply_that_was_cut_is_no_mesh(tmp_path, vertices, faces, lines):
    (tmp_path / "a.ply").write_text(ply(vertices, faces, lines))
    with pytest.raises(InputCorrupt, match="not a mesh"):
        import_mesh(tmp_path / "a.ply")


def test_a_ply_opens_no_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(PIL.Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    for name in ("/etc/passwd", "a.png"):
        (tmp_path / "a.ply").write_text(ply(4, 4, CORNERS + TRIANGLES, f"comment TextureFile {name}\n"))
        (tmp_path / "a.png").write_bytes(b"no picture")
        assert len(read_mesh(tmp_path / "a.ply")[1]) == 4
    assert not capsys.readouterr().err


def test_corners_of_an_obj_count_from_one(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nf 0 1 2\nv 0 1 0\n")
    with pytest.raises(InputCorrupt, match=r"line 3: 'f 0 1 2'"):
        read_mesh(tmp_path / "a.obj")
