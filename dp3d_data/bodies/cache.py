"""Arrays kept between runs, named by what they were computed from; a damaged file is computed again."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable

import numpy as np

from dp3d_data.config import cache_dir
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.limits import read_arrays

Arrays = dict[str, np.ndarray]


def cached_arrays(name: str, shapes: dict[str, tuple[int, ...]], compute: Callable[[], Arrays]) -> Arrays:
    """The arrays stored under that name if they are whole and of these shapes, else computed and stored.

    Readers and writers may run at once: a file appears under its name complete, by renaming. A cache folder that
    cannot be written costs time, never the result.
    """
    path = cache_dir() / f"{name}.npz"
    try:
        arrays = read_arrays(path)
        if {key: value.shape for key, value in arrays.items()} == shapes and _finite(arrays):
            return arrays
    except (InputMissing, InputCorrupt):
        pass
    arrays = compute()
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as stream:
            np.savez(stream, **arrays)
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
    return arrays


def _finite(arrays: Arrays) -> bool:
    return not any(np.isnan(value).any() for value in arrays.values())
