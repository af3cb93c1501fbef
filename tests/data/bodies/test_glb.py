"""GLB files as strangers write them: strides, compression, other files, deep and endless scenes; each read or refused
at once."""

import json
import struct
import time

import numpy as np
import pytest
import trimesh

from dp3d_data.errors import InputCorrupt
from dp3d_data.geometry.gltf import (
    DEEPEST,
    Glb,
    downwards,
    local_parts,
    parents_of,
    read_glb,
    read_surface,
    triangles,
    world_matrices,
)
from dp3d_data.geometry.mesh_files import import_mesh, read_mesh
from tests.data.bodies.shapes import rotations
from tests.shared import shared

POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 0, 1]], dtype="<f4")


def document(**changes):
    """A strip of five vertices 16 bytes apart, shown by one node."""
    whole = {
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 80, "byteStride": 16}], "buffers": [{"byteLength": 80}],
    }  # fmt: skip
    return whole | changes


def written(folder, content):
    text = json.dumps({"asset": {"version": "2.0"}} | content).encode()
    text += b" " * (-len(text) % 4)
    binary = np.concatenate([POINTS, np.full((5, 1), 9, "<f4")], axis=1).tobytes()
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path = folder / "a.glb"
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def test_strides_strips_and_mirrors_are_read_as_by_another_reader(tmp_path):
    nodes = [
        {"children": [2, 1], "scale": [-2, 1, 1]},
        {"mesh": 0},
        {"mesh": 0, "matrix": [*np.diag([1.0, 3, 1, 1]).ravel()]},
    ]
    for change in (
        {},
        {"nodes": nodes},
        {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}] * 2}]},
    ):
        path = written(tmp_path, document(**change))
        vertices, faces = read_surface(read_glb(path))
        parts = trimesh.load_scene(path, process=False).dump()
        theirs = np.concatenate([part.triangles for part in parts])
        assert np.allclose(vertices, np.concatenate([part.vertices for part in parts]))
        assert len(faces) == len(theirs)
        ours, theirs = (
            np.sort(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=0) for t in (vertices[faces], theirs)
        )
        assert np.allclose(ours, theirs), "the same triangles, facing the same way"


ACCESSOR = {"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3"}
VIEW = {"buffer": 0, "byteLength": 80, "byteStride": 16}
BAD = {
    "stride too small": {"bufferViews": [VIEW | {"byteStride": 4}]},
    "stride negative": {"bufferViews": [VIEW | {"byteStride": -16}]},
    "stride huge": {"bufferViews": [VIEW | {"byteStride": 2**31}]},
    "stride a text": {"bufferViews": [VIEW | {"byteStride": "16"}]},
    "offset negative": {"bufferViews": [VIEW | {"byteOffset": -5}]},
    "offset beyond": {"bufferViews": [VIEW | {"byteOffset": 2**40}]},
    "length beyond": {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 6, "type": "VEC3"}]},
    "count endless": {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 10**13, "type": "VEC3"}]},
    "count without data": {"accessors": [{"componentType": 5126, "count": 10**13, "type": "VEC3"}]},
    "sparse": {
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3", "sparse": {"count": 1}}]
    },
    "no such vertex": {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 0}]}]},
    "nodes that are numbers": {"nodes": [1, 2]},
    "nodes that are none": {"nodes": None},
    "child that is none": {"nodes": [{"mesh": 0, "children": [7]}]},
    "child of two": {"nodes": [{"mesh": 0, "children": [1, 1]}, {}]},
    "circle": {"nodes": [{"mesh": 0, "children": [1]}, {"children": [0]}]},
    "deep": {"nodes": [{"mesh": 0, "children": [i + 1]} for i in range(5000)] + [{"mesh": 0}]},
    "many": {"nodes": [{"mesh": 0}] * 200_000},
    "no scene": {"scene": 4},
    "extensions of a kind": {"extensionsRequired": 5},
    "an extension nobody knows": {
        "extensionsUsed": ["EXT_mesh_gpu_instancing"],
        "extensionsRequired": ["EXT_mesh_gpu_instancing"],
    },
    "corners that are fractions": {
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [ACCESSOR, {"bufferView": 0, "componentType": 5126, "count": 3, "type": "SCALAR"}],
    },
    "positions that are whole numbers": {"accessors": [ACCESSOR | {"componentType": 5125}]},
    "positions of two numbers": {"accessors": [ACCESSOR | {"type": "VEC2"}]},
    "a move of one number": {"nodes": [{"mesh": 0, "translation": [1]}]},
    "a move that is a number": {"nodes": [{"mesh": 0, "translation": 1}]},
    "a scale of two numbers": {"nodes": [{"mesh": 0, "scale": [1, 2]}]},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_documents_that_lie_are_corrupt_at_once(tmp_path, kind):
    path, start = written(tmp_path, document(**BAD[kind])), time.process_time()
    with pytest.raises(InputCorrupt) as caught:
        import_mesh(path)
    assert caught.value.path == path and time.process_time() - start < 5


@pytest.mark.slow
def test_a_mesh_shown_again_and_again_is_refused(tmp_path):
    """Nine thousand nodes show a mesh of two hundred primitives."""
    primitives = [{"attributes": {"POSITION": 0}, "mode": 5}] * 200
    nodes = [{"mesh": 0}] * 9000
    start, scenes = time.process_time(), [{"nodes": [*range(9000)]}]
    path = written(tmp_path, document(meshes=[{"primitives": primitives}], nodes=nodes, scenes=scenes))
    with pytest.raises(InputCorrupt, match="far more than the file holds"):
        read_mesh(path)
    assert time.process_time() - start < 5


def test_nodes_as_deep_as_a_body_has_are_read(tmp_path):
    nodes = [{"children": [i + 1], "translation": [0.5, 0, 0]} for i in range(DEEPEST)] + [{"mesh": 0}]
    assert read_mesh(written(tmp_path, document(nodes=nodes)))[0][:, 0].min() == DEEPEST / 2


@pytest.mark.parametrize(
    ("name", "word"), [("KHR_draco_mesh_compression", "Draco"), ("EXT_meshopt_compression", "meshopt")]
)
def test_compression_is_named_with_what_to_do(tmp_path, name, word):
    lacking = [{"componentType": 5126, "count": 5, "type": "VEC3"}]
    other = {"bufferViews": [VIEW | {"buffer": 1}], "buffers": [{"byteLength": 80}, {"byteLength": 80}]}
    for change in (
        {"extensionsRequired": [name]},
        {"extensionsUsed": [name], "accessors": lacking},
        {"extensionsUsed": [name]} | other,
    ):
        with pytest.raises(InputCorrupt, match=f"(?s)compressed by {word}.*hint: .*without compression"):
            import_mesh(written(tmp_path, document(**change)))


@pytest.mark.parametrize("name", [b"XXXX", b"JSON", b"BIN "])
def test_only_the_chunk_of_arrays_is_read_as_such(tmp_path, name):
    path = written(tmp_path, document())
    path.write_bytes(path.read_bytes().replace(b"BIN\0", name))
    with pytest.raises(InputCorrupt, match="where the arrays should be"):
        read_mesh(path)


def test_what_lies_behind_the_arrays_is_none_of_them(tmp_path):
    path = written(tmp_path, document())
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I4s", 80, b"BIN\0"), struct.pack("<I4s", 60, b"BIN\0")))
    with pytest.raises(InputCorrupt, match="do not lie in the file"):
        read_mesh(path)


MORPHED = [({"weights": [0.5]}, {}, 1.5), ({"weights": [3]}, {"weights": [2]}, 3), ({}, {}, 1)]


@pytest.mark.parametrize(("mesh", "node", "expected"), MORPHED)
def test_morph_targets_move_the_vertices_as_far_as_the_file_says(tmp_path, mesh, node, expected):
    primitive = {"attributes": {"POSITION": 0}, "mode": 5, "targets": [{"POSITION": 0}]}
    path = written(tmp_path, document(meshes=[{"primitives": [primitive]} | mesh], nodes=[{"mesh": 0} | node]))
    assert np.allclose(read_surface(read_glb(path))[0], POINTS * expected)


def test_a_mirror_written_as_a_matrix_is_the_same_as_one_written_as_a_scale(tmp_path):
    turn = {"rotation": [0, 0, np.sqrt(0.5), np.sqrt(0.5)]}
    matrix = np.array([[0, -2.0, 0, 3], [-1, 0, 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]])
    nodes = [{"matrix": matrix.T.ravel().tolist()}, {"translation": [3, 4, 5], "scale": [-1, 2, 1], **turn}]
    glb = read_glb(written(tmp_path, document(nodes=[*nodes, {"mesh": 0}])))
    by_matrix, by_parts = world_matrices(glb, *local_parts(glb))[:2]
    assert np.allclose(by_matrix, matrix) and np.allclose(by_parts, matrix)


def test_a_turn_written_as_a_matrix_is_the_same_turn(tmp_path):
    matrices = np.tile(np.eye(4), (20, 1, 1))
    rng = np.random.default_rng(0)
    matrices[:, :3, :3] = rotations(rng, 20) * rng.uniform(0.5, 2, (20, 1, 3))
    matrices[:, :3, 3] = rng.standard_normal((20, 3))
    glb = read_glb(written(tmp_path, document(nodes=[{"matrix": one.T.ravel().tolist()} for one in matrices])))
    moves, turns, scales = local_parts(glb)
    assert np.allclose(np.linalg.norm(turns, axis=1), 1) and scales.min() > 0
    assert np.allclose(world_matrices(glb, moves, turns, scales), matrices)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({}, [[0, 1, 2], [3, 4, 5]]),
        ({"mode": 5}, [[0, 1, 2], [2, 1, 3], [2, 3, 4], [4, 3, 5]]),
        ({"mode": 6}, [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]),
        ({"mode": 1}, np.zeros((0, 3))),
    ],
)
def test_lists_strips_and_fans_are_triangles_of_one_facing(mode, expected):
    """As glTF 2.0 has them, section 3.7.2.1."""
    assert np.array_equal(triangles(Glb({}, b""), mode, 6), expected)
    assert triangles(Glb({}, b""), mode, 0).shape == (0, 3)


@pytest.mark.parametrize(
    ("kind", "component", "expected"),
    [("<i2", 5122, [-1, 0, 1]), ("<u2", 5123, [0, 1 / 65535, 1]), ("u1", 5121, [0, 0.2, 1]), ("i1", 5120, [-1, 0, 1])],
)
def test_normalised_numbers_are_fractions_and_lie_where_view_and_accessor_say(kind, component, expected):
    """Right behind two bytes of the file and two of the view; one value more does not lie in it."""
    limits = np.iinfo(kind)
    middle = {"<u2": 1, "u1": 51}.get(kind, 0)
    binary = b"\7\7\7\7" + np.array([limits.min, middle, limits.max], kind).tobytes()
    entry = {"bufferView": 0, "componentType": component, "count": 3, "type": "SCALAR", "byteOffset": 2}
    whole = {"accessors": [entry, entry | {"normalized": True}, entry | {"count": 4}, entry | {"byteOffset": 3}]}
    whole |= {"bufferViews": [{"byteOffset": 2, "byteLength": len(binary) - 2}], "buffers": [{}]}
    glb = Glb(whole, binary)
    assert glb.array(0).tolist() == [limits.min, middle, limits.max] and np.allclose(glb.array(1), expected)
    for beyond in (2, 3):
        with pytest.raises(ValueError, match="do not lie in the file"):
            glb.array(beyond)


def test_the_scene_that_the_file_names_is_shown_and_of_no_scene_every_tree(tmp_path):
    nodes = [{"children": [2]}, {"mesh": 0, "translation": [5, 0, 0]}, {"mesh": 0, "translation": [0, 7, 0]}]
    for change, moves in (
        ({"scenes": [{"nodes": [0]}, {"nodes": [1]}], "scene": 1}, [[5, 0, 0]]),
        ({"scenes": [{"nodes": [0]}, {"nodes": [1]}]}, [[0, 7, 0]]),
        ({"scenes": []}, [[5, 0, 0], [0, 7, 0]]),
    ):
        glb = read_glb(written(tmp_path, document(nodes=nodes, **change)))
        assert np.allclose(read_surface(glb)[0], np.concatenate([POINTS + move for move in moves]))
    assert parents_of(glb) == [-1, -1, 0] and downwards(glb) == [0, 1, 2]


@pytest.mark.parametrize("uri", ["body.bin", "http://127.0.0.1:9/body.bin", "../../etc/passwd"])
def test_arrays_in_another_file_are_not_fetched(tmp_path, uri):
    (tmp_path / "body.bin").write_bytes(bytes(80))
    with pytest.raises(InputCorrupt, match="(?s)lie in another file.*hint: .*everything inside"):
        import_mesh(written(tmp_path, document(buffers=[{"byteLength": 80, "uri": uri}])))


@pytest.mark.parametrize("name", ["deep", "stride", "uri"])
def test_the_shared_faults_are_refused(name):
    with pytest.raises(InputCorrupt):
        import_mesh(shared(f"cases/faults/{name}.glb"))
