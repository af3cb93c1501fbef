"""A lifted instance as a skinned glTF: one joint for each learned part, so that animators can go on from the pose."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from dp3d_data.errors import UsageError
from dp3d_data.files import write_whole
from dp3d_model.lifting.prediction import Prediction

INFLUENCES = 4
TO_GLTF = np.eye(3)[[1, 2, 0]]  # template frame (x forward, y left, z up) to glTF's (z forward, x left, y up)
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
FLOAT, UINT, USHORT, UBYTE = 5126, 5125, 5123, 5121
COMPONENTS = {np.dtype("<f4"): FLOAT, np.dtype("<u4"): UINT, np.dtype("<u2"): USHORT, np.dtype("u1"): UBYTE}


def strongest(
    weights: Float[np.ndarray, "k m"], count: int = INFLUENCES
) -> tuple[Int[np.ndarray, "k 4"], Float[np.ndarray, "k 4"]]:
    """The strongest parts of each vertex and their weights, which sum to 1 again; with fewer parts, weights of 0."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    kept = np.take_along_axis(weights, order, axis=1)
    kept = kept / kept.sum(1, keepdims=True)
    missing = count - order.shape[1]
    return np.pad(order, ((0, 0), (0, missing))), np.pad(kept, ((0, 0), (0, missing))).astype(np.float32)


def write_rig(
    path: str | Path,
    prediction: Prediction,
    faces: Int[np.ndarray, "f 3"],
    weights: Float[np.ndarray, "k m"],
    colours: UInt8[np.ndarray, "k 3"],
) -> Path:
    """Write a .glb whose mesh is the unposed body and whose joints, at the parts' centres, stand as the parts moved.

    A vertex follows its four strongest parts, as viewers expect: against the model's own soft parts this moves it by
    what the weaker ones would have added.

    Raises:
        UsageError: the body has no parts.
    """
    parts = len(prediction.part_rotations)
    if not parts:
        raise UsageError(
            "a rig needs parts", got="a model whose body has none", hint="leave out --rig, or train with --body parts"
        )
    joints, kept = strongest(weights)
    centres = (weights.T @ prediction.rest) / weights.sum(0)[:, None].clip(1e-12)
    placed = np.einsum("mab,mb->ma", prediction.part_rotations, centres) + prediction.part_translations
    binds = np.tile(np.eye(4, dtype=np.float32), (parts, 1, 1))
    binds[:, 3, :3] = -centres @ TO_GLTF.T  # column by column, as glTF stores matrices
    turns = Rotation.from_matrix(TO_GLTF @ prediction.part_rotations.astype(np.float64) @ TO_GLTF.T).as_quat()
    opaque = np.concatenate([colours, np.full((len(colours), 1), 255)], axis=1)
    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.add(prediction.rest @ TO_GLTF.T, "<f4", "VEC3", bounds=True),
        "COLOR_0": buffer.add(opaque, "u1", "VEC4", normalized=True),
        "JOINTS_0": buffer.add(joints, "<u2", "VEC4"),
        "WEIGHTS_0": buffer.add(kept, "<f4", "VEC4"),
    }
    indices = buffer.add(faces.reshape(-1), "<u4", "SCALAR")
    inverse = buffer.add(binds.reshape(parts, 16), "<f4", "MAT4")
    bones: list[dict[str, Any]] = [
        {"name": f"part-{m}", "translation": place.tolist(), "rotation": turn.tolist()}
        for m, (place, turn) in enumerate(zip(placed @ TO_GLTF.T, turns, strict=True))
    ]
    content = {
        "asset": {"version": "2.0", "generator": "dp3d"},
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"name": "body", "mesh": 0, "skin": 0},
            {"name": "parts", "children": [2 + m for m in range(parts)]},
            *bones,
        ],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices}]}],
        "skins": [{"joints": [2 + m for m in range(parts)], "skeleton": 1, "inverseBindMatrices": inverse}],
        **buffer.content(),
    }
    return write_whole(path, lambda stream: stream.write(_glb(content, bytes(buffer.data))))


class _Buffer:
    """The binary part of a glTF file as it grows, with its views and accessors."""

    def __init__(self) -> None:
        self.data, self.views, self.accessors = bytearray(), [], []  # type: ignore[var-annotated]

    def add(self, values: np.ndarray, kind: str, shape: str, bounds: bool = False, normalized: bool = False) -> int:
        """Append an array; the number of its accessor."""
        array = np.ascontiguousarray(values, dtype=kind)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes})
        accessor = {
            "bufferView": len(self.views) - 1,
            "componentType": COMPONENTS[array.dtype],
            "count": len(array),
            "type": shape,
        }
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        if normalized:
            accessor["normalized"] = True
        self.accessors.append(accessor)
        self.data += array.tobytes()
        self.data += b"\0" * (-len(self.data) % 4)
        return len(self.accessors) - 1

    def content(self) -> dict[str, Any]:
        """Its entries in the file's JSON."""
        return {"buffers": [{"byteLength": len(self.data)}], "bufferViews": self.views, "accessors": self.accessors}


def _glb(content: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<III", MAGIC, 2, 12 + 8 + len(text) + 8 + len(binary))
    return (
        head + struct.pack("<II", len(text), JSON_CHUNK) + text + struct.pack("<II", len(binary), BINARY_CHUNK) + binary
    )
