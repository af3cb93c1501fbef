"""The file that says which body vertex lies where on the charts of people: UV_Processed.mat of the DensePose data."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from dp3d_data.errors import Dp3dError, InputCorrupt, InputMissing, TemplateError
from dp3d_data.limits import DAMAGE
from dp3d_data.matching.charts import ChartIndex

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
        InputCorrupt: not such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such file of charts", expected=EXPECTED, hint=HINT, path=path)
    arrays = _arrays(path)
    try:
        bodies = arrays["All_vertices"].ravel().astype(np.int64) - 1
        faces = arrays["All_Faces"].astype(np.int64).reshape(-1, 3) - 1
        places = np.stack([arrays[name].ravel() for name in ("All_U_norm", "All_V_norm")], axis=1)
        index = ChartIndex(places, bodies, faces, arrays["All_FaceIndices"].ravel().astype(np.int64), num_vertices)
    except (ValueError, TypeError, Dp3dError) as error:
        got = getattr(error, "what", str(error))[:120]
        raise InputCorrupt("not the charts of a body", got=got, expected=EXPECTED, hint=HINT, path=path) from error
    if bodies.max() >= num_vertices:
        raise InputCorrupt("charts of another body", got=f"vertex {bodies.max()}", expected=f"below {num_vertices}", path=path)
    return index


def require_person(num_vertices: int) -> None:
    """Refuse a template whose vertices are not those that charts name.

    Raises:
        TemplateError: neither SMPL's mesh nor its subdivision.
    """
    if num_vertices not in (SMPL, SUBDIVIDED):
        expected = f"SMPL's {SMPL} vertices, or the {SUBDIVIDED} of its subdivision"
        hint = "make one of your SMPL file: dp3d-data body template FILE --name person"
        raise TemplateError("charts name the vertices of another body", got=f"{num_vertices} vertices", expected=expected, hint=hint)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        shapes = {name: shape for name, shape, kind in whosmat(path) if kind in _NUMBERS}
        missing = [name for name in NAMES if int(np.prod(shapes.get(name, (0,)))) not in range(1, MOST_NUMBERS)]
        if missing:
            raise ValueError("no " + ", ".join(missing))
        arrays = loadmat(path, variable_names=NAMES)
        return {name: np.asarray(arrays[name]) for name in NAMES}
    except (MatReadError, *DAMAGE, OSError, zlib.error) as error:
        raise InputCorrupt("not the charts of a body", got=str(error)[:120], expected=EXPECTED, hint=HINT, path=path) from error

