"""Linear blend skinning: laws of posing, and the slow twin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.errors import ShapeError, TemplateError
from dp3d_data.geometry import Template, hinges_to_rotations, load_template, pose_vertices
from tests.data.bodies.shapes import arm, rotations, sphere
from tests.references.bodies import pose_vertices_slow

DOG = load_template("dog")
SEEDS = st.integers(0, 10_000)


def still(template: Template) -> np.ndarray:
    return np.tile(np.eye(3), (template.skeleton.num_joints, 1, 1))


@pytest.mark.parametrize("template", [DOG, arm()], ids=["dog", "arm"])
def test_the_identity_pose_is_the_template(template):
    assert np.allclose(pose_vertices(template, still(template)), template.vertices, atol=3e-7)
    angles = np.zeros(template.skeleton.num_hinges)
    assert np.array_equal(hinges_to_rotations(template.skeleton, angles), still(template))


@given(SEEDS)
def test_turning_the_root_turns_the_whole_body(seed):
    """A rigid motion of the root is a rigid motion of every vertex, whatever the other joints do."""
    rng = np.random.default_rng(seed)
    body = arm(seed)
    pose, shift = rotations(rng, 3), rng.standard_normal(3)
    before = pose_vertices(body, pose)
    turn = rotations(rng)
    root = body.skeleton.rest[0].astype(float)
    pose[0] = root[:3, :3].T @ turn @ root[:3, :3] @ pose[0]
    after = pose_vertices(body, pose, root_translation=shift)
    assert np.allclose(after, (before - root[:3, 3]) @ turn.T + root[:3, 3] + shift, atol=1e-5)


@pytest.mark.slow
@given(SEEDS)
def test_posing_agrees_with_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    body = arm(seed % 7)
    pose, scales, shift = rotations(rng, 3), rng.uniform(0.5, 2, (3, 3)), rng.standard_normal(3)
    expected = pose_vertices_slow(body, pose, scales, shift)
    assert np.allclose(pose_vertices(body, pose, scales, shift), expected, atol=1e-5)


def test_a_batch_is_its_poses_one_by_one():
    rng = np.random.default_rng(0)
    poses, scales, shifts = rotations(rng, 4, 3), rng.uniform(0.5, 2, (4, 3)), rng.standard_normal((4, 3))
    body = arm()
    together = pose_vertices(body, poses, scales, shifts)
    for number, pose in enumerate(poses):
        alone = pose_vertices(body, pose, scales[number], shifts[number])
        assert np.allclose(together[number], alone, atol=1e-6)


def test_stretching_every_joint_stretches_the_body_about_its_root():
    body = load_template("dog")
    stretched = pose_vertices(body, still(body), joint_scales=1.5)
    root = body.skeleton.rest[0, :3, 3]
    assert np.allclose(stretched, (body.vertices - root) * 1.5 + root, atol=1e-5)


def test_hinges_of_one_joint_turn_it_one_after_the_other():
    skeleton = arm().skeleton
    bend, twist = np.eye(5)[[1, 2]]
    both = hinges_to_rotations(skeleton, 0.3 * bend + 0.7 * twist)[1]
    first, second = (hinges_to_rotations(skeleton, angles)[1] for angles in (0.3 * bend, 0.7 * twist))
    assert np.allclose(both, first @ second)


def test_dogs_within_their_joint_limits_stay_dogs():
    """Edges stretch little on average: limits and weights belong together."""
    limits = DOG.skeleton.hinge_range.astype(float)
    share = np.random.default_rng(1).uniform(0.2, 0.8, (20, len(limits)))
    poses = hinges_to_rotations(DOG.skeleton, limits[:, 0] + share * (limits[:, 1] - limits[:, 0]))
    posed = pose_vertices(DOG, poses)
    edges = np.concatenate([DOG.faces[:, [0, 1]], DOG.faces[:, [1, 2]]])
    rest = np.linalg.norm(DOG.vertices[edges[:, 0]] - DOG.vertices[edges[:, 1]], axis=1)
    stretch = np.linalg.norm(posed[:, edges[:, 0]] - posed[:, edges[:, 1]], axis=2) / rest
    assert np.isfinite(posed).all() and np.abs(np.log(stretch)).mean() < 0.15


def test_a_template_without_bones_cannot_be_posed():
    vertices, faces = sphere(1)
    with pytest.raises(TemplateError, match="no skeleton"):
        pose_vertices(Template("ball", vertices, faces), np.eye(3)[None])


def test_poses_of_another_skeleton_are_refused():
    with pytest.raises(ShapeError, match="one rotation for each joint"):
        pose_vertices(arm(), np.tile(np.eye(3), (4, 1, 1)))
    with pytest.raises(ShapeError, match="one angle for each hinge"):
        hinges_to_rotations(arm().skeleton, np.zeros(3))
    with pytest.raises(ShapeError, match="one scale for each joint"):
        pose_vertices(arm(), np.tile(np.eye(3), (3, 1, 1)), joint_scales=np.ones(4))
