"""A torch.save archive read without torch and without the classes of its objects: structure first, tensors when asked for."""

from __future__ import annotations

import math
import mmap
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.bodies.model_files import DAMAGE, described
from dp3d_data.bodies.pickle_machine import ArraysOnly
from dp3d_data.bodies.pickle_parts import CALLS, Name, Recorded, new_object, refused
from dp3d_data.errors import CheckpointError, InputMissing, UnsafePickle

EXPECTED = "an archive that torch.save of version 1.6 or later wrote"
MOST_STRUCTURE = 1 << 30
# What a damaged or encrypted archive makes zipfile raise.
ZIP_DAMAGE = (OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
_KINDS = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "|b1",
}  # fmt: skip
_REBUILD = {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")}
_SIZE = ("torch", "Size")


@dataclass(frozen=True)
class Storage:
    """Numbers beside the pickle: the name of their entry, their type, and how many there are."""

    key: str
    kind: np.dtype
    count: int


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage that lies within it; see `TorchArchive.array`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchArchive:
    """The object of a torch.save archive: plain containers, `Tensor`s, and `Recorded` objects of the packages that are allowed.

    Args:
        path: the file.
        packages: whose objects may stand in it, as records of their state; nothing of them is imported or run.

    Raises:
        InputMissing: no such file.
        UnsafePickle: it asks for more than tensors, plain containers and such objects.
        CheckpointError: no such archive, or a damaged one.
    """

    def __init__(self, path: str | Path, packages: tuple[str, ...]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputMissing("no such file", expected=EXPECTED, path=path)
        try:
            self._zip = zipfile.ZipFile(self.path)
            self.root = next(name.removesuffix("data.pkl") for name in self._zip.namelist() if name.endswith("/data.pkl"))
            if self._order() != b"little":
                raise CheckpointError("numbers of a big-endian machine", got=self._order(), expected="little", path=path)
            structure = self._entry("data.pkl", MOST_STRUCTURE)
            self.content = _Reader(structure, packages).load()
        except UnsafePickle as error:
            raise UnsafePickle(error.what, got=error.got, expected=error.expected, path=path) from None
        except (*DAMAGE, *ZIP_DAMAGE, StopIteration) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError("not a whole torch archive", got=described(self.path), expected=EXPECTED, path=path) from error

    def array(self, tensor: Any) -> np.ndarray:
        """The numbers of a tensor, in memory of their own.

        Raises:
            CheckpointError: no tensor, or numbers that are not all there.
        """
        if not isinstance(tensor, Tensor):
            raise CheckpointError("no tensor", got=type(tensor).__name__, path=self.path)
        storage = tensor.storage
        try:
            data = self._entry(f"data/{storage.key}", storage.count * storage.kind.itemsize)
        except (*DAMAGE, *ZIP_DAMAGE) as error:
            raise CheckpointError("not a whole torch archive", got=repr(error)[:80], expected=EXPECTED, path=self.path) from error
        numbers = np.frombuffer(data, dtype=storage.kind)
        if len(numbers) != storage.count:
            raise CheckpointError("a tensor that is not all there", got=len(numbers), expected=storage.count, path=self.path)
        strides = [stride * storage.kind.itemsize for stride in tensor.strides]
        view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
        return view.copy()

    def _order(self) -> bytes:
        name = self.root + "byteorder"
        return self._zip.read(name).strip() if name in self._zip.namelist() else b"little"

    def _entry(self, name: str, most: int) -> bytes:
        """The bytes of an entry, which torch never compresses."""
        entry = self._zip.getinfo(self.root + name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
            raise ValueError(f"{name}: {entry.file_size} bytes")
        return self._zip.read(entry)


class _Reader(ArraysOnly):
    """The restricted unpickler, which also knows torch's tensors and lets objects of some packages stand as records."""

    dispatch = dict(ArraysOnly.dispatch)

    def __init__(self, data: bytes, packages: tuple[str, ...]) -> None:
        if not data:
            raise pickle.UnpicklingError("an empty pickle")
        memory = mmap.mmap(-1, len(data))
        memory.write(data)
        memory.seek(0)
        super().__init__(memory)
        self.packages = packages

    def find_class(self, module: str, name: str) -> Name:
        """The name itself, where it may stand in such an archive.

        Raises:
            UnsafePickle: it may not.
        """
        known = (module, name) in _REBUILD or (module, name) == _SIZE or (module == "torch" and name in _KINDS)
        if known or (module.partition(".")[0] in self.packages and name.isidentifier()):
            return Name(module, name)
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Storage:
        """A storage by its name; nothing is read."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], Name):
            raise pickle.UnpicklingError("a reference to something that is no storage")
        kind, key, _, count = pid[1:5]
        if kind.name not in _KINDS or not isinstance(key, str) or not key.isdecimal() or type(count) is not int or count < 0:
            raise pickle.UnpicklingError("a reference to something that is no storage")
        return Storage(key, np.dtype(_KINDS[kind.name]), count)

    def run_reduce(self) -> None:
        """A call: of the table's, or a tensor's."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise refused("a call of something unknown")
        place = function.module, function.name
        if place in _REBUILD:
            self.stack.append(_tensor(*arguments[:4]))
        elif place == _SIZE:
            self.stack.append(_whole(arguments[0]))
        elif place in CALLS:
            self.stack.append(self.paid(CALLS[place](*arguments)))
        else:
            raise refused(f"a call of {function}")

    def run_new_object(self) -> None:
        """An object of an allowed package: recorded, not made."""
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or arguments or not isinstance(kind, Name):
            raise refused("an object with arguments")
        self.stack.append(Recorded(kind) if kind.module.partition(".")[0] in self.packages else new_object(kind))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    """A view that lies within its storage and is no larger than it."""
    sizes, steps = _whole(shape), _whole(strides)
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0 or len(sizes) != len(steps):
        raise pickle.UnpicklingError("a tensor without its parts")
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if math.prod(sizes) > storage.count or (math.prod(sizes) and last >= storage.count) or offset > storage.count:
        raise pickle.UnpicklingError("a tensor outside its storage")
    return Tensor(storage, offset, sizes, steps)


def _whole(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, tuple | list) or len(numbers) > 16 or not all(type(n) is int and n >= 0 for n in numbers):
        raise pickle.UnpicklingError("a shape that is none")
    return tuple(numbers)


_Reader.dispatch[pickle.REDUCE[0]] = _Reader.run_reduce
_Reader.dispatch[pickle.NEWOBJ[0]] = _Reader.run_new_object


def state_of(item: Any) -> Mapping[str, Any]:
    """The fields of a recorded object; empty where it has none."""
    return item.state if isinstance(item, Recorded) and isinstance(item.state, dict) else {}
