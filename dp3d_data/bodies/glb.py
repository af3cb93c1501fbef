"""Binary glTF files: the document, its arrays, and the motion of its nodes."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dp3d_data.errors import InputCorrupt, InputMissing

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
BROKEN = (KeyError, IndexError, ValueError, TypeError, AttributeError, MemoryError, OverflowError, struct.error)


@dataclass(frozen=True)
class Glb:
    """The JSON document of a .glb file and its binary chunk."""

    document: dict
    binary: bytes
    path: Path

    def part(self, kind: str) -> list[dict]:
        return self.document.get(kind, [])

    def array(self, accessor: int) -> np.ndarray:
        """The values of an accessor, [count] or [count, width]; normalised integers become fractions."""
        entry = self.document["accessors"][accessor]
        if "sparse" in entry:
            raise ValueError("sparse accessors are not read")
        kind, width = np.dtype(COMPONENTS[entry["componentType"]]), WIDTHS[entry["type"]]
        if "bufferView" not in entry:
            return np.zeros((entry["count"], width), dtype=kind)
        view = self.document["bufferViews"][entry["bufferView"]]
        if view.get("buffer", 0) != 0 or "uri" in self.document["buffers"][0]:
            raise ValueError("the arrays lie in another file; export as one .glb")
        start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        stride = view.get("byteStride", kind.itemsize * width)
        values = np.ndarray((entry["count"], width), kind, self.binary, start, (stride, kind.itemsize)).copy()
        if entry.get("normalized"):
            values = np.maximum(values.astype(np.float64) / np.iinfo(kind).max, -1)
        return values[:, 0] if width == 1 else values


def read_glb(path: str | Path) -> Glb:
    """Open a .glb file.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not binary glTF 2.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such mesh file", path=path)
    data = path.read_bytes()
    try:
        magic, version, _ = struct.unpack_from("<4sII", data)
        length, kind = struct.unpack_from("<I4s", data, 12)
        if magic != b"glTF" or version != 2 or kind != b"JSON":
            raise ValueError(f"starts with {data[:4]!r}, version {version}")
        document = json.loads(data[20 : 20 + length])
        return Glb(document, data[20 + length + 8 :], path)
    except BROKEN as error:
        raise InputCorrupt("not a binary glTF 2 file", got=error, expected="a .glb file", path=path) from error


def is_rigged(glb: Glb) -> bool:
    """Whether a node has a mesh with a skin."""
    return any("skin" in node and "mesh" in node for node in glb.part("nodes"))


def parents_of(glb: Glb) -> list[int]:
    """The parent of each node, -1 for the nodes of the scene."""
    parents = [-1] * len(glb.part("nodes"))
    for index, node in enumerate(glb.part("nodes")):
        for child in node.get("children", []):
            parents[child] = index
    return parents


def local_parts(glb: Glb) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translations [N, 3], quaternions [N, 4] (x y z w) and scales [N, 3] of the nodes at rest."""
    nodes = glb.part("nodes")
    moves, turns, scales = np.zeros((len(nodes), 3)), np.tile([0.0, 0, 0, 1], (len(nodes), 1)), np.ones((len(nodes), 3))
    for index, node in enumerate(nodes):
        if "matrix" in node:
            matrix = np.array(node["matrix"], dtype=float).reshape(4, 4).T
            moves[index], scales[index] = matrix[:3, 3], np.linalg.norm(matrix[:3, :3], axis=0)
            turns[index] = _quaternion(matrix[:3, :3] / scales[index])
        moves[index] = node.get("translation", moves[index])
        turns[index] = node.get("rotation", turns[index])
        scales[index] = node.get("scale", scales[index])
    return moves, turns, scales


def world_matrices(glb: Glb, moves: np.ndarray, turns: np.ndarray, scales: np.ndarray) -> Float[np.ndarray, "T N 4 4"]:
    """Scene coordinates of every node from local parts [T, N, .]."""
    parents = parents_of(glb)
    local = np.zeros((*moves.shape[:2], 4, 4))
    local[..., :3, :3] = quaternion_matrices(turns) * scales[..., None, :]
    local[..., :3, 3], local[..., 3, 3] = moves, 1
    world: dict[int, np.ndarray] = {}

    def place(node: int, depth: int = 0) -> np.ndarray:
        if depth > len(parents):
            raise ValueError("the nodes form a circle")
        if node not in world:
            above = parents[node]
            world[node] = local[:, node] if above < 0 else place(above, depth + 1) @ local[:, node]
        return world[node]

    return np.stack([place(node) for node in range(len(parents))], axis=1)


def clip_parts(glb: Glb, animation: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Times [T] of a clip's busiest track, and the local parts [T, N, .] of all nodes at them."""
    samplers = animation["samplers"]
    times = max((glb.array(sampler["input"]) for sampler in samplers), key=len).astype(np.float64)
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
    right = np.clip(np.searchsorted(keys, times), 1, max(len(keys) - 1, 1)) if len(keys) > 1 else np.zeros(len(times), int)
    left = np.maximum(right - 1, 0)
    share = np.clip((times - keys[left]) / np.maximum(keys[right] - keys[left], 1e-9), 0, 1)[:, None]
    if how == "STEP":
        share = np.floor(share)
    end = values[right]
    if turn:
        end = np.where(np.sum(values[left] * end, axis=1, keepdims=True) < 0, -end, end)
    mixed = values[left] * (1 - share) + end * share
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True) if turn else mixed


def quaternion_matrices(quaternions: Float[np.ndarray, "*N 4"]) -> Float[np.ndarray, "*N 3 3"]:
    """Rotation matrices from quaternions in the order x y z w."""
    x, y, z, w = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _quaternion(matrix: np.ndarray) -> np.ndarray:
    """The quaternion (x y z w) of a rotation matrix: the eigenvector of its symmetric 4 x 4 form."""
    m = matrix
    form = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    return np.linalg.eigh(form)[1][:, -1]
