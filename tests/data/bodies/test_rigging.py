"""Skeletons for bare meshes: limbs, bones, soft skin weights, names, and the way a mesh lies."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.geometry import Template, load_template, make_template, pose_vertices
from dp3d_data.geometry.bones import find_limbs, remoteness
from dp3d_data.geometry.laplacian import geodesic_distances
from dp3d_data.geometry.mesh_files import axes_matrix, import_mesh, write_mesh
from dp3d_data.geometry.rigging import hinges_of, limits_of, rerooted, rigged
from dp3d_data.geometry.symmetry import guessed_axes
from tests.data.bodies.shapes import arm, sphere
from tests.references.bodies import limb_count_slow, remoteness_slow
from tests.shared import shared


@pytest.fixture(scope="module")
def dog() -> Template:
    return rigged(replace(load_template("dog"), skeleton=None))


def bumpy(seed: int) -> tuple[Template, np.ndarray]:
    """A sphere and a random smooth function on it."""
    vertices, faces = sphere()
    rng = np.random.default_rng(seed)
    waves = np.cos(vertices @ rng.normal(0, 3, (3, 4)) + rng.uniform(0, 6, 4)).sum(axis=1)
    return make_template("bumpy", vertices, faces), waves


def test_remoteness_agrees_with_the_slow_twin():
    body = arm()
    distances = geodesic_distances(body)
    assert np.allclose(remoteness(distances, body.vertex_areas), remoteness_slow(distances, body.vertex_areas))


@pytest.mark.slow
@given(st.integers(0, 2**31), st.floats(0.0, 3.0))
def test_limbs_share_the_surface_and_end_in_each_other(seed, shortest):
    body, values = bumpy(seed)
    limbs = find_limbs(values, body.faces, shortest)
    assert sorted(np.concatenate([limb.vertices for limb in limbs]).tolist()) == list(range(body.num_vertices))
    assert [limb.inner for limb in limbs].count(-1) == 1 and limbs[-1].inner == -1
    assert all(limb.inner > place for place, limb in enumerate(limbs[:-1]))


@pytest.mark.slow
@given(st.integers(0, 2**31))
def test_outer_limbs_are_the_peaks_that_rise_high_enough(seed):
    body, values = bumpy(seed)
    shortest = 0.4
    limbs = find_limbs(values, body.faces, shortest)
    inner = {limb.inner for limb in limbs}
    leaves = [place for place in range(len(limbs)) if place not in inner]
    assert len(leaves) == limb_count_slow(values, body.faces, shortest)


@pytest.mark.slow
def test_a_dog_has_the_limbs_of_a_dog(dog):
    names = set(dog.skeleton.names)
    assert {f"leg_{row}_{side}_1" for row in ("front", "hind") for side in "LR"} <= names
    assert {"trunk", "head", "muzzle", "ear_L", "ear_R", "tail_1"} <= names
    place = {name: dog.skeleton.rest[joint, :3, 3] for joint, name in enumerate(dog.skeleton.names)}
    assert (
        place["leg_front_L_1"][0] > place["leg_hind_L_1"][0]
        and place["leg_front_L_1"][1] > 0 > place["leg_front_R_1"][1]
    )
    assert place["head"][0] > place["trunk"][0] > place["tail_1"][0]


def test_the_mesh_stays_and_the_rest_pose_is_the_mesh(dog):
    assert dog.content_hash == load_template("dog").content_hash
    still = pose_vertices(dog, np.tile(np.eye(3), (dog.skeleton.num_joints, 1, 1)))
    assert np.allclose(still, dog.vertices, atol=1e-5)


def test_left_and_right_are_mirror_images(dog):
    names = dog.skeleton.names
    swap = {"_L": "_R", "_R": "_L"}
    other = []
    for name in names:
        side = next((one for one in swap if f"{one}_" in f"{name}_"), "")
        other.append(names.index(f"{name}_".replace(f"{side}_", f"{swap[side]}_")[:-1]) if side else names.index(name))
    assert np.allclose(dog.skeleton.weights[dog.symmetry][:, other], dog.skeleton.weights, atol=1e-5)
    assert np.allclose(dog.skeleton.rest[other, :3, 3] * [1, -1, 1], dog.skeleton.rest[:, :3, 3], atol=1e-5)


def test_weights_are_soft_shares(dog):
    weights = dog.skeleton.weights
    assert weights.min() >= 0 and np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert (np.count_nonzero(weights, axis=1) > 1).mean() > 0.2


def test_a_body_with_a_skeleton_keeps_it():
    body = arm()
    assert rigged(body) is body


def test_a_ball_is_one_trunk():
    ball = rigged(make_template("ball", *sphere()))
    assert ball.skeleton.names == ("trunk",) and ball.skeleton.num_hinges == 0


@pytest.mark.slow
def test_loose_parts_follow_the_body(dog):
    bead = trimesh.creation.icosphere(1)
    nose = dog.vertices[dog.vertices[:, 0].argmax()]
    vertices = np.concatenate([dog.vertices, np.asarray(bead.vertices) * 0.01 + nose + [0, 0, 0.05]])
    faces = np.concatenate([dog.faces, bead.faces + dog.num_vertices])
    both = rigged(Template("both", vertices, faces))
    assert len(both.skeleton.weights) == len(vertices)
    tip = int(np.argmin(np.linalg.norm(dog.vertices - vertices[-1], axis=1)))
    assert np.allclose(both.skeleton.weights[-1], both.skeleton.weights[tip], atol=0.5)


def test_hanging_a_tree_up_elsewhere_keeps_its_links():
    parents, heads = [-1, 0, 1, 1], np.arange(12.0).reshape(4, 3)
    turned, moved = rerooted(parents, heads, 1)
    assert turned == [1, -1, 1, 1] and np.array_equal(moved[0], heads[1]) and np.array_equal(moved[2:], heads[2:])


def test_hinges_lie_on_joints_that_can_turn():
    hinges = hinges_of(("trunk", "leg_hind_L_3", "tail_2"), np.array([-1, 0, 0]))
    assert hinges["hinge_names"][0] == "leg_hind_L_3_swing" and 0 not in hinges["hinge_joint"]
    assert limits_of("leg_hind_L_3")[1] == (-0.9, 0.25) and limits_of("leg_front_L_3")[1] == (-0.25, 0.9)
    assert limits_of("something") == limits_of("limb_1")


@pytest.mark.parametrize("axes", ["+x+y+z", "+z+x+y", "-z-x+y", "-x-y+z", "+y-x+z"])
def test_the_shape_tells_how_a_dog_lies(axes):
    turned = load_template("dog").vertices @ axes_matrix(axes)
    assert guessed_axes(turned) == axes


def test_a_shape_without_one_mirror_plane_tells_nothing():
    assert guessed_axes(sphere()[0]) == ""
    assert guessed_axes(np.random.default_rng(0).standard_normal((60, 3))) == ""


@pytest.mark.slow
def test_a_mesh_that_lies_otherwise_is_turned(tmp_path):
    body = load_template("dog")
    lying = Template("lying", body.vertices @ axes_matrix("-z-x+y"), body.faces)
    template, warnings = import_mesh(write_mesh(lying, tmp_path / "lying.obj"))
    assert "axes -z-x+y" in warnings[0]
    assert np.allclose(template.vertices, body.vertices, atol=1e-5)
    told, nothing = import_mesh(tmp_path / "lying.obj", axes="+x+y+z")
    assert nothing == () and np.allclose(told.vertices, lying.vertices, atol=1e-5)


@pytest.mark.slow
def test_the_cow_gets_four_legs_a_head_ears_and_horns():
    cow = rigged(load_template(shared("data/rigs/spot.obj")))
    names = " ".join(cow.skeleton.names)
    assert all(f"leg_{row}_{side}_1" in names for row in ("front", "hind") for side in "LR")
    assert "head" in cow.skeleton.names and names.count("ear") == 4
