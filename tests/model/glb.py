"""Reads a skinned .glb as a viewer does, from the specification: what the file says, and where its skin stands."""

import json
import struct

import numpy as np
from scipy.spatial.transform import Rotation

KINDS = {5126: "<f4", 5125: "<u4", 5123: "<u2", 5121: "u1"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read_glb(path):
    """The JSON of a .glb and a function from the number of an accessor to its array."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<III", data)
    assert (magic, version, length) == (0x46546C67, 2, len(data))
    size, kind = struct.unpack_from("<II", data, 12)
    assert kind == 0x4E4F534A and size % 4 == 0
    content = json.loads(data[20 : 20 + size])
    more, kind = struct.unpack_from("<II", data, 20 + size)
    assert kind == 0x004E4942 and more % 4 == 0
    binary = data[28 + size :]
    assert content["buffers"][0]["byteLength"] == len(binary) == more

    def array(number):
        accessor = content["accessors"][number]
        view, width = content["bufferViews"][accessor["bufferView"]], WIDTHS[accessor["type"]]
        values = np.frombuffer(binary, KINDS[accessor["componentType"]], accessor["count"] * width, view["byteOffset"])
        assert view["byteOffset"] % 4 == 0 and values.nbytes == view["byteLength"]
        return values.reshape(-1, width)

    return content, array


def skinned(content, array):
    """[K, 3] the vertices as the skin places them, a loop over vertices and influences; glTF's frame."""
    primitive = content["meshes"][0]["primitives"][0]["attributes"]
    skin = content["skins"][0]
    binds = array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    moves = []
    for joint, bind in zip(skin["joints"], binds, strict=True):
        node, place = content["nodes"][joint], np.eye(4)
        place[:3, :3], place[:3, 3] = Rotation.from_quat(node["rotation"]).as_matrix(), node["translation"]
        moves.append(place @ bind)
    placed = []
    for point, joints, weights in zip(
        *(array(primitive[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")), strict=True
    ):
        matrix = sum(weight * moves[joint] for joint, weight in zip(joints, weights, strict=True))
        placed.append((matrix @ np.append(point, 1.0))[:3])
    return np.array(placed)
