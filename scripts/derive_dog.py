"""Derive the built-in dog template from dm-control's dog: python scripts/derive_dog.py [OUT.npz].

The left half of the skin (exactly mirrored in the source) is decimated with its midline kept, evened out, mirrored, and
takes its skin weights from the source's triangles. Joints and hinges come from dog.xml; the two ear joints and their
hinges are ours. Needs: pip install dm-control mujoco fast-simplification trimesh scipy.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
from pathlib import Path

import fast_simplification
import mujoco
import numpy as np
from remesh import Surface, edge_table, refine

from dp3d_data.geometry.skeleton import Skeleton
from dp3d_data.geometry.template import make_template

OUT = Path(__file__).resolve().parents[1] / "dp3d_data" / "geometry" / "data" / "dog.npz"
HALF_FACES = 2000
LONGEST_EDGE = 0.035
SMOOTHING = 6
MOST_JOINTS = 5
SMALLEST_WEIGHT = 0.02
EAR_BASE = np.array([0.272, 0.043, 0.733])
EAR_AXIS = np.array([0.0, 0.44, 0.90])


def source_folder() -> Path:
    """Where dm-control keeps its dog, without importing it (that would ask for a display)."""
    spec = importlib.util.find_spec("dm_control")
    if spec is None:
        sys.exit("dm_control is missing: pip install dm-control")
    return Path(spec.submodule_search_locations[0]) / "suite"


def read_skin(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Welded vertices in metres, faces, weights [V, B] and bone names of a MuJoCo .skn file."""
    data = path.read_bytes()
    num_vertices, num_texture, num_faces, num_bones = struct.unpack_from("<4i", data)
    at = 16
    vertices = np.frombuffer(data, "<f4", 3 * num_vertices, at).reshape(-1, 3)
    at += 12 * num_vertices + 8 * num_texture
    faces = np.frombuffer(data, "<i4", 3 * num_faces, at).reshape(-1, 3)
    at += 12 * num_faces
    weights, names = np.zeros((num_vertices, num_bones)), []
    for bone in range(num_bones):
        names.append(data[at : at + 40].split(b"\0")[0].decode())
        (count,) = struct.unpack_from("<i", data, at + 68)
        at += 72
        weights[np.frombuffer(data, "<i4", count, at), bone] = np.frombuffer(data, "<f4", count, at + 4 * count)
        at += 8 * count
    welded, first, inverse = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    return welded.astype(np.float64), inverse.ravel()[faces], weights[first], names


def left_half(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The faces with y >= 0; vertices closer than a micrometre to the plane are put onto it."""
    flat = np.where(np.abs(vertices[:, 1:2]) < 1e-6, [[1, 0, 1]], 1)
    vertices = vertices * flat
    ids, inverse = np.unique(faces[vertices[faces][:, :, 1].max(axis=1) > 0], return_inverse=True)
    return vertices[ids], inverse.reshape(-1, 3)


def mirrored(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The half and its mirror image sewn along the border; also the symmetry map of the whole."""
    edges, sides = edge_table(faces)
    border = np.zeros(len(vertices), dtype=bool)
    border[edges[sides[:, 1] < 0]] = True
    if not np.array_equal(border, vertices[:, 1] == 0):
        sys.exit("the border of the half left the mirror plane")
    image = np.arange(len(vertices))
    image[~border] = len(vertices) + np.arange((~border).sum())
    whole = np.concatenate([vertices, vertices[~border] * [1, -1, 1]])
    symmetry = np.concatenate([image, np.flatnonzero(~border)])
    return whole, np.concatenate([faces, image[faces][:, ::-1]]), symmetry


def read_joints(folder: Path, bones: list[str]) -> dict:
    """Joint tree and hinges of dog.xml at its default pose; frames have the world's axes, origins at the hinge
    anchors."""
    model = mujoco.MjModel.from_xml_path(str(folder / "dog.xml"))
    state = mujoco.MjData(model)
    mujoco.mj_kinematics(model, state)
    places = state.xpos - state.xpos[model.body("torso").id] + model.body("torso").pos
    bodies = sorted(model.body(name).id for name in bones)
    names = [model.body(body).name for body in bodies]
    parents, rest = [], np.tile(np.eye(4), (len(bodies), 1, 1))
    hinges = {"hinge_names": [], "hinge_joint": [], "hinge_axis": [], "hinge_range": []}
    for number, body in enumerate(bodies):
        above = model.body_parentid[body]
        while above not in bodies and above != 0:
            above = model.body_parentid[above]
        parents.append(bodies.index(above) if above else -1)
        own = [j for j in range(model.njnt) if model.jnt_bodyid[j] == body and model.jnt_limited[j]]
        rest[number, :3, 3] = places[body] + (model.jnt_pos[own].mean(axis=0) if own else 0)
        for joint in own:
            hinges["hinge_names"].append(model.joint(joint).name)
            hinges["hinge_joint"].append(number)
            hinges["hinge_axis"].append(model.jnt_axis[joint])
            hinges["hinge_range"].append(model.jnt_range[joint])
    return {"names": names, "parents": parents, "rest": rest, **hinges}


def add_ears(joints: dict, vertices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Two joints for the ears, which the source moves with the skull: droop (outward) and fold (forward) are ours."""
    skull = joints["names"].index("skull")
    for side, sign in (("L", 1.0), ("R", -1.0)):
        mirror = np.array([1, sign, 1])
        frame = np.eye(4)
        frame[:3, 3] = EAR_BASE * mirror
        joints["rest"] = np.concatenate([joints["rest"], frame[None]])
        joints["names"].append(f"ear_{side}")
        joints["parents"].append(skull)
        for name, axis, limits in (("droop", [-sign, 0, 0], (-10, 100)), ("fold", [0, 1, 0], (-20, 30))):
            joints["hinge_names"].append(f"ear_{side}_{name}")
            joints["hinge_joint"].append(len(joints["names"]) - 1)
            joints["hinge_axis"].append(np.array(axis, dtype=float))
            joints["hinge_range"].append(np.deg2rad(limits))
        share = ear_share(vertices * mirror)[:, None]
        weights = np.concatenate([weights * (1 - share), share], axis=1)
    return weights


def ear_share(vertices: np.ndarray) -> np.ndarray:
    """How much a vertex follows the left ear: rises smoothly over 2 cm along the ear."""
    height = (vertices - EAR_BASE) @ (EAR_AXIS / np.linalg.norm(EAR_AXIS))
    step = np.clip((height - 0.002) / 0.02, 0, 1)
    near = (np.abs(vertices[:, 0] - EAR_BASE[0]) < 0.05) & (vertices[:, 1] > 0.02)
    return np.where(near, step * step * (3 - 2 * step), 0)


def pruned(weights: np.ndarray) -> np.ndarray:
    """At most MOST_JOINTS joints a vertex, none under SMALLEST_WEIGHT, rows sum to 1."""
    floor = np.sort(weights, axis=1)[:, -MOST_JOINTS][:, None]
    kept = np.where((weights >= floor) & (weights >= SMALLEST_WEIGHT), weights, 0)
    return (kept / kept.sum(axis=1, keepdims=True)).astype(np.float32)


def symmetric(weights: np.ndarray, names: list[str], symmetry: np.ndarray) -> np.ndarray:
    """Average with the mirror image, so that left and right agree to the bit."""
    swap = {"L": "R", "R": "L"}
    other = [names.index(f"{n[:-1]}{swap[n[-1]]}") if n[-2:] in ("_L", "_R") else i for i, n in enumerate(names)]
    return (weights + weights[symmetry][:, other]) / 2


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    folder = source_folder()
    dense, dense_faces, dense_weights, bones = read_skin(folder / "dog_assets" / "dog_skin.skn")
    half, half_faces = left_half(dense, dense_faces)
    coarse, coarse_faces = fast_simplification.simplify(
        half.astype(np.float32), half_faces.astype(np.int32), target_count=HALF_FACES, agg=3
    )
    fine = refine(coarse.astype(np.float64), coarse_faces, Surface(half, half_faces), LONGEST_EDGE, SMOOTHING)
    vertices, faces, symmetry = mirrored(*fine)
    joints = read_joints(folder, bones)
    carried = Surface(dense, dense_faces).interpolate(vertices, dense_weights)
    carried = carried[:, [bones.index(name) for name in joints["names"]]]
    weights = pruned(symmetric(add_ears(joints, vertices, carried), joints["names"], symmetry))
    skeleton = Skeleton(
        names=tuple(joints["names"]),
        parents=np.array(joints["parents"], dtype=np.int32),
        rest=joints["rest"],
        weights=weights,
        hinge_joint=np.array(joints["hinge_joint"], dtype=np.int32),
        hinge_axis=np.array(joints["hinge_axis"], dtype=np.float32),
        hinge_range=np.array(joints["hinge_range"], dtype=np.float32),
        hinge_names=tuple(joints["hinge_names"]),
    )
    template = make_template("dog", vertices, faces, unit="m", symmetry=symmetry.astype(np.int32), skeleton=skeleton)
    template.save(out)
    print(f"{template.num_vertices} vertices, {len(template.faces)} faces, {skeleton.num_joints} joints")
    print(f"{skeleton.num_hinges} hinges, hash {template.content_hash}, {out.stat().st_size} bytes: {out}")


if __name__ == "__main__":
    main()
