"""Body models: linear blend skinning against a slow twin, its laws, and another package's SMPL."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dp3d_data.bodies.model import DOG_JOINTS, DOG_SCALES, dog_scale_basis, joint_scales, rest_template
from dp3d_data.bodies.posing import body_tensors, pose_body
from dp3d_data.errors import ShapeError
from tests.data.bodies.body_arrays import random_model, random_poses
from tests.references.bodies_smpl import pose_body_slow

DOUBLE = torch.float64


@given(st.integers(1, 7), st.integers(0, 3), st.booleans(), st.integers(0, 2**31))
def test_posing_agrees_with_its_slow_twin(joints, betas, bends, seed):
    model = random_model(joints=joints, betas=betas, pose_basis=bends, seed=seed, divisions=1)
    case = random_poses(model, 2, seed)
    fast = pose_body(model, **case, dtype=DOUBLE).numpy()
    for number in range(2):
        slow = pose_body_slow(model, *(case[name][number] for name in ("pose", "betas", "translation", "joint_scales")))
        np.testing.assert_allclose(fast[number], slow, atol=1e-10)


def test_nothing_given_is_the_rest_surface():
    model = random_model()
    still = pose_body(model, np.zeros((3, 6, 3)), dtype=DOUBLE).numpy()
    np.testing.assert_allclose(still, np.broadcast_to(model.template, still.shape), atol=1e-12)


def test_axis_angles_and_rotations_are_the_same_pose():
    model = random_model()
    pose = random_poses(model, 4)["pose"]
    turns = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(4, 6, 3, 3)
    np.testing.assert_allclose(pose_body(model, pose, dtype=DOUBLE), pose_body(model, turns, dtype=DOUBLE), atol=1e-12)


def test_turning_the_root_turns_the_body_about_its_root_joint():
    model = random_model(seed=3)
    case = random_poses(model, 1, 3)
    case["joint_scales"][:, 0] = 1
    turned = {**case, "pose": case["pose"].copy()}
    turn = Rotation.from_rotvec([0.3, -1.1, 0.4])
    turned["pose"][0, 0] = (turn * Rotation.from_rotvec(case["pose"][0, 0])).as_rotvec()
    root = model.joint_regressor[0] @ (model.template + model.shape_basis @ case["betas"][0])
    before, after = (
        pose_body(model, **poses, dtype=DOUBLE)[0].numpy() - case["translation"][0] - root for poses in (case, turned)
    )
    np.testing.assert_allclose(after, turn.apply(before), atol=1e-12)


def test_a_batch_is_its_poses_and_missing_betas_are_zero():
    model = random_model()
    case = random_poses(model, 5)
    case["betas"] = case["betas"][:, :2]
    full = {**case, "betas": np.pad(case["betas"], ((0, 0), (0, 2)))}
    whole = pose_body(model, **case, dtype=DOUBLE)
    tensors = body_tensors(model, dtype=DOUBLE)
    single = torch.cat(
        [pose_body(tensors, **{name: value[i : i + 1] for name, value in full.items()}) for i in range(5)]
    )
    torch.testing.assert_close(whole, single, atol=1e-12, rtol=0)


def test_single_precision_is_exact_to_micrometres():
    model = random_model(joints=24, betas=10)
    case = random_poses(model, 4)
    error = (pose_body(model, **case).double() - pose_body(model, **case, dtype=DOUBLE)).abs().max()
    assert pose_body(model, **case).dtype == torch.float32 and error < 2e-5


def test_gradients_are_right_also_at_the_rest_pose():
    model = random_model(joints=3, betas=2, divisions=0)
    still = torch.zeros(1, 3, 3, dtype=DOUBLE, requires_grad=True)
    betas = torch.full((1, 2), 0.3, dtype=DOUBLE, requires_grad=True)
    tensors = body_tensors(model, dtype=DOUBLE)
    assert torch.autograd.gradcheck(lambda pose, shape: pose_body(tensors, pose, shape), (still + 0.2, betas))
    pose_body(tensors, still, betas).sum().backward()
    assert torch.isfinite(still.grad).all() and still.grad.abs().max() > 0


def test_an_empty_batch_is_an_empty_batch():
    assert pose_body(random_model(), np.zeros((0, 6, 3))).shape == (0, 66, 3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pose": np.zeros((2, 5, 3))}, r"pose of another shape[\s\S]*\[N, 6, 3\] axis-angle"),
        ({"betas": np.zeros((2, 5))}, "more betas than the model has"),
        ({"betas": np.zeros((1, 4))}, "betas of another shape"),
        ({"translation": np.zeros(3)}, "translation of another shape"),
        ({"joint_scales": np.ones((2, 6))}, "joint_scales of another shape"),
    ],
)
def test_arrays_that_do_not_fit_are_told(change, text):
    model = random_model()
    with pytest.raises(ShapeError, match=text):
        pose_body(model, **{**random_poses(model, 2), **change})


def test_the_rest_template_leads_back_to_metres():
    model = random_model()
    template = rest_template(model)
    assert (template.name, template.unit) == ("random", "m")
    np.testing.assert_allclose(template.vertices * template.factor + template.center, model.template, atol=1e-6)


def test_limb_scales_of_dogs_stretch_the_named_joints_only():
    names = tuple(name for name, _, _ in DOG_SCALES)
    model = random_model(joints=DOG_JOINTS, kind="smal", scale_joints=names, scale_basis=dog_scale_basis())
    scales = joint_scales(model, np.array([[0.5, 0, 0, 0, 0, 0, 0], [0, 0, 0, -0.2, 0, 0, 0]]))
    legs, tail = [*range(7, 15), *range(17, 25)], range(25, 32)
    wanted = np.ones((2, 35, 3))
    wanted[0, legs, 2], wanted[1, tail, 1:] = np.exp(0.5), np.exp(-0.2)
    np.testing.assert_allclose(scales, wanted)
    np.testing.assert_allclose(joint_scales(model, np.array([[0.5]])), wanted[:1])
    with pytest.raises(ShapeError, match="this model has none"):
        joint_scales(random_model(), np.zeros((1, 2)))


def test_models_whose_arrays_disagree_are_told():
    good = random_model()
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}
    for change, text in (
        ({"pose_basis": good.pose_basis[:, :, :-1]}, "pose_basis does not fit its other arrays"),
        ({"weights": good.weights * 2}, "rows of the skin weights do not sum to 1"),
        ({"kind": "cat"}, "no such kind of body model"),
        ({"parents": good.parents * 0}, "the joints are no tree"),
        ({"faces": good.faces + 60}, "a face names no vertex"),
        ({"template": good.template * np.nan}, "template holds NaN or infinity"),
        ({"scale_joints": ("legs",)}, "limb scales need names and a basis"),
    ):
        with pytest.raises(ShapeError, match=text):
            type(good)(**{**fields, **change})
