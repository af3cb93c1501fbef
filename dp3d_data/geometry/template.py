"""A template: the surface whose vertices are the correspondences; and what is wrong with a mesh as one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import InputCorrupt, InputMissing, TemplateError
from dp3d_data.files import write_arrays
from dp3d_data.geometry.skeleton import Skeleton, skeleton_arrays, skeleton_from_arrays
from dp3d_data.geometry.visibility import face_normals, vertex_areas
from dp3d_data.limits import DAMAGE, read_arrays

FORMAT = 1
ARRAYS = ("name", "unit", "factor", "center", "vertices", "faces")


@dataclass(frozen=True)
class Template:
    """A triangle mesh in the template frame.

    Template units: the bounding box is centred at 0 and its largest extent is 1; a point of the source file is
    factor * point + center, in the source's unit ("m" or "unknown"). The built-in animals have x forward (nose),
    y left, z up. symmetry[k] is the vertex that mirrors vertex k (left and right exchanged), where known.
    """

    name: str
    vertices: Float[np.ndarray, "K 3"]
    faces: Int[np.ndarray, "F 3"]
    unit: str = "unknown"
    factor: float = 1.0
    center: Float[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    symmetry: Int[np.ndarray, "K"] | None = None
    skeleton: Skeleton | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "vertices", np.ascontiguousarray(self.vertices, dtype=np.float32))
        set_field(self, "faces", np.ascontiguousarray(self.faces, dtype=np.int32))
        set_field(self, "factor", float(self.factor))
        set_field(self, "center", np.asarray(self.center, dtype=np.float64))
        if self.vertices.ndim != 2 or self.faces.ndim != 2 or self.vertices.shape[1] != 3 or self.faces.shape[1] != 3:
            shapes = f"vertices {self.vertices.shape}, faces {self.faces.shape}"
            raise TemplateError("a template is a triangle mesh", got=shapes, expected="vertices [K, 3], faces [F, 3]")
        if self.skeleton is not None and len(self.skeleton.weights) != len(self.vertices):
            got = f"{len(self.skeleton.weights)} rows of weights, {len(self.vertices)} vertices"
            raise TemplateError("the skeleton belongs to another mesh", got=got)

    @property
    def num_vertices(self) -> int:
        return len(self.vertices)

    @cached_property
    def vertex_areas(self) -> Float[np.ndarray, "K"]:
        """A third of the area of the triangles around each vertex, square template units."""
        return vertex_areas(self.vertices, self.faces)

    @property
    def total_area(self) -> float:
        return float(self.vertex_areas.sum())

    @property
    def area_shares(self) -> Float[np.ndarray, "K"]:
        """Share of the surface that each vertex stands for; they sum to 1."""
        return self.vertex_areas / self.total_area

    @property
    def metres(self) -> float | None:
        """Length of one template unit in metres; None where unknown."""
        return self.factor if self.unit == "m" else None

    @cached_property
    def content_hash(self) -> str:
        """16 hex digits of the SHA-256 of vertices and faces, little-endian: the identity of the vertex ids."""
        digest = hashlib.sha256(self.vertices.astype("<f4").tobytes())
        digest.update(self.faces.astype("<i4").tobytes())
        return digest.hexdigest()[:16]

    def require_skeleton(self) -> Skeleton:
        """The skeleton.

        Raises:
            TemplateError: the template has none.
        """
        if self.skeleton is None:
            hint = "use a rigged template, such as the built-in dog, or a skinned GLB"
            raise TemplateError("this template has no skeleton", got=self.name, hint=hint)
        return self.skeleton

    def save(self, path: str | Path) -> Path:
        """Write an .npz without pickles; same template, same bytes; the file appears whole or not at all."""
        arrays: dict[str, Any] = {"format": FORMAT} | {name: getattr(self, name) for name in ARRAYS}
        if self.symmetry is not None:
            arrays["symmetry"] = np.asarray(self.symmetry, dtype=np.int32)
        if self.skeleton is not None:
            arrays |= skeleton_arrays(self.skeleton)
        return write_arrays(path, **arrays)

    @staticmethod
    def load(path: str | Path) -> Template:
        """Read what save wrote.

        Raises:
            InputMissing: no such file.
            InputCorrupt: not a template file, or a damaged one.
        """
        path = Path(path)
        if not path.is_file():
            raise InputMissing("no such template file", path=path)
        arrays = read_arrays(path, what="not a template file")
        try:
            if int(arrays["format"]) != FORMAT:
                raise ValueError(f"format {int(arrays['format'])}, this version reads {FORMAT}")
            values: dict[str, Any] = {
                name: arrays[name] if arrays[name].ndim else arrays[name].item() for name in ARRAYS
            }
            return Template(**values, symmetry=arrays.get("symmetry"), skeleton=skeleton_from_arrays(arrays))
        except DAMAGE as error:
            got = f"{type(error).__name__}: {error}".splitlines()[0]
            expected = "a file written by: dp3d-data template import MESH --name NAME"
            raise InputCorrupt("not a template file", got=got, expected=expected, path=path) from error


def make_template(
    name: str,
    vertices: Float[np.ndarray, "K 3"],
    faces: Int[np.ndarray, "F 3"],
    *,
    unit: str = "unknown",
    symmetry: Int[np.ndarray, "K"] | None = None,
    skeleton: Skeleton | None = None,
) -> Template:
    """A template from a mesh (and a skeleton whose rest frames are) in source units: centred, largest extent 1.

    Raises:
        TemplateError: no vertices, or all in one point.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    if len(vertices) == 0 or not np.ptp(vertices, axis=0).max() > 0:
        raise TemplateError("a template needs vertices that span a box", got=f"{len(vertices)} vertices, no extent")
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    center, factor = (low + high) / 2, float((high - low).max())
    if skeleton is not None:
        rest = np.array(skeleton.rest, dtype=np.float64)
        rest[:, :3, 3] = (rest[:, :3, 3] - center) / factor
        clips = {
            name: replace(clip, root_translation=(clip.root_translation / factor).astype(np.float32))
            for name, clip in skeleton.clips.items()
        }
        skeleton = replace(skeleton, rest=rest.astype(np.float32), clips=clips)
    scaled = ((vertices - center) / factor).astype(np.float32)
    return Template(name, scaled, faces, unit, factor, center, symmetry, skeleton)


MOST_VERTICES = 60_000
MANY_VERTICES = 12_000
OWN_MESH = "the published CSE meshes hold no geometry; give your own mesh: dp3d-data template import MESH --name NAME"
REPAIR = "repair the mesh in a mesh editor, then: dp3d-data template import MESH --name NAME"


def check_mesh(vertices: Float[np.ndarray, "K 3"], faces: Int[np.ndarray, "F 3"]) -> list[str]:
    """Refuse what cannot be a surface; return a sentence for each thing that makes a poor one.

    Raises:
        TemplateError: no vertices, or all in one point, as in the published CSE mesh files; coordinates that are not
            finite, faces that name vertices that do not exist, vertices without a face, no faces, or more vertices than
            pairwise distances fit in memory for.
    """
    _check_vertices(vertices)
    _check_faces(vertices, faces)
    return [*_surface_warnings(vertices, faces), *_edge_warnings(vertices, faces)]


def _check_vertices(vertices: np.ndarray) -> None:
    if len(vertices) == 0:
        raise TemplateError("the mesh has no vertices", got="0 vertices", expected="a surface", hint=OWN_MESH)
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        got = f"{int((~finite).sum())} vertices, the first is {first}: {vertices[first].tolist()}"
        raise TemplateError("some vertex coordinates are not finite numbers", got=got, hint=REPAIR)
    if not vertices.any():
        got = f"{len(vertices)} vertices at (0, 0, 0)"
        raise TemplateError("all vertices are zero", got=got, expected="a surface", hint=OWN_MESH)
    if not np.ptp(vertices, axis=0).max() > 0:
        got = f"{len(vertices)} vertices at {vertices[0].tolist()}"
        raise TemplateError("all vertices lie in one point", got=got, expected="a surface", hint=OWN_MESH)
    if len(vertices) > MOST_VERTICES:
        hint, expected = "decimate it to a few thousand vertices in a mesh editor", f"at most {MOST_VERTICES}"
        raise TemplateError("too many vertices for a template", got=len(vertices), expected=expected, hint=hint)


def _check_faces(vertices: np.ndarray, faces: np.ndarray) -> None:
    if len(faces) == 0:
        got = f"{len(vertices)} vertices, 0 faces"
        what = "the mesh has no faces; a cloud of points is no template"
        raise TemplateError(what, got=got, expected="a surface", hint=REPAIR)
    outside = (faces < 0) | (faces >= len(vertices))
    if outside.any():
        face = int(np.argmax(outside.any(axis=1)))
        got = f"{int(outside.any(axis=1).sum())} faces, the first is {face}: {faces[face].tolist()}"
        expected = f"0 to {len(vertices) - 1}"
        raise TemplateError("some faces name vertices that do not exist", got=got, expected=expected, hint=REPAIR)
    lone = np.setdiff1d(np.arange(len(vertices)), faces)
    if len(lone):
        got = f"{len(lone)} of {len(vertices)}, the first is {lone[0]}"
        hint = "drop them, which renumbers the vertices: dp3d-data template import MESH --name NAME --clean"
        raise TemplateError("some vertices belong to no face", got=got, expected="a face at every vertex", hint=hint)


def _surface_warnings(vertices: np.ndarray, faces: np.ndarray) -> Iterator[str]:
    parts = np.unique(component_labels(len(vertices), faces), return_counts=True)[1]
    if len(parts) > 1:
        sizes = ", ".join(str(size) for size in sorted(parts.tolist(), reverse=True)[:5])
        apart = f"{len(parts)} separate parts (vertices: {sizes}): nothing smooth or geodesic links them"
        yield f"{apart}; keep the largest with --clean, or join seams with --weld"
    repeated = len(vertices) - len(np.unique(vertices, axis=0))
    if repeated:
        seams = "seams cut the surface there; join them with --weld"
        yield f"{repeated} vertices repeat the position of another: {seams}"
    areas = np.linalg.norm(face_normals(vertices.astype(np.float64), faces), axis=1)
    flat = int((areas <= 1e-12 * np.ptp(vertices, axis=0).max() ** 2).sum())
    if flat:
        yield f"{flat} faces have no area: harmless in small numbers, else repair the mesh"
    if len(vertices) > MANY_VERTICES:
        size = f"{4e-9 * len(vertices) ** 2:.1f} GB"
        yield f"{len(vertices)} vertices: their pairwise distances take {size}; a few thousand do as well"


def _edge_warnings(vertices: np.ndarray, faces: np.ndarray) -> Iterator[str]:
    directed = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges, inverse, count = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    balance = np.bincount(inverse.ravel(), weights=np.where(directed[:, 0] < directed[:, 1], 1, -1))
    many, border, opposite = (int(some.sum()) for some in (count > 2, count == 1, (count == 2) & (balance != 0)))
    if many:
        yield f"{many} edges belong to more than two faces: inside and outside are not defined there"
    if border:
        yield f"{border} border edges: the surface has holes, through which its back is seen"
    if opposite:
        yield f"{opposite} edges join faces of opposite winding: some normals point inwards"
    elif (count == 2).all() and np.linalg.det(vertices[faces].astype(np.float64)).sum() < 0:  # six times the volume
        yield "the faces wind clockwise: all normals point inwards; turn them with --flip"


def component_labels(num_vertices: int, faces: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "K"]:
    """The connected component of each vertex."""
    from trimesh.graph import connected_component_labels

    return connected_component_labels(faces[:, [0, 1, 1, 2]].reshape(-1, 2), num_vertices)
