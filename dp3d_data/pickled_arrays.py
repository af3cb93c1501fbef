"""Parts of pickles made into arrays: types and shapes that are checked, objects of chumpy, sparse matrices of scipy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from dp3d_data.errors import UnsafePickle

_DTYPE = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248]|c8|c16|S\d{1,6}|U\d{1,6}|O8?)")
_PLAIN = (str, int, float, bytes, bool, complex, type(None), np.generic)


def refused(what: str) -> UnsafePickle:
    """The error for a pickle that wants more than data."""
    expected = "numpy arrays and plain containers"
    return UnsafePickle("this pickle asks for more than arrays", got=what[:200], expected=expected)


def plain_key(key: Any) -> Any:
    """A key of a dict or a member of a set, which is text, number, or a flat tuple of them; else UnsafePickle."""
    if not all(isinstance(member, _PLAIN) for member in (key if isinstance(key, tuple) else (key,))):
        raise refused("a key that is neither text nor number")
    return key


def whole_numbers(numbers: Any, least: int = 0) -> tuple[int, ...]:
    """A shape, which is few whole numbers; else ValueError."""
    numbers = np.atleast_1d(numbers).tolist() if isinstance(numbers, np.ndarray | np.integer | int) else numbers
    few = isinstance(numbers, tuple | list) and len(numbers) <= 32
    if not few or not all(isinstance(number, int | np.integer) and number >= least for number in numbers):
        raise ValueError("a shape that is none")
    return tuple(map(int, numbers))


def number_type(text: Any, state: tuple) -> np.dtype:
    """One of the plain types of numbers, with its byte order and nothing else of its state; else UnsafePickle."""
    if not isinstance(text, str) or not _DTYPE.fullmatch(text) or any(part is not None for part in state[2:5]):
        raise refused(f"an array of {text if isinstance(text, str) else 'no type'}, or of records")
    dtype = np.dtype("O" if text.endswith("O8") else text)
    return dtype.newbyteorder(state[1]) if state[1:2] in (("<",), (">",)) else dtype


def worked_out(kind: str, state: Any, pay: Callable[[int], None]) -> np.ndarray | None:
    """The array that an object of chumpy or scipy.sparse stands for, None where that is not known; `pay` is told its
    bytes before it is made."""
    made = {"chumpy": _chumpy, "scipy": _sparse}.get(kind.partition(".")[0])
    return made(kind.rpartition(".")[2], state, pay) if made and isinstance(state, dict) else None


def _chumpy(name: str, state: dict, pay: Callable[[int], None]) -> np.ndarray | None:
    """The array of an object of chumpy that holds numbers, picks from another or shapes it anew."""
    inner, places = state.get("a"), state.get("idxs")
    if name == "Ch" and isinstance(state.get("x"), np.ndarray | np.generic | float | int):
        return np.asarray(state["x"])
    if name == "Reshape" and isinstance(inner, np.ndarray):
        return inner.reshape(whole_numbers(state.get("newshape"), -1))
    if name != "Select" or not isinstance(inner, np.ndarray) or not isinstance(places, np.ndarray):
        return None
    pay(places.size * inner.itemsize)
    chosen, shape = inner.ravel()[places.astype(np.int64)], state.get("preferred_shape")
    return chosen if shape is None else chosen.reshape(whole_numbers(shape, -1))


def _sparse(name: str, state: dict, pay: Callable[[int], None]) -> np.ndarray | None:
    """A sparse matrix of scipy (csc, csr, coo) written out: entries of one place are added."""
    form, _, what = name.partition("_")
    if form not in ("csc", "csr", "coo") or what not in ("matrix", "array"):
        return None
    from scipy import sparse

    shape = whole_numbers(state.get("_shape", state.get("shape")))
    names = ("row", "col") if form == "coo" else ("indices", "indptr")
    lines = [state.get("data"), *(state.get("coords") or map(state.get, names))]
    flat = (isinstance(line, np.ndarray) and line.ndim == 1 and line.dtype.kind in "biuf" for line in lines)
    if len(shape) != 2 or not all(flat):
        raise ValueError("a sparse matrix without its numbers")
    data, *places = lines
    pay(math.prod(shape) * data.itemsize)
    matrix = getattr(sparse, f"{form}_array")((data, places) if form == "coo" else (data, *places), shape)
    if form != "coo":
        matrix.check_format()
    return matrix.toarray()
