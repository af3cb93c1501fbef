"""Skeletons for bare meshes: limbs, bones, soft skin weights, names, and the way a mesh lies."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.geometry import Template, load_template, make_template, pose_vertices
from dp3d_data.geometry.bones import (
    BONE,
    MOST_BONES,
    Limb,
    cut_path,
    find_limbs,
    name_limbs,
    partners,
    pruned,
    remoteness,
    skin_weights,
    with_bones,
)
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


def thread(values, shortest):
    """Limbs of a surface as thin as a thread, with these values along it: vertices, tip, top, bottom, inner."""
    places = np.arange(len(values) - 1)
    faces = np.stack([places, places + 1, places + 1], axis=1)
    limbs = find_limbs(np.array(values, dtype=float), faces, shortest)
    return [(one.vertices.tolist(), one.tip, one.top, one.bottom, one.inner) for one in limbs]


def test_a_peak_is_a_limb_from_the_rise_that_is_asked_for():
    values = [4, 3, 2, 1, 0, 1.5, 2.5, 3.5, 5]
    assert thread(values, 4) == [([5, 6, 7, 8], 8, 5, 1.5, 2), ([0, 1, 2, 3], 0, 4, 1, 2), ([4], 8, 0, 0, -1)]
    assert thread(values, 4.1) == [([*range(9)], 8, 5, 0, -1)]


def test_meetings_that_lie_close_are_one():
    values = [5, 2, 4, 1.5, 0.5, 0, 6]
    outer = [([6], 6, 6, 6), ([0], 0, 5, 5), ([2], 2, 4, 4)]
    apart, close = thread(values, 1.5), thread(values, 1.6)
    assert apart[:3] == [(*one, inner) for one, inner in zip(outer, (4, 3, 3), strict=True)]
    assert apart[3:] == [([1, 3, 4], 0, 2, 0.5, 4), ([5], 6, 0, 0, -1)]
    assert close == [*((*one, 3) for one in outer), ([1, 3, 4, 5], 6, 2, 0, -1)]


@pytest.mark.parametrize(("length", "bones"), [(3 * BONE, 3), (1.4 * BONE, 1), (0.0, 1), (20 * BONE, MOST_BONES)])
def test_bones_cut_a_path_into_equal_lengths(length, bones):
    """On a path whose points are not evenly spaced, places are those between its points."""
    path = np.linspace(0, 1, 13)[:, None] ** 2 * np.array([0, length, 0])
    joints, places = cut_path(path)
    assert np.allclose(joints[:, 1], np.linspace(0, length, bones + 1)) and np.allclose(joints[:, [0, 2]], 0)
    assert np.allclose(places[[0, -1]], [0, 12]) and len(places) == len(joints) == bones + 1
    if bones == 3:
        assert np.allclose(places / 12, np.sqrt([0, 1 / 3, 2 / 3, 1]), atol=0.01)


def test_partners_are_limbs_on_the_other_side():
    limbs = [Limb(np.array(own, dtype=int), 0, 1.0, 0.0, -1) for own in ([0, 1], [2, 3, 4], [5, 6])]
    assert partners(limbs, np.array([2, 3, 0, 1, 5, 4, 6])).tolist() == [1, 0, 2]
    assert partners(limbs, None).tolist() == [0, 1, 2]
    assert partners(limbs[:2], np.array([2, 3, 3, 4, 3])).tolist() == [0, 1], "not of each other"


def test_both_sides_have_the_mean_of_a_bone_and_its_mirror_image():
    along = np.linspace(0, 1, 13)
    left = np.stack([0 * along, 0.1 + 0.3 * along, along], axis=1)
    points = np.concatenate([left, left * [1, -1, 1] + [0.2, 0, 0], [[0, 0, 0], [0, 0.3, 0.3]]])
    values = np.concatenate([1 + along, 1.2 + along, [0, 0.5]])
    limbs = [Limb(np.arange(13), 12, 2.0, 1.0, 2), Limb(np.arange(13, 26), 25, 2.2, 1.2, 2)]
    limbs.append(Limb(np.array([26, 27]), 27, 0.5, 0.0, -1))
    symmetry = np.array([*range(13, 26), *range(13), 26, 27])
    left, right, trunk = with_bones(limbs, points, values, np.ones(28), symmetry)
    assert (left.twin, right.twin, trunk.twin) == (1, 0, 2)
    assert np.allclose(left.joints * [1, -1, 1], right.joints) and np.allclose(left.levels[[0, -1]], [1.1, 2.1])
    assert np.allclose(left.joints[[0, -1]], [[0.1, 0.1, 0], [0.1, 0.4, 1]], atol=0.05)
    assert trunk.bones == 1 and trunk.joints[0, 1] == 0 and np.allclose(*trunk.joints)


def test_small_shares_go_to_the_others():
    found = pruned(np.array([[0.5, 0.485, 0.015], [0.48, 0.5, 0.02]]))
    assert np.allclose(found, [[0.5 / 0.985, 0.485 / 0.985, 0], [0.48, 0.5, 0.02]])


def test_skin_in_the_middle_of_a_bone_follows_it_and_skin_at_a_joint_both():
    """A tube whose remoteness is its x: two bones that meet at 1, the second limb from 2 on."""
    around, along = np.meshgrid(np.arange(8), np.arange(31))
    angle = 2 * np.pi * around.ravel() / 8
    vertices = np.stack([along.ravel() * 0.1, 0.05 * np.cos(angle), 0.05 * np.sin(angle)], axis=1)
    a, b = (np.arange(240), np.arange(240) // 8 * 8 + (np.arange(240) + 1) % 8)
    faces = np.concatenate([np.stack([a, b, b + 8], axis=1), np.stack([a, b + 8, a + 8], axis=1)])
    values = vertices[:, 0]
    inner, outer = np.flatnonzero(values < 1.95), np.flatnonzero(values > 1.95)
    spots = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    limbs = [
        Limb(inner, 0, 2.0, 0.0, 1, 0, spots[:3], np.array([0, 0.95, 2])),
        Limb(outer, 0, 3.0, 2.0, -1, 1, spots[2:], np.array([2.0, 3])),
    ]
    weights = skin_weights(limbs, vertices, faces, values)
    assert np.allclose(weights.sum(axis=1), 1) and weights.min() > -1e-9
    for bone, middle in enumerate((0.5, 1.5, 2.5)):
        assert weights[np.isclose(values, middle), bone].min() > 0.999
    assert 0.001 < weights[np.isclose(values, 0.9), 1].max() < 0.2


CREATURE = {  # limbs before those that they end in: inner, and the tip; joints lie halfway to where it ends
    "leg_front_L": ("spine_1", (0.3, 0.1, 0.0)), "leg_front_R": ("spine_1", (0.3, -0.1, 0.0)),
    "leg_hind_R": ("trunk", (-0.3, -0.1, 0.02)), "leg_hind_L": ("trunk", (-0.3, 0.1, 0.02)),
    "ear2_L": ("neck", (0.45, 0.08, 0.9)), "ear2_R": ("neck", (0.45, -0.08, 0.9)),
    "ear_L": ("neck", (0.5, 0.1, 1.0)), "ear_R": ("neck", (0.5, -0.1, 1.0)), "muzzle": ("neck", (0.7, 0.0, 0.7)),
    "tail2": ("tail", (-0.6, 0.0, 0.5)), "tail": ("trunk", (-0.15, 0.0, 0.5)), "limb_2": ("trunk", (-0.2, 0.01, 0.9)),
    "arm_L": ("spine_1", (0.1, 0.4, 0.6)), "arm_R": ("spine_1", (0.1, -0.4, 0.6)),
    "neck": ("spine_1", (0.5, 0.0, 0.8)), "spine_1": ("trunk", (0.2, 0.0, 0.5)), "trunk": (None, (-0.1, 0.0, 0.5)),
}  # fmt: skip


BIRD = {  # whose legs hang on a limb that ends in another
    "leg_R": ("trunk", (0.0, -0.1, 0.1)), "leg_L": ("trunk", (0.0, 0.1, 0.1)),
    "trunk": ("tail", (0.1, 0.0, 0.6)), "tail": (None, (-0.6, 0.0, 0.6)),
}  # fmt: skip
BEETLE = {
    "leg_2_L": ("trunk", (0.0, 0.3, 0.0)), "leg_1_L": ("trunk", (0.3, 0.3, 0.0)), "leg_3_L": ("trunk", (-0.3, 0.3, 0)),
    "leg_1_R": ("trunk", (0.3, -0.3, 0.0)), "leg_2_R": ("trunk", (0.0, -0.3, 0)), "leg_3_R": ("trunk", (-0.3, -0.3, 0)),
    "trunk": (None, (0.0, 0.0, 0.5)),
}  # fmt: skip


def named(creature):
    """The names that the limbs of a creature get."""
    place = {name: number for number, name in enumerate(creature)} | {None: -1}
    across = {name: f"{name[:-1]}{'R' if name[-1] == 'L' else 'L'}" if name[-2] == "_" else name for name in creature}
    twins = [place.get(across[name], place[name]) for name in creature]  # of limb_2, itself
    tips = np.array([tip for _, tip in creature.values()])
    limbs = []
    for n, (inner, _) in enumerate(creature.values()):
        joints = np.stack([(tips[place[inner]] + tips[n]) / 2, tips[n]])
        limbs.append(Limb(np.array([n]), n, 1.0, 0.0, place[inner], twins[n], joints, np.array([0.0, 1])))
    return name_limbs(limbs, np.concatenate([tips, [[0, 0, 0], [0, 0, 1]]]))


@pytest.mark.parametrize("creature", [CREATURE, BIRD, BEETLE])
def test_limbs_are_named_for_where_they_grow(creature):
    assert named(creature) == list(creature)


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
