"""Obvious twins of the charts: one pixel, one triangle, one corner at a time, in plain Python numbers."""

import base64
import io
import json
import math

import numpy as np
import scipy.io
from PIL import Image


def chart_vertex_slow(label, place, places, bodies, faces, charts):
    """The body vertex at a place: of the first triangle that contains it the heaviest corner, else the nearest
    corner."""
    x, y = (float(value) for value in place)
    own = [[int(corner) for corner in face] for face, chart in zip(faces, charts, strict=True) if chart == label]
    for face in own:
        (ax, ay), (bx, by), (cx, cy) = ((float(places[corner][0]), float(places[corner][1])) for corner in face)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0:
            continue
        second = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
        third = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
        weights = [1 - second - third, second, third]
        if min(weights) >= 0:
            return int(bodies[face[weights.index(max(weights))]])
    corners = sorted({corner for face in own for corner in face})
    distances = [(float(places[corner][0]) - x) ** 2 + (float(places[corner][1]) - y) ** 2 for corner in corners]
    return int(bodies[corners[distances.index(min(distances))]])


def read_mat(path):
    """Places [S, 2], body vertices [S], and chart -> triangles [f, 3], of the file of charts, read without this
    project."""
    table = scipy.io.loadmat(path)
    places = np.stack([table["All_U_norm"].ravel(), table["All_V_norm"].ravel()], axis=1)
    charts = table["All_FaceIndices"].ravel()
    faces = table["All_Faces"].astype(int) - 1
    return (
        places,
        table["All_vertices"].ravel().astype(int) - 1,
        {chart: faces[charts == chart] for chart in range(1, 25)},
    )


def chart_keypoints(labels, uv, corner, mat):
    """body vertex -> (mean x, mean y, pixels), pixel by pixel.

    The weight of a triangle's corner is the part of the triangle opposite to it: signed areas instead of a linear
    system.

    Args:
        labels: [h, w] chart of each pixel, 0 for background.
        uv: [2, h, w] in 0..1.
        corner: (x, y) of the top left pixel in the image.
        mat: see `read_mat`.
    """
    places, bodies, triangles = mat
    sums = {}
    for row, column in zip(*np.nonzero(labels), strict=True):
        own, point = triangles[int(labels[row, column])], uv[:, row, column].astype(np.float64)
        vertex = bodies[_corner(point, own, places)]
        sums.setdefault(int(vertex), []).append((column + corner[0] + 0.5, row + corner[1] + 0.5))
    return {
        key: (*(math.fsum(axis) / len(sums[key]) for axis in zip(*sums[key], strict=True)), len(sums[key]))
        for key in sorted(sums)
    }


def _corner(point, faces, places):
    a, b, c = (places[faces[:, k]] for k in range(3))
    whole = _cross(a, b, c)
    parts = np.stack([_cross(point, b, c), _cross(point, c, a), _cross(point, a, b)], axis=1) * np.sign(whole)[:, None]
    inside = np.flatnonzero((parts >= 0).all(axis=1) & (whole != 0))
    if len(inside):
        return faces[inside[0], parts[inside[0]].argmax()]
    corners = np.unique(faces)
    return corners[np.square(places[corners] - point).sum(axis=1).argmin()]


def _cross(a, b, c):
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (c[..., 0] - a[..., 0]) * (b[..., 1] - a[..., 1])


def result_keypoints(results, number, mat):
    """The same of one entry of a file of IUV results."""
    with open(results, encoding="utf-8") as stream:
        entry = json.load(stream)[number]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["uv_data"]))))
    labels, uv = pixels[..., 0], pixels[..., 1:].transpose(2, 0, 1) / 255
    return chart_keypoints(labels, uv, (int(entry["bbox"][0]), int(entry["bbox"][1])), mat)
