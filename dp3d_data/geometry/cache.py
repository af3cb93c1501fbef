"""Arrays kept between runs, named by what they were computed from; a damaged file is computed again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import numpy as np

from dp3d_data.config import cache_dir
from dp3d_data.errors import DiskFull, InputCorrupt, InputMissing, PathUnusable
from dp3d_data.files import write_arrays
from dp3d_data.limits import read_arrays

Arrays = dict[str, np.ndarray]


def cached_arrays(name: str, shapes: Mapping[str, tuple[int, ...]], compute: Callable[[], Arrays]) -> Arrays:
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
    with contextlib.suppress(DiskFull, PathUnusable):  # a cache that cannot be written costs time, and nothing else
        write_arrays(path, compressed=False, **arrays)
    return arrays


def _finite(arrays: Arrays) -> bool:
    return not any(np.isnan(value).any() for value in arrays.values())
