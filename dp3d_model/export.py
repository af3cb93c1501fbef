"""Lifted instances as files: GLB, OBJ, PLY and npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from dp3d_data.errors import UsageError


def export_mesh(
    path: str | Path,
    vertices: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    colours: UInt8[np.ndarray, "k 3"],
) -> Path:
    """Write a mesh with a colour for each vertex; the format is the path's suffix.

    GLB turns the template frame (x forward, y left, z up) into glTF's (z forward, x left, y up); OBJ and PLY keep it.

    Raises:
        UsageError: another suffix.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("glb", "obj", "ply"):
        raise UsageError("unknown mesh format", got=path.suffix, expected=".glb, .obj or .ply", path=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "obj":
        path.write_text(_obj(vertices, faces, colours), encoding="utf-8")
        return path
    import trimesh

    points = vertices[:, [1, 2, 0]] if kind == "glb" else vertices
    opaque = np.concatenate([colours, np.full((len(colours), 1), 255, dtype=np.uint8)], axis=1)
    mesh = trimesh.Trimesh(points, faces, vertex_colors=opaque, process=False)
    path.write_bytes(mesh.export(file_type=kind))
    return path


def _obj(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> str:
    """OBJ with colours behind the coordinates, as most viewers read them."""
    lines = ["# template frame: x forward, y left, z up; template units"]
    for (x, y, z), (r, g, b) in zip(vertices, colours / 255.0, strict=True):
        lines.append(f"v {x:.6f} {y:.6f} {z:.6f} {r:.3f} {g:.3f} {b:.3f}")
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    return "\n".join(lines) + "\n"
