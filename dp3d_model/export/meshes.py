"""Lifted instances as files: GLB, OBJ, PLY and npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from dp3d_data.errors import UsageError
from dp3d_data.files import write_text, write_whole
from dp3d_data.geometry.visibility import vertex_normals
from dp3d_model.export.texture import Texture


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
    if kind == "obj":
        return write_text(path, _obj(vertices, faces, colours))
    import trimesh

    points = vertices[:, [1, 2, 0]] if kind == "glb" else vertices
    opaque = np.concatenate([colours, np.full((len(colours), 1), 255, dtype=np.uint8)], axis=1)
    mesh = trimesh.Trimesh(points, faces, vertex_colors=opaque, process=False)
    content = mesh.export(file_type=kind)
    return write_whole(path, lambda stream: stream.write(content))


def export_textured(
    path: str | Path, vertices: Float[np.ndarray, "k 3"], faces: Int[np.ndarray, "f 3"], texture: Texture
) -> Path:
    """Write a .glb with a texture, smooth normals and the ground under the body; axes as `export_mesh` has them."""
    import trimesh
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    points, corners = vertices[:, [1, 2, 0]], faces.ravel()
    scene = trimesh.Scene()
    skin = PBRMaterial(
        baseColorTexture=Image.fromarray(texture.atlas), metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    places = texture.corners.reshape(-1, 2) / len(texture.atlas)
    visual = TextureVisuals(uv=np.stack([places[:, 0], 1.0 - places[:, 1]], axis=1), material=skin)
    normals = vertex_normals(points, faces)[corners]
    apart = np.arange(len(corners)).reshape(-1, 3)
    body = trimesh.Trimesh(points[corners], apart, vertex_normals=normals, visual=visual, process=False)
    scene.add_geometry(body, node_name="body", geom_name="body")
    scene.add_geometry(_ground(points), node_name="ground", geom_name="ground")
    content = scene.export(file_type="glb", include_normals=True)
    return write_whole(Path(path), lambda stream: stream.write(content))


def _ground(points: Float[np.ndarray, "k 3"]):
    """A light square under a body in glTF's axes (y up)."""
    import trimesh
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    low, high = points.min(0), points.max(0)
    x, z = (low[[0, 2]] + high[[0, 2]]) / 2
    half, y = 0.75 * float((high - low).max()), float(np.quantile(points[:, 1], 0.002))
    square = np.array(
        [[x - half, y, z - half], [x - half, y, z + half], [x + half, y, z + half], [x + half, y, z - half]]
    )
    stone = PBRMaterial(baseColorFactor=[225, 225, 222, 255], metallicFactor=0.0, roughnessFactor=1.0)
    return trimesh.Trimesh(square, [[0, 1, 2], [0, 2, 3]], visual=TextureVisuals(material=stone), process=False)


def _obj(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray) -> str:
    """OBJ with colours behind the coordinates, as most viewers read them."""
    lines = ["# template frame: x forward, y left, z up; template units"]
    for (x, y, z), (r, g, b) in zip(vertices, colours / 255.0, strict=True):
        lines.append(f"v {x:.6f} {y:.6f} {z:.6f} {r:.3f} {g:.3f} {b:.3f}")
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    return "\n".join(lines) + "\n"
