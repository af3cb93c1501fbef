"""Subsets of a template's vertices: spread evenly over it, listed by the user, or named keypoints."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import InputCorrupt, UsageError
from dp3d_data.files import read_text
from dp3d_data.geometry.builtin import DATA
from dp3d_data.limits import parse_csv


def farthest_vertices(vertices: Float[np.ndarray, "K 3"], count: int) -> Int[np.ndarray, "count"]:
    """Vertices far from each other by straight distance, ascending.

    The first is the farthest from the mean; each next one is the farthest from those before, the lowest id on a tie.

    Raises:
        UsageError: count is not in 1..K.
    """
    points = np.asarray(vertices, dtype=np.float64)
    if not 1 <= count <= len(points):
        raise UsageError("no such number of vertices", got=count, expected=f"1..{len(points)}")
    chosen = [int(np.argmax(np.square(points - points.mean(axis=0)).sum(axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.square(points - points[chosen[-1]]).sum(axis=1))
        # A vertex twice in one place is at distance 0 from the first of the two: never choose one again.
        distance[chosen] = -1
        chosen.append(int(np.argmax(distance)))
    return np.sort(np.array(chosen, dtype=np.int32))


def checked_ids(ids: Int[np.ndarray, "V"], num_vertices: int) -> Int[np.ndarray, "V"]:
    """Vertex ids in ascending order.

    Raises:
        UsageError: none, one twice, or one that is not in 0..K-1.
    """
    ids = np.sort(np.asarray(ids, dtype=np.int64).ravel())
    if not len(ids) or ids[0] < 0 or ids[-1] >= num_vertices:
        got = f"{ids[0]} to {ids[-1]}" if len(ids) else "no ids"
        raise UsageError("a subset names vertices of the template", got=got, expected=f"ids in 0..{num_vertices - 1}")
    if (np.diff(ids) == 0).any():
        raise UsageError("a subset names each vertex once", got=f"{ids[:-1][np.diff(ids) == 0][0]} twice")
    return ids.astype(np.int32)


def read_subset(path: str | Path, num_vertices: int) -> Int[np.ndarray, "V"]:
    """Vertex ids from a text file: numbers apart by white space or commas, in any order.

    Raises:
        InputMissing: no such file.
        InputCorrupt: not a list of whole numbers.
        UsageError: ids that the template does not have, or one twice.
    """
    text = read_text(path, "list of vertices")
    try:
        words = text.replace(",", " ").split()
        ids = np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        expected = "vertex ids, counted from 0, apart by spaces, commas or lines"
        raise InputCorrupt("not a list of vertices", got=str(error)[:80], expected=expected, path=path) from error
    return checked_ids(ids, num_vertices)


DOG = DATA / "dog_keypoints.csv"
EXPECTED = "a csv with the columns index (0 to 23, StanfordExtra's order) and vertex, and name where there are names"


def named_keypoints(
    path: str | Path = DOG, *, count: int = 24, vertices: int | None = None
) -> tuple[Int[np.ndarray, "count"], tuple[str, ...]]:
    """The template vertex of each keypoint, -1 where the table has none, and its name ("keypoint 3" without one).

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
    names = [f"keypoint {index}" for index in range(count)]
    try:
        for _, row in parse_csv(text):
            index, vertex = int(row["index"]), int(row["vertex"])
            if not 0 <= index < count or vertex < 0 or (vertices is not None and vertex >= vertices):
                raise ValueError(f"index {index}, vertex {vertex}")
            if found[index] >= 0:
                raise ValueError(f"index {index} twice")
            found[index] = vertex
            names[index] = row.get("name") or names[index]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputCorrupt("not a table of keypoints", got=error, expected=EXPECTED, path=path) from error
    return found, tuple(names)
