"""Lifted instances as meshes, rigs and one Parquet table, and the photograph as their texture (ours)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dp3d_data.errors import UsageError
from dp3d_data.files import growing, write_text, write_whole
from dp3d_data.geometry.visibility import vertex_normals, visible_vertices
from dp3d_model.evaluation.quality import FIGURES
from dp3d_model.lifting.prediction import Prediction

# Side of the square that two triangles share in the atlas, and the margin around each triangle, pixels.
CELL, MARGIN = 16, 1.5
# Least cosine between a seen vertex's normal and the direction to the viewer: at the outline the background shines in.
FACING = 0.2
NEIGHBOURS = 6


@dataclass(frozen=True)
class Texture:
    """Colours of a mesh of F triangles.

    Attributes:
        atlas: [S, S, 3] RGB.
        corners: [F, 3, 2] x, y of the triangles' corners in it, pixels.
        colours: [K, 3] RGB of the vertices.
    """

    atlas: UInt8[np.ndarray, "s s 3"]
    corners: Float[np.ndarray, "f 3 2"]
    colours: UInt8[np.ndarray, "k 3"]

    def sample(self, face: Int[np.ndarray, "p"], weights: Float[np.ndarray, "p 3"]) -> UInt8[np.ndarray, "p 3"]:
        """The colours at barycentric places of triangles."""
        x, y = np.einsum("pc,pcd->dp", weights, self.corners[face])
        limit = len(self.atlas) - 1
        return self.atlas[np.clip(y.astype(int), 0, limit), np.clip(x.astype(int), 0, limit)]


def texture_of(
    picture: UInt8[np.ndarray, "h w 3"],
    projected: Float[np.ndarray, "k 3"],
    rest: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    symmetry: Int[np.ndarray, "k"] | None = None,
    mask: Bool[np.ndarray, "h w"] | None = None,
) -> Texture:
    """The texture of a body as a photograph shows it.

    Args:
        picture: RGB.
        projected: x, y in image pixels, z away from the viewer in the same unit.
        rest: the body at rest; what neither side shows takes the colour of what is near in it.
        symmetry: the partner of each vertex on the other side; None where unknown.
        mask: the object's pixels; nothing is taken from outside of them.
    """
    shown = seen_vertices(projected, faces, picture.shape[:2], mask)
    source = np.arange(len(rest))
    if symmetry is not None:
        source = np.where(shown, source, symmetry)
    known = shown[source]
    colours = filled(pixels_at(picture, projected[source, :2]), known, rest)
    places, weights, side = atlas_layout(len(faces))
    owner, x, y = places
    corners = faces[owner]
    direct, other = shown[corners].all(1), shown[source[corners]].all(1)
    texels = np.einsum("pc,pcd->pd", weights, colours[corners].astype(np.float64))
    for chosen, ids in ((direct, corners), (other & ~direct, source[corners])):
        at = np.einsum("pc,pcd->pd", weights[chosen].clip(0.0, 1.0), projected[ids[chosen], :2])
        texels[chosen] = pixels_at(picture, at)
    atlas = np.zeros((side, side, 3), dtype=np.uint8)
    atlas[y, x] = texels.clip(0, 255).astype(np.uint8)
    return Texture(atlas, atlas_corners(len(faces)), colours.astype(np.uint8))


def seen_vertices(
    projected: Float[np.ndarray, "k 3"],
    faces: Int[np.ndarray, "f 3"],
    size: tuple[int, int],
    mask: Bool[np.ndarray, "h w"] | None,
) -> Bool[np.ndarray, "k"]:
    """The vertices that a photograph of (height, width) shows: not hidden, not on the outline, in image and mask."""
    x, y = (np.floor(projected[:, axis]).astype(int) for axis in (0, 1))
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    if mask is not None:
        inside &= mask[np.clip(y, 0, size[0] - 1), np.clip(x, 0, size[1] - 1)]
    facing = np.abs(vertex_normals(projected, faces)[:, 2]) > FACING
    return inside & facing & visible_vertices(projected, faces)


def pixels_at(picture: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "p 2"]) -> Float[np.ndarray, "p 3"]:
    """The colours at points, image pixels, between pixels linearly; at the border beyond it."""
    at = points[:, ::-1].T - 0.5
    return np.stack(
        [map_coordinates(picture[..., c].astype(np.float32), at, order=1, mode="nearest") for c in range(3)], axis=1
    )


def filled(
    colours: Float[np.ndarray, "k 3"], known: Bool[np.ndarray, "k"], rest: Float[np.ndarray, "k 3"]
) -> Float[np.ndarray, "k 3"]:
    """Colours whose unknown ones are means of the nearest known ones; grey where none is known."""
    if not known.any():
        return np.full_like(colours, 160.0)
    distance, near = cKDTree(rest[known]).query(rest[~known], k=min(NEIGHBOURS, int(known.sum())))
    distance, near = distance.reshape((~known).sum(), -1), near.reshape((~known).sum(), -1)
    share = 1.0 / (distance + 1e-3) ** 2
    found = colours.copy()
    found[~known] = np.einsum("pn,pnc->pc", share / share.sum(1, keepdims=True), colours[known][near])
    return found


def atlas_layout(count: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], Float[np.ndarray, "p 3"], int]:
    """The texels of an atlas: triangle, x, y; barycentric weights (beyond 0..1 in the margins); and the side."""
    columns = int(np.ceil(np.sqrt((count + 1) // 2)))
    rows, cells = np.mgrid[0:CELL, 0:CELL].reshape(2, -1), np.arange((count + 1) // 2)
    lower = rows.sum(0) < CELL
    owner = 2 * cells[:, None] + np.where(lower, 0, 1)
    x = (cells % columns)[:, None] * CELL + rows[1]
    y = (cells // columns)[:, None] * CELL + rows[0]
    inner = CELL - 2 * MARGIN - 2
    along = np.stack([(rows[1] + 0.5 - MARGIN) / inner, (rows[0] + 0.5 - MARGIN) / inner], axis=1)
    back = np.stack([(CELL - MARGIN - rows[1] - 0.5) / inner, (CELL - MARGIN - rows[0] - 0.5) / inner], axis=1)
    two = np.where(lower[:, None], along, back)
    weights = np.column_stack([1.0 - two.sum(1), two])
    chosen = owner.ravel() < count
    spread = np.tile(weights, (len(cells), 1))[chosen]
    return (owner.ravel()[chosen], x.ravel()[chosen], y.ravel()[chosen]), spread, columns * CELL


def atlas_corners(count: int) -> Float[np.ndarray, "f 3 2"]:
    """x, y of the corners of each triangle of `atlas_layout`, pixels."""
    columns, face = int(np.ceil(np.sqrt((count + 1) // 2))), np.arange(count)
    cell, inner = face // 2, CELL - 2 * MARGIN - 2
    start = np.stack([cell % columns, cell // columns], axis=1)[:, None] * float(CELL)
    corner = np.array([[0.0, 0.0], [inner, 0.0], [0.0, inner]])
    return start + np.where((face % 2 == 0)[:, None, None], MARGIN + corner, CELL - MARGIN - corner)


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
    if kind == "obj":  # colours behind the coordinates, as most viewers read them
        lines = ["# template frame: x forward, y left, z up; template units"]
        for (x, y, z), (r, g, b) in zip(vertices, colours / 255.0, strict=True):
            lines.append(f"v {x:.6f} {y:.6f} {z:.6f} {r:.3f} {g:.3f} {b:.3f}")
        lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
        return write_text(path, "\n".join(lines) + "\n")
    import trimesh

    points = vertices[:, [1, 2, 0]] if kind == "glb" else vertices
    opaque = np.concatenate([colours, np.full((len(colours), 1), 255, dtype=np.uint8)], axis=1)
    mesh = trimesh.Trimesh(points, faces, vertex_colors=opaque, process=False)
    content = cast(bytes, mesh.export(file_type=kind))
    return write_whole(path, lambda stream: stream.write(content))


def export_textured(
    path: str | Path, vertices: Float[np.ndarray, "k 3"], faces: Int[np.ndarray, "f 3"], texture: Texture
) -> Path:
    """Write a .glb with a texture, smooth normals and the ground under the body; axes as `export_mesh` has them."""
    import trimesh
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    points, corners = vertices[:, [1, 2, 0]], faces.ravel()
    skin = PBRMaterial(
        baseColorTexture=Image.fromarray(texture.atlas), metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
    )
    places = texture.corners.reshape(-1, 2) / len(texture.atlas)
    visual = TextureVisuals(uv=np.stack([places[:, 0], 1.0 - places[:, 1]], axis=1), material=skin)
    normals = vertex_normals(points, faces)[corners]
    apart = np.arange(len(corners)).reshape(-1, 3)
    body = trimesh.Trimesh(points[corners], apart, vertex_normals=normals, visual=visual, process=False)
    low, high = points.min(0), points.max(0)
    x, z = (low[[0, 2]] + high[[0, 2]]) / 2
    half, y = 0.75 * float((high - low).max()), float(np.quantile(points[:, 1], 0.002))
    square = np.array(
        [[x - half, y, z - half], [x - half, y, z + half], [x + half, y, z + half], [x + half, y, z - half]]
    )
    stone = PBRMaterial(baseColorFactor=[225, 225, 222, 255], metallicFactor=0.0, roughnessFactor=1.0)
    ground = trimesh.Trimesh(square, [[0, 1, 2], [0, 2, 3]], visual=TextureVisuals(material=stone), process=False)
    scene = trimesh.Scene()
    scene.add_geometry(body, node_name="body", geom_name="body")
    scene.add_geometry(ground, node_name="ground", geom_name="ground")
    content = scene.export(file_type="glb", include_normals=True)
    return write_whole(Path(path), lambda stream: stream.write(content))


INFLUENCES = 4
TO_GLTF = np.eye(3)[[1, 2, 0]]  # template frame (x forward, y left, z up) to glTF's (z forward, x left, y up)
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
COMPONENTS = {"<f4": 5126, "<u4": 5125, "<u2": 5123, "u1": 5121}


def strongest(weights: Float[np.ndarray, "k m"]) -> tuple[Int[np.ndarray, "k 4"], Float[np.ndarray, "k 4"]]:
    """The strongest parts of each vertex and their weights, which sum to 1 again; with fewer parts, weights of 0."""
    order = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    kept = np.take_along_axis(weights, order, axis=1)
    kept = kept / kept.sum(1, keepdims=True)
    missing = INFLUENCES - order.shape[1]
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
        got, hint = "a model whose body has none", "leave out --rig, or train with --body parts"
        raise UsageError("a rig needs parts", got=got, hint=hint)
    joints, kept = strongest(weights)
    centres = (weights.T @ prediction.rest) / weights.sum(0)[:, None].clip(1e-12)
    placed = np.einsum("mab,mb->ma", prediction.part_rotations, centres) + prediction.part_translations
    binds = np.tile(np.eye(4, dtype=np.float32), (parts, 1, 1))
    binds[:, 3, :3] = -centres @ TO_GLTF.T  # column by column, as glTF stores matrices
    turns = Rotation.from_matrix(TO_GLTF @ prediction.part_rotations.astype(np.float64) @ TO_GLTF.T).as_quat()
    opaque = np.concatenate([colours, np.full((len(colours), 1), 255)], axis=1)
    places = np.ascontiguousarray(prediction.rest @ TO_GLTF.T, dtype="<f4")
    arrays = [
        _accessor(places, "<f4", "VEC3", min=places.min(0).tolist(), max=places.max(0).tolist()),
        _accessor(opaque, "u1", "VEC4", normalized=True),
        _accessor(joints, "<u2", "VEC4"),
        _accessor(kept, "<f4", "VEC4"),
        _accessor(faces.reshape(-1), "<u4", "SCALAR"),
        _accessor(binds.reshape(parts, 16), "<f4", "MAT4"),
    ]
    attributes = {"POSITION": 0, "COLOR_0": 1, "JOINTS_0": 2, "WEIGHTS_0": 3}  # numbers of these arrays
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
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 4}]}],
        "skins": [{"joints": [2 + m for m in range(parts)], "skeleton": 1, "inverseBindMatrices": 5}],
    }
    return write_whole(path, lambda stream: stream.write(_glb(content, arrays)))


def _accessor(values: np.ndarray, kind: str, shape: str, **more: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """An array as a glTF file stores it, and its entry in the JSON."""
    array = np.ascontiguousarray(values, dtype=kind)
    return array, {"componentType": COMPONENTS[kind], "count": len(array), "type": shape, **more}


def _glb(content: dict[str, Any], arrays: list[tuple[np.ndarray, dict[str, Any]]]) -> bytes:
    """The bytes of a .glb of these arrays, each of a multiple of four bytes, one after the other in its buffer."""
    binary, views, accessors = bytearray(), [], []
    for number, (array, accessor) in enumerate(arrays):
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
        accessors.append({"bufferView": number, **accessor})
        binary += array.tobytes()
    content = {**content, "buffers": [{"byteLength": len(binary)}], "bufferViews": views, "accessors": accessors}
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<III", MAGIC, 2, 12 + 8 + len(text) + 8 + len(binary))
    return (
        head + struct.pack("<II", len(text), JSON_CHUNK) + text + struct.pack("<II", len(binary), BINARY_CHUNK) + binary
    )


NUMBERS = ("scale", *FIGURES)
COLUMNS = tuple(field.name for field in fields(Prediction) if field.name not in ("rest", *NUMBERS))
SCHEMA = pa.schema(
    [("instance_id", pa.string()), ("image_path", pa.string())]
    + [(name, pa.float32()) for name in NUMBERS]
    + [(name, pa.list_(pa.float32())) for name in COLUMNS]
)


@contextmanager
def prediction_table(path: str | Path) -> Iterator[pq.ParquetWriter]:
    """A growing table of `prediction_rows`; the file appears with the block's end or not at all."""
    options = {"compression": "zstd", "compression_level": 1, "use_dictionary": ["image_path"]}
    with growing(path) as stream, pq.ParquetWriter(stream, SCHEMA, **options) as writer:
        yield writer


def prediction_rows(ids: tuple[str, ...], image_paths: tuple[str, ...], many: Prediction) -> pa.Table:
    """A row for each instance. Arrays are flat lists in C order, null where unknown."""
    arrays, count = many.arrays(), len(ids)
    paths = pa.array([path or None for path in image_paths], pa.string())
    columns: dict[str, pa.Array] = {"instance_id": pa.array(ids), "image_path": paths}
    columns |= {name: pa.array(arrays[name], pa.float32(), from_pandas=True) for name in NUMBERS}
    for name in COLUMNS:
        flat = np.ascontiguousarray(arrays[name], dtype=np.float32).reshape(count, -1)
        offsets = np.arange(count + 1, dtype=np.int32) * flat.shape[1]
        unknown = pa.array(np.isnan(flat).any(axis=1))
        columns[name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.ravel()), mask=unknown)
    return pa.table(columns, SCHEMA)
