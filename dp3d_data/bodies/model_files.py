"""Pickled model files read without running them: arrays, numbers, strings and plain containers, nothing else."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

from dp3d_data.bodies.pickle_machine import ArraysOnly
from dp3d_data.bodies.pickle_objects import resolved
from dp3d_data.errors import CheckpointError, InputMissing, UnsafePickle
from dp3d_data.files import require_no_pointer

# What a damaged pickle makes the standard library and numpy raise.
DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    ImportError, OverflowError, MemoryError, RecursionError, NotImplementedError, AssertionError, struct.error,
)  # fmt: skip


def read_pickle(path: str | Path) -> Any:
    """The first object of a pickle file, text of Python 2 read as latin-1.

    Objects of chumpy (Ch, Select, Reshape) and scipy.sparse become dense arrays; of other kinds of these two packages
    nothing is kept but their name.

    Raises:
        InputMissing: no such file.
        UnsafePickle: it asks for anything but arrays and plain containers, or swells; nothing of it was run.
        CheckpointError: empty, cut short or no pickle at all.
        InputCorrupt: a pointer in the place of the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such file", path=path)
    require_no_pointer(path)
    with open(path, "rb") as stream:
        try:
            return resolved(ArraysOnly(stream).load())
        except UnsafePickle as error:
            raise UnsafePickle(error.what, got=error.got, expected=error.expected, path=path) from None
        except DAMAGE as error:
            raise CheckpointError("not a whole pickle file", got=described(path), expected="a .pkl of arrays", path=path) from error


def described(path: Path) -> str:
    """Size and first bytes of a file, to tell what it is."""
    with open(path, "rb") as stream:
        start = stream.read(16)
    return f"{path.stat().st_size} bytes that begin with {start!r}" if start else "an empty file"
