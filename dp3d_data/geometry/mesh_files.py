"""Mesh files (.obj, .ply, .glb) to templates, vertex order kept, and templates to mesh files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.files import read_text, require_no_pointer, write_text, write_whole
from dp3d_data.geometry.gltf import is_rigged, named_errors, read_glb, read_surface
from dp3d_data.geometry.rigs import TEMPLATE_FROM_GLTF, read_rigged_glb
from dp3d_data.geometry.symmetry import detect_symmetry, guessed_axes
from dp3d_data.geometry.template import Template, check_mesh, component_labels, make_template

SUFFIXES = (".obj", ".ply", ".glb")
MOST_BYTES = 1_000_000_000
NO_MESH = "this file is not a mesh"


# Vertices [K, 3] in the file's unit and axes, and triangles [F, 3].
Mesh = tuple[Float[np.ndarray, "K 3"], Int[np.ndarray, "F 3"]]


def import_mesh(
    path: str | Path,
    name: str | None = None,
    *,
    unit: str = "unknown",
    axes: str = "",
    weld: bool = False,
    clean: bool = False,
    flip: bool = False,
) -> tuple[Template, tuple[str, ...]]:
    """Read, mend where asked, check and normalise a mesh.

    Args:
        path: .obj, .ply or .glb.
        name: of the template; the file's stem by default.
        unit: "m" if the file is in metres.
        axes: the file's axes that point forward, left and up, such as "+z+x+y"; "+x+y+z" for .obj and .ply and
            "+z+x+y" (glTF's) for .glb by default; where the body is no mirror image of itself that way round, but is
            another way, the shape tells (guessed_axes).
        weld: join vertices of equal position (renumbers).
        clean: drop vertices without a face and all but the largest part (renumbers).
        flip: turn every face over.

    Returns:
        The template, and a sentence for each thing about the mesh that its user should know.

    Raises:
        InputMissing, InputCorrupt: no such file, or not a mesh.
        UsageError: unknown suffix or axes; an option that a rigged file does not take.
        TemplateError: no usable surface.
    """
    path = Path(path)
    _check_file(path)
    name = name or path.stem
    if path.suffix.lower() == ".glb" and is_rigged(read_glb(path)):
        if axes or weld or clean or flip:
            raise UsageError("a rigged file is taken as it is", got="--axes, --weld, --clean or --flip", path=path)
        template = read_rigged_glb(path, name)
        return template, tuple(check_mesh(template.vertices, template.faces))
    mesh, notes = _mended(*read_mesh(path), weld, clean, flip)
    with named_errors(path, NO_MESH):
        notes += check_mesh(*mesh)
    default = "+z+x+y" if path.suffix.lower() == ".glb" else "+x+y+z"
    template = _turned(mesh, axes or default, name, unit)
    guess = "" if axes or template.symmetry is not None else guessed_axes(mesh[0])
    if guess:
        template = _turned(mesh, guess, name, unit)
        notes.append(f"taken to lie with axes {guess}, as its mirror plane and feet tell; if that is wrong: --axes")
    return template, tuple(notes)


def _turned(mesh: Mesh, axes: str, name: str, unit: str) -> Template:
    vertices, faces = mesh
    template = make_template(name, vertices @ axes_matrix(axes).T, faces, unit=unit)
    return replace(template, symmetry=detect_symmetry(template.vertices))


def read_mesh(path: str | Path) -> Mesh:
    """The triangles of a file, vertices in the file's order (.glb: parts joined, node transforms applied, welded).

    Raises:
        InputMissing, InputCorrupt: no such file, or not a mesh.
        UsageError: unknown suffix.
    """
    path = Path(path)
    _check_file(path)
    with named_errors(path, NO_MESH, f"a {path.suffix} mesh"):
        if path.suffix.lower() == ".obj":
            return _read_obj(path)
        if path.suffix.lower() == ".glb":
            return _first_of_equal(*read_surface(read_glb(path)))
        return _read_ply(path)


def write_mesh(template: Template, path: str | Path) -> Path:
    """Write .obj, .ply or .glb, vertices in the template's order; .glb in glTF's axes, the others in the template's.

    Raises:
        UsageError: unknown suffix.
    """
    import trimesh

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError("no such mesh format", got=path.suffix, expected=" ".join(SUFFIXES))
    vertices = template.vertices.astype(np.float64)
    if path.suffix.lower() == ".glb":
        vertices = vertices @ TEMPLATE_FROM_GLTF
    if path.suffix.lower() == ".obj":
        # Nine digits: enough to read the same single-precision numbers back.
        lines = [f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in vertices.tolist()]
        lines += [f"f {a} {b} {c}\n" for a, b, c in (template.faces + 1).tolist()]
        return write_text(path, "".join(lines))
    mesh = trimesh.Trimesh(vertices, template.faces, process=False)
    return write_whole(path, lambda stream: mesh.export(stream, file_type=path.suffix.lower()[1:]))


def axes_matrix(axes: str) -> Float[np.ndarray, "3 3"]:
    """template_from_file for axes such as "+z+x+y" (forward, left, up).

    Raises:
        UsageError: not three different signed axes that make a right-handed frame.
    """
    expected = 'three signed axes that point forward, left and up, right-handed, such as "+x+y+z" or "+z+x+y"'
    text = axes.lower().replace(",", "").replace(" ", "")
    matrix = np.zeros((3, 3))
    if len(text) != 6 or any(sign not in "+-" for sign in text[::2]) or sorted(text[1::2]) != ["x", "y", "z"]:
        raise UsageError("these axes name no frame", got=repr(axes), expected=expected)
    for row in range(3):
        matrix[row, "xyz".index(text[2 * row + 1])] = 1 if text[2 * row] == "+" else -1
    if np.linalg.det(matrix) < 0:
        raise UsageError("these axes mirror the mesh", got=repr(axes), expected=expected)
    return matrix


def _check_file(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError("no such mesh format", got=path.suffix or "no suffix", expected=" ".join(SUFFIXES), path=path)
    require_no_pointer(path, "mesh file")
    size = path.stat().st_size
    if size == 0:
        raise InputCorrupt("the file is empty", got="0 bytes", expected=f"a {path.suffix} mesh", path=path)
    if size > MOST_BYTES:
        got, expected = f"{size} bytes", f"at most {MOST_BYTES}"
        hint = "decimate it to a few thousand vertices in a mesh editor"
        raise InputCorrupt("too large for a template", got=got, expected=expected, hint=hint, path=path)


def _mended(vertices: np.ndarray, faces: np.ndarray, weld: bool, clean: bool, flip: bool) -> tuple[Mesh, list[str]]:
    notes, before = [], len(vertices)
    inside = len(faces) > 0 and faces.min() >= 0 and faces.max() < len(vertices)
    if weld and inside:
        vertices, inverse = np.unique(vertices, axis=0, return_inverse=True)
        faces = inverse.ravel()[faces]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    if not whole.all():
        notes.append(f"{int((~whole).sum())} faces name a vertex twice and were dropped")
        faces = faces[whole]
    if clean and inside and len(faces):
        labels = component_labels(len(vertices), faces)[faces[:, 0]]
        kept = faces[labels == np.bincount(labels).argmax()]
        ids, inverse = np.unique(kept, return_inverse=True)
        vertices, faces = vertices[ids], inverse.reshape(-1, 3)
    if len(vertices) != before:
        notes.append(f"renumbered: {len(vertices)} of {before} vertices are left")
    return (vertices, faces[:, ::-1] if flip else faces), notes


def _read_obj(path: Path) -> Mesh:
    """Only `v` and `f` lines: texture seams must not split or reorder vertices. Polygons become fans."""
    vertices: list[tuple[float, float, float]] = []
    faces: list[tuple[int, int, int]] = []
    for number, line in _whole_lines(read_text(path, errors="replace").split("\n")):
        words = line.split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                x, y, z = (float(word) for word in words[1:4])
                vertices.append((x, y, z))
            else:
                faces += _fan(words[1:], len(vertices))
        except ValueError as error:
            raise ValueError(f"line {number}: {line.strip()[:60]!r}") from error
    if not vertices:
        raise ValueError("no line starts with 'v'")
    return np.array(vertices, dtype=np.float64).reshape(-1, 3), np.array(faces, dtype=np.int64).reshape(-1, 3)


def _whole_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Lines without comments, joined where they end with a backslash; each with its last number."""
    held = ""
    for number, line in enumerate(lines, start=1):
        line = held + line.partition("#")[0].rstrip()
        held = line[:-1] + " " if line.endswith("\\") else ""
        if not held:
            yield number, line


def _fan(words: list[str], known: int) -> list[tuple[int, int, int]]:
    """The triangles of a polygon; indices count from 1, or backwards from the last vertex."""
    corners = [int(word.split("/")[0]) for word in words]
    if 0 in corners:
        raise ValueError("corners count from 1")
    corners = [corner - 1 if corner > 0 else known + corner for corner in corners]
    return [(corners[0], b, c) for b, c in zip(corners[1:-1], corners[2:], strict=True)]


def _read_ply(path: Path) -> Mesh:
    """As many vertices and faces as the header says; no other file that it names is opened."""
    import trimesh

    head, end, rest = path.read_bytes().partition(b"end_header")
    head = re.sub(rb"(?m)^comment\b.*\n", b"", head)  # which may name a picture
    scene = trimesh.load_scene(BytesIO(head + end + rest), "ply", process=False)
    parts = [part for part in scene.dump() if hasattr(part, "vertices")]
    if not parts:
        raise ValueError("no triangles in it")
    none = np.zeros((0, 3), dtype=np.int64)
    vertices = np.asarray(parts[0].vertices, dtype=np.float64)
    faces = np.asarray(getattr(parts[0], "faces", none), dtype=np.int64)
    told = dict(re.findall(rb"element\s+(vertex|face)\s+(\d+)", head))
    points, triangles = (int(told.get(name, 0)) for name in (b"vertex", b"face"))
    if vertices.shape != (points, 3) or faces.shape[1:] != (3,) or len(faces) < triangles:
        has = f"{len(vertices)} vertices and {len(faces)} faces"
        raise ValueError(f"{has} of the {points} and {triangles} that it says")
    return vertices, faces


def _first_of_equal(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Weld equal positions, keeping the order of their first appearance: .glb splits vertices at every crease."""
    single = vertices.astype(np.float32)
    _, first, inverse = np.unique(single, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return vertices[np.sort(first)], rank[inverse.ravel()][faces]
