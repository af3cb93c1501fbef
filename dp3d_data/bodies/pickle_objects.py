"""The records of a pickle turned into arrays: chumpy's objects, scipy's sparse matrices, within limits of depth and size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp3d_data.bodies.pickle_parts import Name, Recorded, objects, refused

DEPTH = 64
ITEMS = 20_000_000
DENSE = 20_000_000
MADE = 100_000_000


@dataclass(frozen=True)
class Unread:
    """An object of a pickle that stands for no array we know how to work out."""

    kind: Name


class Resolver:
    """Walks a pickle's object once, shared parts once, and counts shared parts as often as they are named."""

    def __init__(self) -> None:
        self.done: dict[int, tuple[Any, int]] = {}
        self.open: set[int] = set()
        self.made = 0

    def resolve(self, item: Any, depth: int = 0) -> tuple[Any, int]:
        """The item with arrays for records, and how many items it holds.

        Raises:
            UnsafePickle: nested too deep, in a circle, or swelling beyond ITEMS.
        """
        if not isinstance(item, list | tuple | dict | Recorded) and not (isinstance(item, np.ndarray) and item.dtype == object):
            return item, 1
        if id(item) in self.done:
            return self.done[id(item)]
        if depth > DEPTH or id(item) in self.open:
            raise refused(f"containers nested more than {DEPTH} deep, or in a circle")
        self.open.add(id(item))
        value, size = self._container(item, depth + 1)
        self.open.remove(id(item))
        if size > ITEMS:
            raise refused(f"containers that swell beyond {ITEMS} items")
        self.done[id(item)] = value, size
        return value, size

    def _container(self, item: Any, depth: int) -> tuple[Any, int]:
        if isinstance(item, dict):
            values, size = self._all(item.values(), depth)
            return dict(zip(item, values, strict=True)), size
        if isinstance(item, np.ndarray):
            values, size = self._all(item.ravel(), depth)
            return objects(values).reshape(item.shape), size
        if isinstance(item, list | tuple):
            values, size = self._all(item, depth)
            return type(item)(values), size
        if item.value is not None:
            return self.resolve(item.value, depth)
        if item.kind.module == "numpy":
            return Unread(item.kind), 1
        state, size = self.resolve(item.state, depth)
        value = _array_of(item.kind, state)
        self.made += value.size if isinstance(value, np.ndarray) else 0
        if self.made > MADE:
            raise refused(f"matrices that swell beyond {MADE} numbers")
        return value, size

    def _all(self, items: Any, depth: int) -> tuple[list, int]:
        pairs = [self.resolve(item, depth) for item in items]
        return [value for value, _ in pairs], 1 + sum(size for _, size in pairs)


def resolved(item: Any) -> Any:
    """A pickle's object with every record an array (or Unread).

    Raises:
        UnsafePickle: nested too deep, in a circle, or swelling beyond ITEMS.
        ValueError: a sparse matrix or a chumpy object whose parts do not fit.
    """
    return Resolver().resolve(item)[0]


def _array_of(kind: Name, state: Any) -> Any:
    """The array that an object of chumpy or scipy.sparse stands for."""
    if not isinstance(state, dict):
        return Unread(kind)
    if kind.module.startswith("scipy."):
        return _dense(kind, state)
    if kind.name == "Ch" and isinstance(state.get("x"), np.ndarray | np.generic | float | int):
        return np.asarray(state["x"])
    inner = state.get("a")
    if kind.name == "Select" and isinstance(inner, np.ndarray) and isinstance(state.get("idxs"), np.ndarray):
        chosen = inner.ravel()[state["idxs"].astype(np.int64)]
        shape = state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(_whole(shape))
    if kind.name == "Reshape" and isinstance(inner, np.ndarray):
        return inner.reshape(_whole(state.get("newshape")))
    return Unread(kind)


def _whole(shape: Any) -> tuple[int, ...]:
    """A shape of integers."""
    numbers = np.atleast_1d(np.asarray(shape))
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1 or len(numbers) > 8:
        raise ValueError("a shape that is none")
    return tuple(int(number) for number in numbers)


def _dense(kind: Name, state: dict) -> np.ndarray | Unread:
    """A sparse matrix of scipy (csc, csr, coo) written out: entries of one place are added."""
    form, _, what = kind.name.partition("_")
    if form not in ("csc", "csr", "coo") or what not in ("matrix", "array"):
        return Unread(kind)
    shape = _whole(state.get("_shape", state.get("shape")))
    if len(shape) != 2 or min(shape) < 0 or math.prod(shape) > DENSE:
        raise refused(f"a sparse matrix of shape {shape}")
    data = _numbers(state, "data")
    if form == "coo":
        places = state.get("coords") or (state.get("row"), state.get("col"))
        rows, columns = (_numbers({"index": place}, "index").astype(np.int64) for place in places)
    else:
        major, minor = _compressed(_numbers(state, "indptr").astype(np.int64), _numbers(state, "indices").astype(np.int64))
        rows, columns = (minor, major) if form == "csc" else (major, minor)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    if not len(rows) == len(columns) == len(data) or not inside.all():
        raise ValueError("a sparse matrix whose entries lie outside it")
    dense = np.zeros(shape, dtype=data.dtype)
    np.add.at(dense, (rows, columns), data)
    return dense


def _numbers(state: dict, name: str) -> np.ndarray:
    value = state.get(name)
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "biuf":
        raise ValueError(f"a sparse matrix without {name}")
    return value


def _compressed(starts: np.ndarray, minor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The line of each entry, from where the lines start."""
    if len(starts) < 1 or starts[0] != 0 or starts[-1] != len(minor) or (np.diff(starts) < 0).any():
        raise ValueError("a sparse matrix whose lines do not follow each other")
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts)), minor
