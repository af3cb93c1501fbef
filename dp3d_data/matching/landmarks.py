"""Landmarks: vertices of a template whose place on a CSE mesh, or in a photograph, somebody knows."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.files import read_text
from dp3d_data.limits import parse_csv

EXPECTED = (
    "a csv with the columns vertex and cse_vertex, or vertex, image, x and y; other columns, such as name, are not read"
)
HINT = (
    "vertex ids count from 0; x and y are image pixels, the corner of the image is (0, 0); image is a path from the"
    " csv's folder"
)


@dataclass(frozen=True)
class Landmark:
    """A vertex of the user's template, and the vertex of the CSE mesh or the point (x, y) of a photograph that it
    is."""

    line: int
    vertex: int
    cse_vertex: int | None = None
    image: Path | None = None
    point: tuple[float, float] | None = None


def read_landmarks(path: str | Path, vertices: int, cse_vertices: int) -> list[Landmark]:
    """The landmarks of a csv.

    Args:
        vertices, cse_vertices: how many the template and the CSE mesh have.

    Raises:
        InputMissing: no such file, or no such photograph.
        InputCorrupt: a row that is no landmark; names the line.
    """
    path = Path(path)
    text = read_text(path, "file of landmarks", expected=EXPECTED, hint=HINT)
    found = []
    try:
        for number, row in parse_csv(text):
            found.append(_landmark(path, number, row, vertices, cse_vertices))
    except csv.Error as error:
        raise InputCorrupt("not a csv of landmarks", got=str(error), expected=EXPECTED, hint=HINT, path=path) from error
    return found


def _landmark(path: Path, line: int, row: dict, vertices: int, cse_vertices: int) -> Landmark:
    try:
        vertex = _within(row["vertex"], vertices, "vertex")
        if (row.get("cse_vertex") or "").strip():
            return Landmark(line, vertex, _within(row["cse_vertex"], cse_vertices, "cse_vertex"))
        image, point = path.parent / row["image"].strip(), (float(row["x"]), float(row["y"]))
        if not all(map(math.isfinite, point)):
            raise ValueError("a point that is no number")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        got = f"{dict(row)}: {error}"
        raise InputCorrupt(f"line {line} is no landmark", got=got, expected=EXPECTED, hint=HINT, path=path) from error
    if not image.is_file():
        raise InputMissing(f"line {line}: no such photograph", expected=str(image), path=path)
    return Landmark(line, vertex, None, image, point)


def _within(text: str, count: int, name: str) -> int:
    value = int(text)
    if not 0 <= value < count:
        raise ValueError(f"{name} {value} is not in 0..{count - 1}")
    return value
