"""Landmarks: vertices of a template whose place on a CSE mesh, or in a photograph, somebody knows; and names of
keypoints, of which "left_front_paw", "L_F_Paw" and "Left front leg: paw" mean one; and functional maps, which make a
handful of landmarks a correspondence of two surfaces, through their spectral functions alone."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dp3d_data.errors import InputCorrupt, InputMissing, UsageError
from dp3d_data.files import read_text
from dp3d_data.geometry.laplacian import laplace_beltrami
from dp3d_data.geometry.template import Template
from dp3d_data.limits import parse_csv
from dp3d_data.matching import nearest_vertices

EXPECTED = (
    "a csv with the columns vertex and cse_vertex, or vertex, image, x and y; other columns, such as name, may be there"
)
HINT = (
    "vertex ids count from 0; x and y are image pixels, the corner of the image is (0, 0); image is a path from the"
    " csv's folder"
)


@dataclass(frozen=True)
class Landmark:
    """A vertex of the user's template, and the vertex of the CSE mesh or the point (x, y) of a photograph that it is.

    Attributes:
        line: of the file; 0 where it is from none.
    """

    line: int
    vertex: int
    cse_vertex: int | None = None
    image: Path | None = None
    point: tuple[float, float] | None = None
    name: str = ""


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
    try:
        return [_landmark(path, number, row, vertices, cse_vertices) for number, row in parse_csv(text)]
    except csv.Error as error:
        raise InputCorrupt("not a csv of landmarks", got=str(error), expected=EXPECTED, hint=HINT, path=path) from error


def _landmark(path: Path, line: int, row: dict, vertices: int, cse_vertices: int) -> Landmark:
    name = (row.get("name") or "").strip()
    try:
        vertex = _within(row["vertex"], vertices, "vertex")
        if (row.get("cse_vertex") or "").strip():
            return Landmark(line, vertex, _within(row["cse_vertex"], cse_vertices, "cse_vertex"), name=name)
        image, point = path.parent / row["image"].strip(), (float(row["x"]), float(row["y"]))
        if not all(map(math.isfinite, point)):
            raise ValueError("a point that is no number")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        got = f"{dict(row)}: {error}"
        raise InputCorrupt(f"line {line} is no landmark", got=got, expected=EXPECTED, hint=HINT, path=path) from error
    if not image.is_file():
        raise InputMissing(f"line {line}: no such photograph", expected=str(image), path=path)
    return Landmark(line, vertex, None, image, point, name)


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


FIRST = 12  # functions that landmarks alone decide on
LAST = 40  # functions at the end of the refinement: finer ones differ too much between two animals of one kind
STEP = 4
TIMES = 8  # of the heat kernels around each landmark
PINNED = 30.0  # what a landmark weighs beside one vertex of mean area
FEWEST = 4


# A surface as its spectral functions see it: Laplace-Beltrami eigenfunctions [V, m], low frequencies first, each of
# unit mean square over the surface; and the share of the surface around each vertex [V], sum 1.
Spectrum = tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_"]]


def spectrum_of(template: Template, count: int) -> tuple[Spectrum, Float[np.ndarray, "m"]]:
    """The spectrum of a template, and its eigenvalues for a surface of area 1."""
    values, functions = laplace_beltrami(template, count)
    area = template.total_area
    return (functions.astype(np.float64) * area**0.5, template.area_shares), values * area


def bare_spectrum(features: Float[np.ndarray, "V m"]) -> Spectrum:
    """The spectrum of a surface of which only functions are known, as in CSE checkpoints: vertices count the same."""
    functions = np.asarray(features, dtype=np.float64)
    scale = np.sqrt((functions**2).mean(axis=0))
    return functions / np.where(scale > 0, scale, 1), np.full(len(functions), 1 / len(functions))


def correspondence(
    source: Spectrum,
    target: Spectrum,
    eigenvalues: Float[np.ndarray, "m"],
    source_landmarks: Int[np.ndarray, "n"],
    target_landmarks: Int[np.ndarray, "n"],
) -> Int[np.ndarray, "V"]:
    """The source vertex of every target vertex, for two surfaces of nearly the same inner geometry (Ovsjanikov et al.
    2012).

    Landmarks decide on the map of the lowest functions; refinement then alternates between the nearest vertices in the
    mapped functions, in both directions, and the map that fits them, with more functions each time (ZoomOut, Melzi et
    al. 2019; both directions, Ren et al. 2021; landmarks pinned, ours).

    Args:
        eigenvalues: of the target for area 1; nearly isometric surfaces share them, so the source's need not be known.

    Raises:
        UsageError: fewer than FEWEST landmarks.
    """
    if len(source_landmarks) < FEWEST:
        hint = "give landmarks on both sides of the body, spread over head, trunk and legs; 12 serve well"
        raise UsageError("too few landmarks", got=len(source_landmarks), expected=f"at least {FEWEST}", hint=hint)
    ours, theirs = target[0], source[0]
    most = min(theirs.shape[1], ours.shape[1], LAST)
    first = min(FIRST, most)
    known = theirs[source_landmarks, :first], ours[target_landmarks, :first]
    mapping = landmark_map(*known, np.asarray(eigenvalues[:first]))
    for count in [*range(first + STEP, most, STEP), most]:
        mapping = _refined(source, target, mapping, count, source_landmarks, target_landmarks)
    size = len(mapping)
    return nearest_vertices(ours[:, :size] @ mapping, theirs[:, :size]).astype(np.int64)


def landmark_map(
    source: Float[np.ndarray, "n k"], target: Float[np.ndarray, "n k"], eigenvalues: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k k"]:
    """The map C with target @ C = source that landmarks ask for, in the least-squares sense.

    Besides the landmarks themselves, heat that spreads from each of them for several times must match, and C should map
    functions to functions of the same frequency.

    Args:
        source, target: values of the functions at the landmarks.
    """
    size = len(eigenvalues)
    times = np.geomspace(0.5 / eigenvalues[-1], 4 / max(eigenvalues[1], 1e-12), TIMES)
    decay = np.exp(-times[:, None] * eigenvalues)
    decay /= np.linalg.norm(decay, axis=1, keepdims=True)
    heat_source = (decay[:, None] * source).reshape(-1, size)  # coefficients of the heat around each landmark
    heat_target = (decay[:, None] * target).reshape(-1, size)
    same = np.eye(size)
    gap = np.abs(eigenvalues[:, None] - eigenvalues) / eigenvalues[-1]
    points = np.einsum("li,jm->lmij", target, same).reshape(-1, size * size) / np.sqrt(source.size)
    heat = np.kron(same, heat_source) / np.sqrt(len(heat_source))
    system = np.concatenate([points, heat, np.diag(gap.ravel())])
    reached = heat_target.T.ravel() / np.sqrt(len(heat_source))
    wanted = np.concatenate([source.ravel() / np.sqrt(source.size), reached, np.zeros(size * size)])
    return np.linalg.lstsq(system, wanted, rcond=None)[0].reshape(size, size)


def _refined(
    source: Spectrum, target: Spectrum, mapping: np.ndarray, count: int, source_landmarks, target_landmarks
) -> np.ndarray:
    """The map of `count` functions that fits the nearest vertices under a map of fewer."""
    size, (ours, our_areas), (theirs, their_areas) = len(mapping), target, source
    carried, own = ours[:, :size] @ mapping, theirs[:, :size]
    onto_source, onto_target = nearest_vertices(carried, own), nearest_vertices(own, carried)
    onto_source[target_landmarks], onto_target[source_landmarks] = source_landmarks, target_landmarks
    weights = [_pinned(our_areas, target_landmarks), _pinned(their_areas, source_landmarks)]
    left = np.concatenate([ours, ours[onto_target]])[:, :count]
    right = np.concatenate([theirs[onto_source], theirs])[:, :count]
    weighted = left * np.concatenate(weights)[:, None]
    return np.linalg.solve(weighted.T @ left + 1e-9 * np.eye(count), weighted.T @ right)


def _pinned(areas: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    weights = areas.copy()
    weights[landmarks] += PINNED * areas.mean()
    return weights


def smooth_field(
    values: Float[np.ndarray, "V d"],
    weights: Float[np.ndarray, "V"],
    functions: Float[np.ndarray, "V m"],
    eigenvalues: Float[np.ndarray, "m"],
    ridge: float = 1e-5,
) -> Float[np.ndarray, "m d"]:
    """Coefficients of the smooth field nearest to values given with weights (sum about 1).

    The penalty on a function grows with its frequency: `ridge` times its eigenvalue over the largest.
    """
    weighted = functions * weights[:, None]
    penalty = ridge * np.diag(eigenvalues / eigenvalues[-1] + 1e-6)
    return np.linalg.solve(weighted.T @ functions + penalty, weighted.T @ values)
