"""Charts of the body: the file that says which body vertex lies where on them, and places on charts to vertices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from dp3d_data.errors import InputCorrupt, ShapeError, TemplateError
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import DAMAGE

HINT = "fetch UV_Processed.mat with the DensePose data (CC BY-NC 4.0): see docs/people.md"
EXPECTED = "a MATLAB file with All_vertices, All_Faces, All_FaceIndices, All_U_norm and All_V_norm"
# What is read, and the kinds of numbers that MATLAB may keep it in.
NAMES = ("All_vertices", "All_Faces", "All_FaceIndices", "All_U_norm", "All_V_norm")
_NUMBERS = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
MOST_BYTES, MOST_NUMBERS = 1 << 26, 1 << 22
# SMPL's vertices, and those of its mesh with every edge split, whose ids begin with SMPL's.
SMPL, SUBDIVIDED = 6890, 27554


def read_charts(path: str | Path, num_vertices: int = SMPL) -> ChartIndex:
    """Read the charts.

    Args:
        path: the MATLAB file (version 5); only numbers are read of it, and no more than charts need.
        num_vertices: of the body whose vertices it names; SMPL's.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not such a file, or a pointer in its place.
    """
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    path = Path(path)
    require_no_pointer(path, "file of charts", HINT)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        shapes = {name: shape for name, shape, kind in whosmat(path) if kind in _NUMBERS}
        missing = [name for name in NAMES if int(np.prod(shapes.get(name, (0,)))) not in range(1, MOST_NUMBERS)]
        if missing:
            raise ValueError("no " + ", ".join(missing))
        arrays = loadmat(path, variable_names=NAMES)
        bodies = arrays["All_vertices"].ravel().astype(np.int64) - 1
        faces = arrays["All_Faces"].astype(np.int64).reshape(-1, 3) - 1
        places = np.stack([arrays[name].ravel() for name in ("All_U_norm", "All_V_norm")], axis=1)
        index = ChartIndex(places, bodies, faces, arrays["All_FaceIndices"].ravel().astype(np.int64), num_vertices)
    except (MatReadError, *DAMAGE) as error:
        got = getattr(error, "what", str(error))[:120]
        raise InputCorrupt("not the charts of a body", got=got, expected=EXPECTED, hint=HINT, path=path) from error
    if bodies.max() >= num_vertices:
        got, expected = f"vertex {bodies.max()}", f"below {num_vertices}"
        raise InputCorrupt("charts of another body", got=got, expected=expected, path=path)
    return index


def require_person(num_vertices: int) -> None:
    """Refuse a template whose vertices are not those that charts name.

    Raises:
        TemplateError: neither SMPL's mesh nor its subdivision.
    """
    if num_vertices not in (SMPL, SUBDIVIDED):
        what, got = "charts name the vertices of another body", f"{num_vertices} vertices"
        expected = f"SMPL's {SMPL} vertices, or the {SUBDIVIDED} of its subdivision"
        hint = "make one of your SMPL file: dp3d-data body template FILE --name person"
        raise TemplateError(what, got=got, expected=expected, hint=hint)


# Cells of the grid over each chart, points looked at in one go, and corners of which the nearest is chosen exactly.
CELLS = 64
AT_ONCE = 1 << 16
TIES = 4


class ChartIndex:
    """The charts of a body, ready to be searched for the vertex at a place.

    A place belongs to the first triangle of its chart that contains it (edges included), or, where none does, to the
    nearest corner of the chart's triangles. Its vertex is the triangle's corner with the largest barycentric weight. Of
    equals, the first corner and the smallest seam vertex answer. Triangles are kept by the cells of a grid over each
    chart that their bounding boxes touch.

    Args:
        places: [S, 2] u and v in 0..1 of each seam vertex: a body vertex on a seam has one on every chart it touches.
        bodies: [S] the body vertex of each seam vertex.
        faces: [F, 3] seam vertices of each triangle.
        charts: [F] chart of each triangle, from 1.
        num_vertices: of the body; one more than the largest body vertex where not given.

    Raises:
        ShapeError: arrays that do not belong together.
    """

    def __init__(
        self,
        places: Float[np.ndarray, "seam 2"],
        bodies: Int[np.ndarray, "seam"],
        faces: Int[np.ndarray, "faces 3"],
        charts: Int[np.ndarray, "faces"],
        num_vertices: int | None = None,
    ) -> None:
        self.places, self.bodies = np.asarray(places, dtype=np.float64), np.asarray(bodies, dtype=np.int64)
        self.faces, charts = np.asarray(faces, dtype=np.int64), np.asarray(charts, dtype=np.int64)
        count, shapes = len(self.places), [each.shape for each in (self.places, self.bodies, self.faces, charts)]
        if shapes != [(count, 2), (count,), (len(charts), 3), (len(charts),)] or not len(charts):
            expected = "[S, 2], [S], [F, 3], [F]"
            raise ShapeError("charts are seam vertices and triangles", got=tuple(shapes), expected=expected)
        if self.faces.min() < 0 or self.faces.max() >= count or charts.min() < 1 or self.bodies.min() < 0:
            got, expected = f"{self.faces.min()} .. {self.faces.max()}", f"0 .. {count - 1}"
            raise ShapeError("a triangle with a corner that is none", got=got, expected=expected)
        low, high = self.places.min(), self.places.max()
        if not np.isfinite(self.places).all() or low < 0 or high > 1:
            raise ShapeError("a place outside its chart", got=f"{low} .. {high}", expected="0 .. 1")
        self.num_vertices = int(self.bodies.max()) + 1 if num_vertices is None else num_vertices
        self.charts, number = np.unique(charts, return_inverse=True)
        self._corners = [np.unique(self.faces[charts == chart]) for chart in self.charts]
        self._trees = [cKDTree(self.places[corners]) for corners in self._corners]
        self._keep_by_cells(number)

    def _keep_by_cells(self, number: Int[np.ndarray, "faces"]) -> None:
        """Sort the triangles by the cells that they touch; those of a cell ascend.

        Args:
            number: of each triangle's chart, from 0.
        """
        triangles = self.places[self.faces]
        low = _cells(triangles.min(axis=1))
        span = _cells(triangles.max(axis=1)) - low + 1
        face, step = _counted(span.prod(axis=1))
        column, row = low[face, 0] + step % span[face, 0], low[face, 1] + step // span[face, 0]
        cell = (number[face] * CELLS + row) * CELLS + column
        order = np.lexsort((face, cell))
        self._members = face[order]
        self._starts = np.searchsorted(cell[order], np.arange(len(self.charts) * CELLS * CELLS + 1))

    def search(
        self, labels: Int[np.ndarray, "points"], places: Float[np.ndarray, "points 2"]
    ) -> Int[np.ndarray, "points"]:
        """The body vertex of each point.

        Args:
            labels: [N] chart of each point.
            places: [N, 2] u and v, in 0..1.

        Returns:
            [N] int32 body vertices.

        Raises:
            ShapeError: shapes that differ, or a chart that the body has not.
        """
        labels, places = np.asarray(labels), np.asarray(places, dtype=np.float64)
        if labels.ndim != 1 or places.shape != (len(labels), 2):
            got = f"labels {labels.shape}, places {places.shape}"
            raise ShapeError("one place for every label", got=got, expected="[N] and [N, 2]")
        unknown = np.setdiff1d(labels, self.charts)
        if len(unknown):
            got, expected = unknown[:5].tolist(), f"1 .. {self.charts[-1]}"
            raise ShapeError("a chart that the body has not", got=got, expected=expected)
        number, seam = np.searchsorted(self.charts, labels), np.zeros(len(labels), dtype=np.int64)
        for start in range(0, len(labels), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            seam[part] = self._seam_vertices(number[part], places[part])
        return self.bodies[seam].astype(np.int32)

    def _seam_vertices(self, number: Int[np.ndarray, "n"], points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n"]:
        """The seam vertex of each point on the chart of that number."""
        cells = _cells(points)
        cell = (number * CELLS + cells[:, 1]) * CELLS + cells[:, 0]
        counts = self._starts[cell + 1] - self._starts[cell]
        point, offset = _counted(counts)
        face = self._members[np.repeat(self._starts[cell], counts) + offset]
        weights, solid = barycentric(points[point], self.places[self.faces[face]])
        hit = np.flatnonzero(solid & (weights >= 0).all(axis=1))
        found, first = np.unique(point[hit], return_index=True)
        chosen = hit[first]  # faces of a cell ascend, so the first hit is the smallest face
        seam = np.full(len(points), -1)
        seam[found] = self.faces[face[chosen], weights[chosen].argmax(axis=1)]
        outside = np.flatnonzero(seam < 0)
        for chart in np.unique(number[outside]).tolist():
            own = outside[number[outside] == chart]
            seam[own] = self._nearest(chart, points[own])
        return seam

    def _nearest(self, chart: int, points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n"]:
        """The corner nearest to each point; of those equally near the smallest."""
        corners = self._corners[chart]
        near = np.sort(self._trees[chart].query(points, k=[*range(1, min(TIES, len(corners)) + 1)])[1], axis=1)
        distances = np.square(points[:, None] - self.places[corners[near]]).sum(axis=2)
        return corners[near[np.arange(len(near)), distances.argmin(axis=1)]]


def barycentric(
    points: Float[np.ndarray, "n 2"], triangles: Float[np.ndarray, "n 3 2"]
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, "n"]]:
    """Weights of the corners at each point, adding to 1, and whether the triangle has an area; else of no meaning."""
    (ax, ay), (bx, by), (cx, cy) = (triangles[:, corner].T for corner in range(3))
    x, y = points.T
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    solid = area != 0
    whole = np.where(solid, area, 1)
    second = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / whole
    third = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / whole
    return np.stack([1 - second - third, second, third], axis=1), solid


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each entry of runs that are so long: its run, and its place in it."""
    run = np.repeat(np.arange(len(counts)), counts)
    return run, np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts)


def _cells(places: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    return np.clip(places * CELLS, 0, CELLS - 1).astype(np.int64)
