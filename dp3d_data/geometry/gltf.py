"""Binary glTF files: the document, its arrays, its nodes and the surface that they show."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from dp3d_data.errors import Dp3dError, InputCorrupt
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import DAMAGE, parse_json

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
COMPRESSIONS = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}
# How extensions begin that leave vertices and triangles as they are.
HARMLESS = (
    "KHR_materials_",
    "KHR_texture_",
    "EXT_texture_",
    "MSFT_texture_",
    "KHR_lights_",
    "KHR_mesh_quantization",
    "KHR_xmp",
)
LISTS = ("nodes", "scenes", "meshes", "accessors", "bufferViews", "buffers", "skins", "animations")
# No body has more nodes, nested deeper; and vertices that many nodes show again are at most one a byte of the file, and
# these more.
MOST_NODES, DEEPEST, FREE_VERTICES = 10_000, 256, 1_000_000
_DAMAGE: tuple[type[Exception], ...] = (*DAMAGE, NameError)  # which trimesh raises for some damaged files
UNFIT = "the glTF document does not fit its data"
WHOLE = "open it in Blender and export it again as glTF Binary (.glb), with everything inside and without compression"


@contextmanager
def named_errors(path: Path, what: str, expected: object = None) -> Iterator[None]:
    """Errors of the block name the file; what damaged values raise comes out as one InputCorrupt, which says `what`."""
    try:
        yield
    except Dp3dError as error:
        error.path = error.path or path
        raise
    except _DAMAGE as error:
        got = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputCorrupt(what, got=got, expected=expected, path=path) from error


@dataclass(frozen=True)
class Glb:
    """The JSON document of a .glb file and its binary chunk."""

    document: dict
    binary: bytes

    def part(self, kind: str) -> list[dict]:
        return self.document.get(kind, [])

    @cached_property
    def compression(self) -> str:
        """The name of a compression that the file uses, empty where there is none."""
        used = [name for key in ("extensionsUsed", "extensionsRequired") for name in self.document.get(key, [])]
        return next((COMPRESSIONS[name] for name in used if name in COMPRESSIONS), "")

    def array(self, accessor: int) -> np.ndarray:
        """The values of an accessor, [count] or [count, width]; normalised integers become fractions.

        Raises:
            InputCorrupt: they are compressed, or lie in another file.
            ValueError: they lie outside the file.
        """
        entry = self.part("accessors")[_number(accessor)]
        kind, width = np.dtype(COMPONENTS[entry["componentType"]]), WIDTHS[entry["type"]]
        view = self.part("bufferViews")[_number(entry["bufferView"])] if "bufferView" in entry else None
        if view is None or view.get("buffer", 0) != 0 or "uri" in self.part("buffers")[0] or "sparse" in entry:
            raise self._elsewhere(view)
        item, count, start = kind.itemsize * width, _number(entry["count"]), _number(entry.get("byteOffset", 0))
        offset, stride = _number(view.get("byteOffset", 0)), _number(view.get("byteStride", item))
        end = min(offset + _number(view["byteLength"]), len(self.binary))
        if stride < item or offset + start + (count - 1) * stride + item > end:
            place = f"accessor {accessor}: {count} values of {item} bytes, {stride} apart"
            raise ValueError(f"{place}, do not lie in the file")
        values = np.ndarray((count, width), kind, self.binary, offset + start, (stride, kind.itemsize)).copy()
        if entry.get("normalized"):
            values = np.maximum(values.astype(np.float64) / np.iinfo(kind).max, -1)
        return values[:, 0] if width == 1 else values

    def _elsewhere(self, view: dict | None) -> InputCorrupt:
        """The error for arrays that are not plainly in the file."""
        uri = (self.part("buffers") or [{}])[0].get("uri")
        if self.compression:
            return self.compressed()
        if view is None or uri is None:
            return InputCorrupt("arrays that are sparse, or nowhere in the file", hint=WHOLE)
        return InputCorrupt("the arrays lie in another file", got=str(uri)[:80], expected="one .glb", hint=WHOLE)

    def compressed(self) -> InputCorrupt:
        """The error for a compressed file."""
        what = f"the mesh is compressed by {self.compression}"
        return InputCorrupt(what, expected="a plain .glb", hint=WHOLE)


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} where a number from 0 on should be")
    return value


def read_glb(path: str | Path) -> Glb:
    """Open a .glb file.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not binary glTF 2, compressed, with nodes that form no trees or deeper ones than any body's.
    """
    path = Path(path)
    require_no_pointer(path, "mesh file")
    data = path.read_bytes()
    try:
        magic, version, _ = struct.unpack_from("<4sII", data)
        length, kind = struct.unpack_from("<I4s", data, 12)
        if magic != b"glTF" or version != 2 or kind != b"JSON":
            raise ValueError(f"starts with {data[:4]!r}, version {version}")
        document = parse_json(data[20 : 20 + length])
        if not isinstance(document, dict):
            raise ValueError(f"a {type(document).__name__} as its document")
        rest = data[20 + length :]  # the chunk that follows, where one does
        size, kind = struct.unpack_from("<I4s", rest) if rest else (0, b"BIN\0")
        if kind != b"BIN\0":
            raise ValueError(f"a chunk {kind!r} where the arrays should be")
        glb = Glb(document, rest[8 : 8 + size])
    except DAMAGE as error:
        raise InputCorrupt("not a binary glTF 2 file", got=error, expected="a .glb file", path=path) from error
    with named_errors(path, UNFIT):
        _check_document(glb)
    return glb


def _check_document(glb: Glb) -> None:
    """Refuse, before any array is read, what cannot be a body."""
    if any(name in COMPRESSIONS for name in glb.document.get("extensionsRequired", [])):
        raise glb.compressed()
    if strange := [name for name in glb.document.get("extensionsRequired", []) if not str(name).startswith(HARMLESS)]:
        what = "the mesh needs an extension that is not known here"
        raise InputCorrupt(what, got=str(strange[0])[:80], hint=WHOLE)
    if len(glb.part("nodes")) > MOST_NODES:
        raise ValueError(f"{len(glb.part('nodes'))} nodes, a body has at most {MOST_NODES}")
    for name in LISTS:
        if not all(isinstance(entry, dict) for entry in glb.part(name)):
            raise ValueError(f"{name} that are no objects")
    downwards(glb)


def is_rigged(glb: Glb) -> bool:
    """Whether a node has a mesh with a skin."""
    return any("skin" in node and "mesh" in node for node in glb.part("nodes"))


def parents_of(glb: Glb) -> list[int]:
    """The parent of each node, -1 for the nodes of the scene."""
    parents = [-1] * len(glb.part("nodes"))
    for index, node in enumerate(glb.part("nodes")):
        for child in node.get("children", []):
            if parents[_number(child)] >= 0:
                raise ValueError(f"node {child} hangs on two others")
            parents[child] = index
    return parents


def downwards(glb: Glb) -> list[int]:
    """All nodes, parents before their children.

    Raises:
        ValueError: nested too deep, or in a circle.
    """
    nodes, parents = glb.part("nodes"), parents_of(glb)
    order, depth = [node for node, parent in enumerate(parents) if parent < 0], dict.fromkeys(range(len(nodes)), 0)
    for node in order:
        for child in nodes[node].get("children", []):
            depth[child] = depth[node] + 1
            order.append(child)
    if len(order) < len(nodes):
        raise ValueError("the nodes form a circle")
    if max(depth.values(), default=0) > DEEPEST:
        raise ValueError(f"nodes nested {max(depth.values())} deep, a body has at most {DEEPEST}")
    return order


def local_parts(glb: Glb) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translations [N, 3], quaternions [N, 4] (x y z w) and scales [N, 3] of the nodes at rest."""
    nodes = glb.part("nodes")
    moves, turns, scales = np.zeros((len(nodes), 3)), np.tile([0.0, 0, 0, 1], (len(nodes), 1)), np.ones((len(nodes), 3))
    for index, node in enumerate(nodes):
        if "matrix" in node:
            matrix = np.array(node["matrix"], dtype=float).reshape(4, 4).T
            moves[index], scales[index] = matrix[:3, 3], np.linalg.norm(matrix[:3, :3], axis=0)
            scales[index, 0] *= -1 if np.linalg.det(matrix[:3, :3]) < 0 else 1  # a mirror is no rotation
            turns[index] = Rotation.from_matrix(matrix[:3, :3] / scales[index]).as_quat()
        for part, name in ((moves, "translation"), (turns, "rotation"), (scales, "scale")):
            if name in node:
                part[index] = np.array(node[name], dtype=float).reshape(part.shape[1])
    return moves, turns, scales


def world_matrices(glb: Glb, moves: np.ndarray, turns: np.ndarray, scales: np.ndarray) -> Float[np.ndarray, "*T N 4 4"]:
    """Scene coordinates of every node from local parts [N, .], or [T, N, .] at several times."""
    return _in_scene(glb, _composed(moves, turns, scales))


def _composed(moves: np.ndarray, turns: np.ndarray, scales: np.ndarray) -> Float[np.ndarray, "*T N 4 4"]:
    local = np.zeros((*moves.shape[:-1], 4, 4))
    local[..., :3, :3] = quaternion_matrices(turns) * scales[..., None, :]
    local[..., :3, 3], local[..., 3, 3] = moves, 1
    return local


def _in_scene(glb: Glb, local: Float[np.ndarray, "*T N 4 4"]) -> Float[np.ndarray, "*T N 4 4"]:
    parents, world = parents_of(glb), local.copy()
    for node in downwards(glb):
        if parents[node] >= 0:
            world[..., node, :, :] = world[..., parents[node], :, :] @ local[..., node, :, :]
    return world


def read_surface(glb: Glb) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices and triangles of everything that the file's scene shows, node transforms applied, part after part.

    Raises:
        InputCorrupt: compressed, or with arrays in another file.
        ValueError: the document does not fit its data, or shows far more vertices than the file holds.
    """
    local = _composed(*local_parts(glb))
    for index, entry in enumerate(glb.part("nodes")):
        if "matrix" in entry:
            local[index] = np.array(entry["matrix"], dtype=float).reshape(4, 4).T
    places = _in_scene(glb, local)
    vertices, faces, at = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)], 0
    shown = list(_shown(glb))
    _require_few(glb, shown)
    for node in shown:
        for primitive in glb.part("meshes")[_number(glb.part("nodes")[node]["mesh"])]["primitives"]:
            points = positions(glb, glb.part("nodes")[node], primitive)
            corners = triangles(glb, primitive, len(points))
            mirrored = np.linalg.det(places[node][:3, :3]) < 0
            vertices.append(points @ places[node][:3, :3].T + places[node][:3, 3])
            faces.append((corners[:, ::-1] if mirrored else corners) + at)
            at += len(points)
    return np.concatenate(vertices), np.concatenate(faces)


def _require_few(glb: Glb, shown: list[int]) -> None:
    """Refuse nodes that show far more vertices than the file holds, or more parts than a body has."""
    nodes, accessors = glb.part("nodes"), glb.part("accessors")
    parts = [mesh["primitives"] for mesh in glb.part("meshes")]
    sizes = [sum(accessors[part["attributes"]["POSITION"]]["count"] for part in some) for some in parts]
    meshes = [_number(nodes[node]["mesh"]) for node in shown]
    total, most = sum(sizes[mesh] for mesh in meshes), len(glb.binary) + FREE_VERTICES
    if total > most or sum(len(parts[mesh]) for mesh in meshes) > MOST_NODES:
        raise ValueError(f"nodes that show {total} vertices, far more than the file holds")


def _shown(glb: Glb) -> Iterator[int]:
    """Nodes with a mesh below the roots of the file's scene, the last root and the last child first."""
    nodes, scenes = glb.part("nodes"), glb.part("scenes")
    roots = scenes[_number(glb.document.get("scene", 0))].get("nodes", []) if scenes else range(len(nodes))
    waiting: list[int] = [root for root in dict.fromkeys(roots) if scenes or parents_of(glb)[root] < 0]
    while waiting:
        node = waiting.pop()
        waiting += nodes[_number(node)].get("children", [])
        if "mesh" in nodes[node]:
            yield node


def positions(glb: Glb, node: dict, primitive: dict) -> Float[np.ndarray, "V 3"]:
    """The vertices of a primitive, moved by its morph targets as far as the node, or its mesh, says at rest."""
    weights = node.get("weights", glb.part("meshes")[_number(node["mesh"])].get("weights", []))
    points = _places(glb, primitive["attributes"])
    for weight, target in zip(weights, primitive.get("targets", []), strict=False):
        if weight and "POSITION" in target:
            points += float(weight) * _places(glb, target)
    return points


def _places(glb: Glb, attributes: dict) -> Float[np.ndarray, "V 3"]:
    values = glb.array(attributes["POSITION"])
    if values.ndim != 2 or values.shape[1] != 3 or values.dtype == np.uint32:
        raise ValueError(f"positions that are {values.dtype} {values.shape}, not three coordinates of each vertex")
    return values.astype(np.float64)


def triangles(glb: Glb, primitive: dict, count: int) -> Int[np.ndarray, "F 3"]:
    """The triangles of a primitive, of a strip and of a fan; none of lines and points."""
    corners = glb.array(primitive["indices"]) if "indices" in primitive else np.arange(count)
    if corners.dtype.kind == "f":
        raise ValueError("triangles whose corners are fractions")
    corners = corners.astype(np.int64)
    if corners.ndim != 1 or (len(corners) and not 0 <= corners.min() <= corners.max() < count):
        raise ValueError(f"triangles of other vertices than the {count} that there are")
    mode, steps = primitive.get("mode", 4), np.arange(max(len(corners) - 2, 0))
    if mode == 4:
        return corners.reshape(-1, 3)
    if mode == 5:
        odd = steps % 2
        return np.stack([corners[steps + odd], corners[steps + 1 - odd], corners[steps + 2]], axis=1)
    if mode == 6:
        return np.stack([corners[0 * steps], corners[steps + 1], corners[steps + 2]], axis=1)
    return np.zeros((0, 3), dtype=np.int64)


def quaternion_matrices(quaternions: Float[np.ndarray, "*N 4"]) -> Float[np.ndarray, "*N 3 3"]:
    """Rotation matrices from quaternions in the order x y z w."""
    x, y, z, w = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
