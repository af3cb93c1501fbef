"""A skinned glTF read back and skinned again stands where the model put the body."""

import numpy as np
import pytest
import torch
import trimesh

from dp3d_data.errors import UsageError
from dp3d_model.export.gallery import model_colours, part_weights, write_predictions
from dp3d_model.export.meshes import strongest, write_rig
from dp3d_model.lifting.prediction import lift_to_keep, predict
from dp3d_model.networks.lifter import Lifter
from tests.model.glb import read_glb, skinned
from tests.model.toy import tiny, toy_instances, toy_surface


def moved(*changes):
    """A lifter whose network answers at random, and its answer for one instance."""
    surface = toy_surface()
    torch.manual_seed(3)
    lifter = Lifter(surface, tiny(*changes)).eval()
    for parameter in lifter.trunks.parameters():
        parameter.data += 0.03 * torch.randn(parameter.shape)
    (many,) = predict(lifter, toy_instances(surface, 2))
    return lifter, many.at(1)


def rigged(lifter, one, path):
    return read_glb(write_rig(path, one, lifter.surface.faces.numpy(), part_weights(lifter), model_colours(lifter)))


@pytest.mark.parametrize("pivot", ["part", "joint", "origin"])
def test_with_four_parts_the_skin_is_the_posed_body(tmp_path, pivot):
    lifter, one = moved({"model.parts": 4, "model.pivot": pivot})
    content, array = rigged(lifter, one, tmp_path / "dog.glb")
    assert np.abs(one.vertices - one.rest).max() > 0.02
    assert np.allclose(skinned(content, array), one.vertices[:, [1, 2, 0]], atol=1e-5)


def test_with_more_parts_only_the_weak_weights_are_lost(tmp_path):
    lifter, one = moved({"model.parts": 7, "model.sharpness": 15.0})
    content, array = rigged(lifter, one, tmp_path / "dog.glb")
    weights = part_weights(lifter)
    points = np.einsum("mab,kb->kma", one.part_rotations, one.rest) + one.part_translations
    joints, kept = strongest(weights)
    lost = 1.0 - np.take_along_axis(weights, joints, axis=1).sum(1)
    reach = np.linalg.norm(points - points.mean(1, keepdims=True), axis=2).max(1)
    distance = np.linalg.norm(skinned(content, array) - one.vertices[:, [1, 2, 0]], axis=1)
    assert lost.max() > 1e-4
    assert np.allclose(kept.sum(1), 1.0)
    assert (distance <= 2.0 * lost * reach + 1e-5).all()


def test_fewer_parts_than_influences_leave_zeros():
    joints, kept = strongest(np.array([[0.25, 0.75], [1.0, 0.0]]))
    assert joints.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert kept.tolist() == [[0.75, 0.25, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]


def test_other_programs_read_it_with_its_colours(tmp_path):
    lifter, one = moved()
    content, _ = rigged(lifter, one, tmp_path / "dog.glb")
    mesh = trimesh.load(tmp_path / "dog.glb", process=False, force="mesh")
    assert np.allclose(mesh.vertices, one.rest[:, [1, 2, 0]], atol=1e-5)
    assert np.array_equal(mesh.visual.vertex_colors[:, :3], model_colours(lifter))
    assert [content["nodes"][joint]["name"] for joint in content["skins"][0]["joints"]] == [
        f"part-{m}" for m in range(4)
    ]


def test_the_skeleton_is_the_node_that_all_joints_hang_on(tmp_path):
    lifter, one = moved()
    content, _ = rigged(lifter, one, tmp_path / "dog.glb")
    (skin,) = content["skins"]
    assert content["nodes"][skin["skeleton"]]["children"] == skin["joints"] == [2, 3, 4, 5]
    assert {skin["skeleton"], 0} == set(content["scenes"][content["scene"]]["nodes"])


def test_a_body_without_parts_has_no_rig(tmp_path):
    surface = toy_surface()
    lifter = Lifter(surface, tiny({"model.body": "rigid"})).eval()
    world = toy_instances(surface, 1)
    lifted = lift_to_keep(lifter, world)
    with pytest.raises(UsageError, match="a rig needs parts"):
        write_predictions(lifter, world, *lifted, tmp_path, formats=("glb",), pictures=False, rig=True)
