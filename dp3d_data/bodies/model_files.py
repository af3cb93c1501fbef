"""Pickled model files read without running them: arrays, numbers, strings and plain containers, nothing else."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.errors import CheckpointError, InputMissing, UnsafePickle

# What a damaged pickle makes the standard library and numpy raise.
DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    ImportError, OverflowError, MemoryError, RecursionError, NotImplementedError, AssertionError,
)  # fmt: skip


def latin1_bytes(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, with which old pickles write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return text.encode("latin1")


_MULTIARRAY = np._core.multiarray
ALLOWED = {
    ("numpy._core.multiarray", "_reconstruct"): _MULTIARRAY._reconstruct,
    ("numpy._core.multiarray", "scalar"): _MULTIARRAY.scalar,
    ("numpy._core.numeric", "_frombuffer"): np._core.numeric._frombuffer,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): latin1_bytes,
}


class ArraysOnly(pickle.Unpickler):  # noqa: TID251 - this is the restricted one
    """An unpickler that looks names up in a short table and imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        """The table's entry.

        Raises:
            UnsafePickle: the name is not in the table.
        """
        key = (module.replace("numpy.core.", "numpy._core."), name)
        if key not in ALLOWED:
            expected = "numpy arrays and plain containers"
            raise UnsafePickle("this pickle asks for more than arrays", got=f"{module}.{name}", expected=expected)
        return ALLOWED[key]

    def persistent_load(self, pid: Any) -> Any:
        """Refused: storages outside the pickle."""
        raise pickle.UnpicklingError(f"a reference to something outside the file: {pid!r}")


def read_pickle(path: str | Path) -> Any:
    """The first object of a pickle file, text of Python 2 read as latin-1.

    Raises:
        InputMissing: no such file.
        UnsafePickle: it asks for anything but arrays and plain containers; nothing of it was run.
        CheckpointError: empty, cut short or no pickle at all.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such file", path=path)
    with open(path, "rb") as stream:
        try:
            return ArraysOnly(stream, encoding="latin1").load()
        except UnsafePickle as error:
            raise UnsafePickle(error.what, got=error.got, expected=error.expected, path=path) from None
        except DAMAGE as error:
            raise CheckpointError("not a whole pickle file", got=described(path), expected="a .pkl of arrays", path=path) from error


def described(path: Path) -> str:
    """Size and first bytes of a file, to tell what it is."""
    with open(path, "rb") as stream:
        start = stream.read(16)
    return f"{path.stat().st_size} bytes that begin with {start!r}" if start else "an empty file"
