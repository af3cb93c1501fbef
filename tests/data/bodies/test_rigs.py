"""Rigged .glb files: what comes out is what the file's own matrices give."""

import json
import struct

import numpy as np
import pytest
import trimesh

from dp3d_data.errors import InputCorrupt, TemplateError, UsageError
from dp3d_data.geometry import load_template, pose_vertices
from dp3d_data.geometry.gltf import quaternion_matrices, read_glb, world_matrices
from dp3d_data.geometry.rigs import TEMPLATE_FROM_GLTF, _scene_from_bind, clip_parts, read_rigged_glb
from tests.shared import shared

RIGS = [("husky.glb", 962, 49, 12, 0.007), ("fox_khronos.glb", 290, 24, 3, 1e-5)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "vertices", "joints", "clips", "_"), RIGS)
def test_rigs_are_read_whole(name, vertices, joints, clips, _):
    body = load_template(shared(f"data/rigs/{name}"))
    skeleton = body.skeleton
    assert (body.num_vertices, skeleton.num_joints, len(skeleton.clips)) == (vertices, joints, clips)
    assert trimesh.Trimesh(body.vertices, body.faces, process=False).is_watertight
    assert body.symmetry is not None
    assert (skeleton.parents < 0).sum() == 1, "one tree"
    head = next(i for i, joint in enumerate(skeleton.names) if "head" in joint.lower())
    tail = next(i for i, joint in enumerate(skeleton.names) if "tail" in joint.lower())
    assert skeleton.rest[head, 0, 3] > 0.15 > -0.15 > skeleton.rest[tail, 0, 3], "the nose is forward"
    assert skeleton.rest[head, 2, 3] > body.vertices[:, 2].mean(), "the head is up"
    left = next(i for i, joint in enumerate(skeleton.names) if joint.endswith(".L") or "Left" in joint)
    assert skeleton.rest[left, 1, 3] > 0, "left is left"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "vertices", "joints", "clips", "tolerance"), RIGS)
def test_clips_follow_the_files_own_skinning(name, vertices, joints, clips, tolerance):
    """Mean distance to glTF's skinning: none for the fox; the husky's paws hang on targets that we tie to its limbs."""
    path = shared(f"data/rigs/{name}")
    body, glb = read_rigged_glb(path), read_glb(path)
    for animation, clip in zip(glb.part("animations"), body.skeleton.clips.values(), strict=True):
        expected = skinned_by_matrices(glb, animation, body)
        posed = pose_vertices(body, clip.local_rotations[::5], root_translation=clip.root_translation[::5])
        assert np.linalg.norm(posed - expected, axis=2).mean() < tolerance, animation["name"]
        assert (np.diff(clip.times) > 0).all()


def skinned_by_matrices(glb, animation, body) -> np.ndarray:
    """glTF's definition: every vertex by the weighted world matrices times inverse bind matrices, full transforms."""
    skin, holder = glb.part("skins")[0], next(i for i, node in enumerate(glb.part("nodes")) if "skin" in node)
    inverse_bind = glb.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    _, *parts = clip_parts(glb, animation)
    motion = world_matrices(glb, *parts)[::5, skin["joints"]] @ inverse_bind
    back = np.linalg.inv(_scene_from_bind(glb, 0, holder))
    scene = (body.vertices.astype(float) * body.factor + body.center) @ TEMPLATE_FROM_GLTF
    mesh = scene @ back[:3, :3].T + back[:3, 3]
    order = [body.skeleton.names.index(glb.part("nodes")[node]["name"]) for node in skin["joints"]]
    weights = body.skeleton.weights[:, order]
    moved = np.einsum("kj,tjab,kb->tka", weights, motion[:, :, :3], np.c_[mesh, np.ones(len(mesh))])
    return (moved @ TEMPLATE_FROM_GLTF.T - body.center) / body.factor


def test_quaternions_are_rotations():
    quaternions = np.random.default_rng(0).standard_normal((20, 4))
    matrices = quaternion_matrices(quaternions)
    assert np.allclose(matrices @ np.swapaxes(matrices, 1, 2), np.eye(3))
    expected = trimesh.transformations.quaternion_matrix(quaternions[0][[3, 0, 1, 2]])[:3, :3]
    assert np.allclose(matrices[0], expected)


def test_a_mesh_without_bones_is_no_rig(tmp_path):
    trimesh.creation.icosphere(1).export(tmp_path / "ball.glb")
    with pytest.raises(TemplateError, match="no skinned mesh"):
        read_rigged_glb(tmp_path / "ball.glb")


def test_a_rig_is_not_mended(tmp_path):
    from dp3d_data.geometry.mesh_files import import_mesh

    with pytest.raises(UsageError, match="taken as it is"):
        import_mesh(shared("data/rigs/husky.glb"), weld=True)


@pytest.mark.parametrize("part", ["accessors", "bufferViews", "meshes", "nodes"])
def test_a_document_that_does_not_fit_its_data_is_corrupt(tmp_path, part):
    data = shared("data/rigs/fox_khronos.glb").read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    if part == "nodes":
        document["nodes"][3]["children"] = [2]
    else:
        document[part] = document[part][:0]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    header = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    (tmp_path / "bad.glb").write_bytes(header + text + rest)
    with pytest.raises(InputCorrupt, match="does not fit its data"):
        read_rigged_glb(tmp_path / "bad.glb")
