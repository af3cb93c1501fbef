"""Templates by name, and the built-in dog: what it is, and that its script still derives it."""

import subprocess
import sys

import numpy as np
import pytest
import trimesh

from dp3d_data.errors import InputMissing, TemplateError
from dp3d_data.geometry import Template, builtin_names, hinges_to_rotations, load_template
from dp3d_data.geometry.builtin import DATA, LICENCES, imported_folder
from dp3d_data.geometry.skeleton import joint_frames
from tests.data.bodies.shapes import arm
from tests.shared import ROOT


def test_the_dog_is_a_closed_surface_of_even_triangles():
    dog = load_template("dog")
    mesh = trimesh.Trimesh(dog.vertices, dog.faces, process=False)
    assert 2500 <= dog.num_vertices <= 5000
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0 and mesh.euler_number == 2
    assert mesh.edges_unique_length.max() < 0.03
    assert np.rad2deg(mesh.face_angles.min()) > 5


def test_the_dogs_vertex_ids_mean_what_they_meant():
    """The embedded network, published shards and models name vertices of exactly this surface."""
    assert load_template("dog").content_hash == "557d764c8ad0c498"


def test_the_dogs_skeleton_is_complete():
    skeleton = load_template("dog").skeleton
    assert skeleton.num_joints == 59 and skeleton.num_hinges == 77
    assert (skeleton.weights > 0).sum(axis=1).max() <= 6
    assert np.allclose(np.linalg.norm(skeleton.hinge_axis, axis=1), 1, atol=1e-5)
    assert (skeleton.hinge_range[:, 0] < 0).all() and (skeleton.hinge_range[:, 1] > 0).all(), (
        "rest lies within the limits"
    )


def test_every_built_in_template_has_a_licence_and_is_small():
    assert set(builtin_names()) == set(LICENCES)
    for name in builtin_names():
        assert (DATA / f"{name}.npz").stat().st_size < 1_000_000
        assert f"{name}.npz" in (ROOT / "NOTICE").read_text()


def test_imported_templates_have_names_too(tmp_path):
    arm().save(imported_folder() / "arm.npz")
    assert load_template("arm").content_hash == arm().content_hash
    assert load_template(arm().save(tmp_path / "elsewhere.npz")).content_hash == arm().content_hash


def test_unknown_names_get_the_near_match(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dgo").write_text("a file of that name is not meant")
    with pytest.raises(TemplateError, match="did you mean 'dog'"):
        load_template("dgo")
    with pytest.raises(InputMissing, match="no such template file"):
        load_template("folder/dog")


def test_the_script_derives_the_shipped_dog(tmp_path):
    pytest.importorskip("mujoco")
    pytest.importorskip("fast_simplification")
    command = [sys.executable, str(ROOT / "scripts" / "derive_dog.py"), str(tmp_path / "dog.npz")]
    run = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    if "dm_control is missing" in run.stderr:
        pytest.skip("needs dm-control: pip install dm-control")
    assert run.returncode == 0, run.stderr
    again, shipped = Template.load(tmp_path / "dog.npz"), load_template("dog")
    assert again.num_vertices == shipped.num_vertices
    assert np.allclose(again.vertices, shipped.vertices, atol=1e-6)
    assert np.allclose(again.skeleton.weights, shipped.skeleton.weights, atol=1e-5)


def test_the_dogs_joints_turn_as_in_the_simulator(tmp_path):
    """Random angles within the limits: every joint's orientation is MuJoCo's."""
    mujoco = pytest.importorskip("mujoco")
    from importlib.util import find_spec

    if find_spec("dm_control") is None:
        pytest.skip("needs dm-control: pip install dm-control")
    (folder,) = find_spec("dm_control").submodule_search_locations
    model = mujoco.MjModel.from_xml_path(f"{folder}/suite/dog.xml")
    state, skeleton = mujoco.MjData(model), load_template("dog").skeleton
    rng = np.random.default_rng(0)
    angles = rng.uniform(skeleton.hinge_range[:, 0], skeleton.hinge_range[:, 1])
    state.qpos[3:7] = [1, 0, 0, 0]
    for name, angle in zip(skeleton.hinge_names, angles, strict=True):
        if not name.startswith("ear_"):
            state.qpos[model.joint(name).qposadr[0]] = angle
    mujoco.mj_kinematics(model, state)
    frames = joint_frames(skeleton, hinges_to_rotations(skeleton, angles[None]), np.ones((1, skeleton.num_joints, 3)))[
        0
    ]
    for joint, name in enumerate(skeleton.names):
        if not name.startswith("ear_"):
            assert np.allclose(frames[joint, :3, :3], state.xmat[model.body(name).id].reshape(3, 3), atol=1e-4), name
