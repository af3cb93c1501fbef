"""Skinned, animated .glb files to templates: one welded surface, one tree of joints, clips as rotations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import TemplateError
from dp3d_data.geometry.gltf import (
    UNFIT,
    Glb,
    local_parts,
    named_errors,
    parents_of,
    positions,
    read_glb,
    triangles,
    world_matrices,
)
from dp3d_data.geometry.skeleton import Clip, Skeleton, ancestors, joint_frames
from dp3d_data.geometry.symmetry import detect_symmetry
from dp3d_data.geometry.template import Template, check_mesh, make_template

TEMPLATE_FROM_GLTF = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
MOST_WEIGHTS = 200_000_000
MOST_FRAMES = 2_000_000


def read_rigged_glb(path: str | Path, name: str | None = None) -> Template:
    """A template with skeleton and clips from the first skin of a .glb.

    The rest pose is the bind pose. Node transforms are applied, primitives joined, equal positions welded; glTF's axes
    (z forward, x left, y up) become the template's (x forward, y left, z up). A second root among the joints (feet that
    hang on inverse-kinematics targets) is tied to the nearest limb, for a skeleton is one tree; clips keep the
    rotations of all joints and the path of the root, nothing else.

    Raises:
        InputMissing, InputCorrupt: no such file, or not a binary glTF.
        TemplateError: the file holds no skinned mesh, or one without a usable surface.
    """
    glb = read_glb(path)
    with named_errors(Path(path), UNFIT):
        return _rigged_template(glb, name or Path(path).stem)


def _rigged_template(glb: Glb, name: str) -> Template:
    holders = [node for node in glb.part("nodes") if "skin" in node and "mesh" in node]
    if not holders:
        hint = "import it without its bones: dp3d-data template import MESH --name NAME"
        raise TemplateError("this file holds no skinned mesh", hint=hint)
    skin = holders[0]["skin"]
    holders = [node for node in holders if node["skin"] == skin]
    bind = _scene_from_bind(glb, skin, glb.part("nodes").index(holders[0]))
    nodes, parents, frames = _joints(glb, skin, bind)
    points, faces, weights = _skinned_surface(glb, holders, glb.part("skins")[skin]["joints"], nodes)
    vertices = (points @ bind[:3, :3].T + bind[:3, 3]) @ TEMPLATE_FROM_GLTF.T
    check_mesh(vertices, faces)
    rest = frames.copy()
    rest[:, :3] = TEMPLATE_FROM_GLTF @ rest[:, :3]
    names = [glb.part("nodes")[node].get("name", f"joint_{node}") for node in nodes]
    bare = Skeleton(tuple(names), parents, rest, weights)
    skeleton = replace(bare, clips=_clips(glb, nodes, frames, bare))
    template = make_template(name, vertices, faces, skeleton=skeleton)
    return replace(template, symmetry=detect_symmetry(template.vertices))


def _bind_matrices(glb: Glb, skin: int) -> Float[np.ndarray, "J 4 4"]:
    entry = glb.part("skins")[skin]
    if "inverseBindMatrices" not in entry:
        return np.tile(np.eye(4), (len(entry["joints"]), 1, 1))
    return glb.array(entry["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64)


def _scene_from_bind(glb: Glb, skin: int, holder: int) -> Float[np.ndarray, "4 4"]:
    """From mesh to scene in the bind pose: by the mesh node, which glTF ignores for skins, where it is as large as the
    first joint, else by that joint."""
    world = world_matrices(glb, *local_parts(glb))
    by_joint = world[glb.part("skins")[skin]["joints"][0]] @ _bind_matrices(glb, skin)[0]
    own, first = (np.linalg.det(matrix[:3, :3]) for matrix in (world[holder], by_joint))
    return world[holder] if np.isclose(own, first, rtol=0.05) else by_joint


def _joints(
    glb: Glb, skin: int, bind: np.ndarray
) -> tuple[list[int], Int[np.ndarray, "J"], Float[np.ndarray, "J 4 4"]]:
    """The joints as nodes, parents before children; their parents, and their rest frames in the scene."""
    listed = glb.part("skins")[skin]["joints"]
    frames = bind @ np.linalg.inv(_bind_matrices(glb, skin))
    place = dict(zip(listed, frames, strict=True))
    parents_in_file = parents_of(glb)
    above = {node: next(filter(place.__contains__, ancestors(node, parents_in_file)[1:]), -1) for node in listed}
    roots = [node for node in listed if above[node] < 0]
    main = max(roots, key=lambda root: sum(ancestors(node, above)[-1] == root for node in listed))
    for root in roots:
        if root != main:
            above[root] = _nearest_limb(glb, place, above, main, place[root][:3, 3])
    order = sorted(listed, key=lambda node: len(ancestors(node, above)))
    parents = np.array([order.index(above[node]) if above[node] >= 0 else -1 for node in order], dtype=np.int32)
    rest = np.tile(np.eye(4), (len(order), 1, 1))
    rest[:, :3, :3] = [_rotation(place[node]) for node in order]
    rest[:, :3, 3] = [place[node][:3, 3] for node in order]
    return order, parents, rest


def _nearest_limb(glb: Glb, place: dict, above: dict, main: int, point: np.ndarray) -> int:
    """The joint of the main tree whose origin, or whose end node's, lies nearest to the point at rest."""
    best, shortest = main, float("inf")
    moves = local_parts(glb)[0]
    for joint in place:
        if ancestors(joint, above)[-1] != main:
            continue
        ends = [child for child in glb.part("nodes")[joint].get("children", []) if child not in place]
        for local in [np.zeros(3), *moves[ends]]:
            distance = float(np.linalg.norm(place[joint][:3, :3] @ local + place[joint][:3, 3] - point))
            if distance < shortest:
                best, shortest = joint, distance
    return best


def _rotation(matrix: np.ndarray) -> np.ndarray:
    """The nearest rotation(s) to the upper left of 4 x 4 matrices, scale removed."""
    left, _, right = np.linalg.svd(matrix[..., :3, :3])
    flip = np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)
    left[..., :, 2] *= flip[..., None]
    return left @ right


def _skinned_surface(glb: Glb, holders: list[dict], listed: list[int], order: list[int]):
    """Join the primitives and weld equal positions: vertices in mesh coordinates, faces, weights in the rig's order."""
    parts, faces, weights, at = [], [], [], 0
    for holder in holders:
        for primitive in glb.part("meshes")[holder["mesh"]]["primitives"]:
            points = positions(glb, holder, primitive)
            corners = triangles(glb, primitive, len(points))
            if not len(corners):
                continue
            parts.append(points)
            faces.append(corners + at)
            weights.append(_primitive_weights(glb, primitive["attributes"], len(points), len(listed)))
            at += len(points)
    points = np.concatenate(parts).astype(np.float32)
    welded, first, inverse = np.unique(points, axis=0, return_index=True, return_inverse=True)
    corners = inverse.ravel()[np.concatenate(faces)]
    whole = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    mixed = np.concatenate(weights)[first][:, [listed.index(node) for node in order]]
    return welded.astype(np.float64), corners[whole].astype(np.int32), mixed


def _primitive_weights(glb: Glb, attributes: dict, count: int, joints: int) -> Float[np.ndarray, "V J"]:
    if count * joints > MOST_WEIGHTS:
        raise ValueError(f"{count} vertices with weights of {joints} joints, at most {MOST_WEIGHTS} together")
    weights = np.zeros((count, joints), dtype=np.float32)
    rows = np.arange(count)
    for number in range(8):
        if f"JOINTS_{number}" not in attributes:
            break
        ids, shares = glb.array(attributes[f"JOINTS_{number}"]), glb.array(attributes[f"WEIGHTS_{number}"])
        for column in range(ids.shape[1]):
            np.add.at(weights, (rows, ids[:, column].astype(int)), shares[:, column].astype(np.float32))
    total = weights.sum(axis=1, keepdims=True)
    weights[total[:, 0] <= 0, 0] = 1
    return weights / np.where(total > 0, total, 1)


def _clips(glb: Glb, nodes: list[int], rest: Float[np.ndarray, "J 4 4"], skeleton: Skeleton) -> dict[str, Clip]:
    """Rotations relative to rest; the path is what brings the joints, weighted by their skin, nearest to the file's."""
    clips: dict[str, Clip] = {}
    inner = skeleton.parents >= 0
    above = skeleton.parents[inner]
    rest_turns = rest[:, :3, :3].copy()
    rest_turns[inner] = np.swapaxes(rest[above, :3, :3], -1, -2) @ rest[inner, :3, :3]
    share = skeleton.weights.sum(axis=0, dtype=np.float64) / len(skeleton.weights)
    for animation in glb.part("animations"):
        times, *parts = clip_parts(glb, animation)
        world = world_matrices(glb, *parts)[:, nodes]
        turns = _rotation(world)
        local = turns.copy()
        local[:, inner] = np.swapaxes(turns[:, above], -1, -2) @ turns[:, inner]
        relative = np.swapaxes(rest_turns, -1, -2) @ local
        still = joint_frames(skeleton, relative, np.ones((*relative.shape[:2], 3)))
        path = share @ (world[..., :3, 3] @ TEMPLATE_FROM_GLTF.T - still[..., :3, 3])
        name = str(animation.get("name", f"clip_{len(clips)}")).split("|")[-1]
        clips[name] = Clip(times.astype(np.float32), relative.astype(np.float32), path.astype(np.float32))
    return clips


def clip_parts(glb: Glb, animation: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times [T] of a clip's busiest track, and the local parts [T, N, .] of all nodes at them."""
    samplers = animation["samplers"]
    times = max((glb.array(sampler["input"]) for sampler in samplers), key=len).astype(np.float64)
    if len(times) * len(glb.part("nodes")) > MOST_FRAMES:
        frames = f"{len(times)} frames of {len(glb.part('nodes'))} nodes"
        raise ValueError(f"a clip of {frames}, at most {MOST_FRAMES} together")
    moves, turns, scales = (np.repeat(part[None], len(times), axis=0) for part in local_parts(glb))
    targets = {"translation": moves, "rotation": turns, "scale": scales}
    for channel in animation["channels"]:
        node, path = channel["target"].get("node"), channel["target"]["path"]
        if node is None or path not in targets:
            continue
        sampler = samplers[channel["sampler"]]
        keys, values = glb.array(sampler["input"]).astype(np.float64), glb.array(sampler["output"]).astype(np.float64)
        if sampler.get("interpolation") == "CUBICSPLINE":
            values = values[1::3]
        targets[path][:, node] = _sampled(times, keys, values, path == "rotation", sampler.get("interpolation"))
    return times, moves, turns, scales


def _sampled(times: np.ndarray, keys: np.ndarray, values: np.ndarray, turn: bool, how: str | None) -> np.ndarray:
    """Linear between keys (normalised, the short way round, for quaternions); spline tangents are ignored."""
    right = np.clip(np.searchsorted(keys, times), min(1, len(keys) - 1), len(keys) - 1)
    left = np.maximum(right - 1, 0)
    share = np.clip((times - keys[left]) / np.maximum(keys[right] - keys[left], 1e-9), 0, 1)[:, None]
    if how == "STEP":
        share = np.floor(share)
    end = values[right]
    if turn:
        end = np.where(np.sum(values[left] * end, axis=1, keepdims=True) < 0, -end, end)
    mixed = values[left] * (1 - share) + end * share
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True) if turn else mixed
