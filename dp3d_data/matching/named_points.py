"""Names of keypoints: "left_front_paw", "L_F_Paw" and "Left front leg: paw" mean one; and which vertex each name is."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from dp3d_data.errors import InputCorrupt
from dp3d_data.files import read_text
from dp3d_data.limits import parse_csv

EXPECTED = "a csv with the columns name and vertex; others are not read"
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
    text = read_text(path, "table of named vertices", expected=EXPECTED)
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
        raise InputCorrupt("not a table of named vertices", got=error, expected=EXPECTED, path=path) from error
    if not found:
        raise InputCorrupt("a table without rows", expected=EXPECTED, path=path)
    return found
