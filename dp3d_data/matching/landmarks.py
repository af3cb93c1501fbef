"""Landmarks: vertices of a template whose place on a CSE mesh, or in a photograph, somebody knows; and names of
keypoints, of which "left_front_paw", "L_F_Paw" and "Left front leg: paw" mean one."""

from __future__ import annotations

import csv
import math
import re
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


NAMED = "a csv with the columns name and vertex; others are not read"
# Word of a name -> what it says; empty words say nothing.
_WORDS = {
    **dict.fromkeys(("l", "lt"), "left"),
    **dict.fromkeys(("r", "rt"), "right"),
    **dict.fromkeys(("f", "fore"), "front"),
    **dict.fromkeys(("b", "back", "hind", "rear"), "rear"),
    **dict.fromkeys(("base", "start", "root"), "start"),
    **dict.fromkeys(("tip", "end"), "end"),
    **dict.fromkeys(("foot", "hoof", "paw"), "paw"),
    **dict.fromkeys(("leg", "limb", "joint", "of", "the", "point"), ""),
    "nostril": "nose",
}
# A joint's own name -> which leg it belongs to where none is named, and its place on the leg.
_JOINTS = {
    "elbow": ("front", "top"),
    "stifle": ("rear", "top"),
    "wrist": ("front", "middle"),
    "carpus": ("front", "middle"),
    "hock": ("rear", "middle"),
    "ankle": ("rear", "middle"),
}


def name_key(name: str) -> frozenset[str]:
    """What a name says, the same for all spellings of it.

    A knee is the middle joint where the name says front or rear (Animal-Pose), else the upper joint of the rear leg
    (AP-10K).
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    spaced = re.sub(r"(tail|ear)(base|root|start|tip|end)", r"\1 \2", spaced)
    words = {_WORDS.get(word, word) for word in re.findall(r"[^\W_]+", spaced)} - {""}
    if "knee" in words:
        words = words - {"knee"} | ({"middle"} if words & {"front", "rear"} else {"rear", "top"})
    for joint in words & set(_JOINTS):
        leg, place = _JOINTS[joint]
        words = words - {joint} | {place} | (set() if words & {"front", "rear"} else {leg})
    return frozenset(words)


def read_named_vertices(path: str | Path, vertices: int) -> dict[str, int]:
    """Name -> vertex of a csv; landmarks that have names are such a table too.

    Args:
        vertices: how many the template has.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not such a table; names the line.
    """
    text = read_text(path, "table of named vertices", expected=NAMED)
    found: dict[str, int] = {}
    keys: dict[frozenset[str], str] = {}
    try:
        for line, row in parse_csv(text):
            name, vertex = (row["name"] or "").strip(), int(row["vertex"])
            if not name or not 0 <= vertex < vertices:
                raise ValueError(f"line {line}: {name or 'no name'}, vertex {vertex} of 0..{vertices - 1}")
            other = keys.setdefault(name_key(name), name)
            if found.get(other, vertex) != vertex:
                raise ValueError(f"line {line}: {name} has a second vertex")
            found[other] = vertex
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputCorrupt("not a table of named vertices", got=error, expected=NAMED, path=path) from error
    if not found:
        raise InputCorrupt("a table without rows", expected=NAMED, path=path)
    return found
