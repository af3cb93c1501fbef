"""Named keypoints of templates: the 24 of StanfordExtra on the built-in dog, or a csv of the user's."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Int

from dp3d_data.bodies.builtin import DATA
from dp3d_data.errors import InputCorrupt
from dp3d_data.files import read_text
from dp3d_data.limits import parse_csv

DOG = DATA / "dog_keypoints.csv"
EXPECTED = "a csv with the columns index (0 to 23, StanfordExtra's order) and vertex; others, such as name, are not read"


def named_keypoints(path: str | Path = DOG, *, count: int = 24, vertices: int | None = None) -> Int[np.ndarray, "count"]:
    """The template vertex of each keypoint, -1 where the table has none.

    The built-in table was made from the dog's joints and looked at: paws, wrists and hocks, elbows and knees (the outer
    side), tail, ears, nose, chin, eyes, withers, throat.

    Args:
        vertices: how many the template has.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not such a table.
    """
    text = read_text(path, "table of keypoints", expected=EXPECTED)
    found = np.full(count, -1, dtype=np.int64)
    try:
        for _, row in parse_csv(text):
            index, vertex = int(row["index"]), int(row["vertex"])
            if not 0 <= index < count or vertex < 0 or (vertices is not None and vertex >= vertices):
                raise ValueError(f"index {index}, vertex {vertex}")
            if found[index] >= 0:
                raise ValueError(f"index {index} twice")
            found[index] = vertex
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputCorrupt("not a table of keypoints", got=error, expected=EXPECTED, path=path) from error
    return found


def keypoint_names(path: str | Path = DOG, *, count: int = 24) -> tuple[str, ...]:
    """The name of each keypoint, "keypoint 3" where a table that `named_keypoints` reads has no column for it."""
    rows = parse_csv(read_text(path, "table of keypoints", expected=EXPECTED))
    known = {int(row["index"]): row.get("name") for _, row in rows}
    return tuple(known.get(index) or f"keypoint {index}" for index in range(count))
