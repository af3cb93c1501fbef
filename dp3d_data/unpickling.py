"""Pickles of others read without running them: instructions are looked through, objects are records, arrays are worked out after."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from dp3d_data import limits
from dp3d_data.errors import CheckpointError, InputMissing, UnsafePickle
from dp3d_data.files import require_no_pointer

# What damaged pickles and archives make the library and numpy raise.
DAMAGE: tuple[type[Exception], ...] = (*limits.DAMAGE, pickle.UnpicklingError)
# Instructions and items of a pickle, depth of its containers, open marks, parts of a key; bytes of arrays for its bytes, and more.
ITEMS, DEPTH, MARKS, KEY, SWELL, SLACK = 20_000_000, 64, 1000, 64, 16, 1 << 24
# Whose objects may stand in every pickle.
OBJECTS = ("chumpy", "scipy.sparse")
ARCHIVE = "an archive that torch.save of version 1.6 or later wrote"
_MAGIC = 0x1950A86A20F9469CFC6C  # with which files of torch before 1.6 begin, and its storages in plain pickles
_REFUSED = {"DUP", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID"}
_LENGTHS = {-2: 1, -3: 4, -4: 4, -5: 8}  # pickletools' signs for a length before the content, and the bytes it takes
_KEYS = {"SETITEM": slice(1, 2), "SETITEMS": slice(1, None, 2), "DICT": slice(0, None, 2), "ADDITEMS": slice(1, None),
         "FROZENSET": slice(0, None)}  # fmt: skip
_MODULES = {"numpy.core.multiarray": "numpy._core.multiarray", "numpy.core.numeric": "numpy._core.numeric",
            "numpy.matrixlib.defmatrix": "numpy", "copy_reg": "copyreg", "__builtin__": "builtins"}  # fmt: skip
_CLASSES = {"numpy.ndarray", "numpy.matrix", "builtins.object"}
_STORAGES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "<i1",
             "Byte": "<u1", "Bool": "|b1"}  # fmt: skip
_STORAGES = {f"torch.{name}Storage": kind for name, kind in _STORAGES.items()}
_DTYPE = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248]|c8|c16|S\d{1,6}|U\d{1,6}|O8?)")
_PLAIN = (str, int, float, bytes, bool, complex, type(None), np.generic)


@dataclass(frozen=True, eq=False)
class Unread:
    """A class that a pickle names, or an object of it with its state, which stands for no array we know how to work out."""

    kind: str
    state: Any = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of torch; its numbers are read when they are asked for."""

    storage: Callable[[], np.ndarray]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The numbers, not to be written to.

        Raises:
            CheckpointError: they are not all there, or outside their storage.
        """
        try:
            flat = self.storage()
            if math.prod(self.shape) > len(flat) or min((self.offset, *self.shape, *self.strides)) < 0:
                raise ValueError(f"shape {self.shape} at {self.offset} of {len(flat)} numbers")
            return np.ndarray(self.shape, flat.dtype, flat, self.offset * flat.itemsize, [n * flat.itemsize for n in self.strides])
        except DAMAGE as error:
            raise CheckpointError("a tensor that is not all there", got=str(error)[:120], hint="fetch or make the file again") from error


def read_pickle(path: str | Path, packages: tuple[str, ...] = ()) -> Any:
    """The first object of a pickle file, text of Python 2 read as latin-1; or that of an archive of torch.save.

    Objects of chumpy (Ch, Select, Reshape) and scipy.sparse become dense arrays, torch's tensors `Tensor`; other objects
    of these packages `Unread`.

    Args:
        packages: whose objects may stand in it, too.

    Raises:
        InputMissing: no such file.
        UnsafePickle: it asks for anything but arrays, plain containers and such objects, or swells; nothing of it was run.
        CheckpointError: empty, cut short or no pickle at all.
        InputCorrupt: a pointer in the place of the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputMissing("no such file", path=path)
    require_no_pointer(path)
    what, expected = "not a whole pickle file", "a .pkl of arrays"
    try:
        with open(path, "rb") as stream:
            if stream.read(2) == b"PK":
                what, expected = "not a whole torch archive", ARCHIVE
                return _read_archive(path, (*OBJECTS, *packages))
            stream.seek(0)
            content = _read(stream, (*OBJECTS, *packages))
        if isinstance(content, int) and content == _MAGIC:
            raise CheckpointError("a file of an old torch", expected=ARCHIVE, hint="load it, and save it again with torch 1.6 or later")
        return content
    except CheckpointError as error:
        raise type(error)(error.what, got=error.got, expected=error.expected, hint=error.hint, path=path) from None
    except DAMAGE as error:
        raise CheckpointError(what, got=described(path), expected=expected, path=path) from error


def described(path: Path) -> str:
    """Size and first bytes of a file, to tell what it is."""
    with open(path, "rb") as stream:
        start = stream.read(16)
    return f"{path.stat().st_size} bytes that begin with {start!r}" if start else "an empty file"


def _refused(what: str) -> UnsafePickle:
    return UnsafePickle("this pickle asks for more than arrays", got=what[:200], expected="numpy arrays and plain containers")


def _read(stream: BinaryIO, packages: tuple[str, ...] = (), known: Iterable[str] | None = None, storage: Callable | None = None) -> Any:
    """The object of the pickle at the stream's place; the stream is left at its end."""
    start = stream.tell()
    _look_through(_instructions(stream))
    size = stream.tell() - start
    stream.seek(start)
    try:
        item = _Reader(stream, packages, _KNOWN if known is None else known, storage).load()
    except (TypeError, AttributeError) as error:  # a call of what is no class, a state or items for what takes none
        raise _refused(str(error)) from None
    stream.seek(start + size)
    return _Values(SWELL * size + SLACK, storage).read(item)[0]


def _instructions(stream: BinaryIO) -> Iterator[tuple[pickletools.OpcodeInfo, int]]:
    """The instructions up to the end, with the number that some have; texts are passed over where they lie within the file."""
    start = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    stream.seek(start)
    name, number = "", 0
    while name != "STOP":
        info = pickletools.code2op[stream.read(1).decode("latin1")]
        name, form = info.name, info.arg.n if info.arg else 0
        if form == pickletools.UP_TO_NEWLINE:
            line = stream.readline() if name != "GLOBAL" else stream.readline() + stream.readline()
            number = int(line) if name in ("GET", "PUT") else 0
        else:
            raw = stream.read(_LENGTHS.get(form, form))
            number = int.from_bytes(raw, "little", signed=form == pickletools.TAKEN_FROM_ARGUMENT4)
        if form in _LENGTHS or name == "FRAME":
            if not 0 <= number <= end - stream.tell():
                raise pickle.UnpicklingError("longer than the file")
            stream.seek(0 if name == "FRAME" else number, io.SEEK_CUR)
        yield info, number


def _look_through(instructions: Iterable[tuple[pickletools.OpcodeInfo, int]]) -> None:
    """Refuse instructions that make objects in unusual ways, take much memory, or hash large tuples: the hash of deep ones is a crash."""
    stack: list[int] = []  # how many parts each item has where it is a tuple, else 1
    marks: list[int] = []
    memo: dict[int, int] = {}
    for steps, (info, number) in enumerate(instructions):
        name, before = info.name, info.stack_before
        if name in _REFUSED or steps > ITEMS or len(marks) > MARKS or ("PUT" in name and not 0 <= number <= steps):
            raise _refused(f"{name} {number} as instruction {steps}, {len(marks)} deep")
        if name == "MARK":
            marks.append(len(stack))
        elif name == "MEMOIZE" or "PUT" in name:
            memo[len(memo) if name == "MEMOIZE" else number] = stack[-1]
        elif name == "POP" and marks and marks[-1] == len(stack):
            marks.pop()
        else:
            start = marks.pop() - len(before) + 2 if pickletools.stackslice in before else len(stack) - len(before)
            if start < 0 or (name in _KEYS and max(stack[start:][_KEYS[name]], default=0) > KEY):
                raise _refused("a key that is neither text nor number")
            made = min(1 + sum(stack[start:]), KEY + 1) if "TUPLE" in name else memo[number] if "GET" in name else 1
            stack[start:] = [made] * len(info.stack_after)


class _Record:
    """What stands for an object while a pickle is read: its class's name, what it is made from, its pairs and its state."""

    __slots__ = ("arguments", "pairs", "state")
    kind: ClassVar[str] = ""

    def __new__(cls, *arguments: Any) -> _Record:
        if cls.kind in (*_CLASSES, *_STORAGES) or (arguments and cls.kind not in _MAKERS):
            raise _refused(f"a call of {cls.kind}")
        record = object.__new__(cls)
        record.arguments, record.pairs, record.state = arguments, [], None
        return record

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))

    def __setstate__(self, state: Any) -> None:
        if self.state is not None:
            raise _refused(f"a second state for {self.kind}")
        self.state = state


class _Reader(pickle.Unpickler):  # noqa: TID251
    """Python's own reader, for which every name is a new class of records, and nothing else can be called."""

    def __init__(self, stream: BinaryIO, packages: tuple[str, ...], known: Iterable[str], storage: Callable | None) -> None:
        super().__init__(stream, encoding="latin1")
        self.packages, self.known, self.storage = packages, known, storage
        self.kinds: dict[str, type[_Record]] = {}

    def find_class(self, module: str, name: str) -> type[_Record]:
        """A class of records for a name that may stand in a pickle.

        Raises:
            UnsafePickle: it may not.
        """
        kind = f"{_MODULES.get(module, module)}.{name}"
        inert = name.isidentifier() and any(f"{module}.".startswith(f"{package}.") for package in self.packages)
        if kind not in self.known and not inert:
            raise _refused(kind)
        return self._records(kind)

    def persistent_load(self, pid: Any) -> _Record:
        """A storage beside the pickle; nothing of it is read.

        Raises:
            UnsafePickle: none may be there.
        """
        if self.storage is None:
            raise _refused("something outside the file")
        return self._records("storage")(pid)

    def _records(self, kind: str) -> type[_Record]:
        if kind not in self.kinds:
            self.kinds[kind] = type("Record", (_Record,), {"__slots__": (), "kind": kind})
        return self.kinds[kind]


class _Values:
    """What the records of a pickle stand for: shared parts are worked out once, and counted as often as they are named."""

    def __init__(self, left: int, storage: Callable | None) -> None:
        self.left, self.storage = left, storage
        self.done: dict[int, tuple[Any, int]] = {}

    def pay(self, size: int) -> None:
        """Count bytes before they are taken."""
        self.left -= size
        if self.left < 0:
            raise _refused("arrays far larger than the file")

    def read(self, item: Any, depth: int = 0) -> tuple[Any, int]:
        """The value and how many items it holds."""
        if isinstance(item, type):
            return Unread(item.kind), 1
        if not isinstance(item, list | tuple | dict | set | frozenset | _Record):
            return item, 1
        if id(item) not in self.done:
            if depth > DEPTH:
                raise _refused(f"containers nested more than {DEPTH} deep, or in a circle")
            self.done[id(item)] = self._contents(item, depth + 1)
            if self.done[id(item)][1] > ITEMS:
                raise _refused(f"containers that swell beyond {ITEMS} items")
        return self.done[id(item)]

    def _contents(self, item: Any, depth: int) -> tuple[Any, int]:
        parts: Iterable = item
        if isinstance(item, dict):
            parts = [*item, *item.values()]
        elif isinstance(item, _Record):
            parts = [*item.arguments, item.pairs or item.state]
        found = [self.read(part, depth) for part in parts]
        values, size = [value for value, _ in found], 1 + sum(size for _, size in found)
        if isinstance(item, dict):
            return dict(zip(map(_key, values[: len(item)]), values[len(item) :], strict=True)), size
        if isinstance(item, _Record):
            return self._made(item.kind, values[:-1], values[-1]), size
        return type(item)(map(_key, values) if isinstance(item, set | frozenset) else values), size

    def _made(self, kind: str, arguments: list, state: Any) -> Any:
        if kind == "copyreg._reconstructor":  # with which protocols 0 and 1 write objects
            named, base, *rest = arguments
            if _named(base) != "builtins.object" or rest not in ([], [None]) or _named(named) in ("", *_KNOWN):
                raise _refused(f"an object of {_named(named)} made from {_named(base)}")
            kind = named.kind
        if kind in _MAKERS:
            return _MAKERS[kind](self, arguments, state)
        work_out = {"scipy": _sparse, "chumpy": _chumpy}.get(kind.partition(".")[0])
        value = work_out(self, kind.rpartition(".")[2], state) if work_out and isinstance(state, dict) else None
        return Unread(kind, state) if value is None else value

    def array(self, shape: Any, dtype: Any, order: Any, raw: Any) -> np.ndarray:
        """An array of its own memory, never larger than the bytes that are there."""
        shape = _whole(shape)
        size, data = math.prod(shape), raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(dtype, np.dtype) or not isinstance(data, list if dtype.kind == "O" else bytes | bytearray):
            raise pickle.UnpicklingError("an array without type or bytes")
        if len(data) != size * (1 if dtype.kind == "O" else dtype.itemsize):
            raise pickle.UnpicklingError("an array whose bytes do not fill its shape")
        self.pay(len(data))
        if dtype.kind == "O":
            return np.fromiter(data, dtype, size).reshape(shape, order=order)
        if not dtype.itemsize:
            return np.zeros(0 if size else shape, dtype)
        return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order="K")


def _named(item: Any) -> str:
    return item.kind if isinstance(item, Unread) else ""


def _key(key: Any) -> Any:
    """A key of a dict or a member of a set: text, number, or a flat tuple of them."""
    if not all(isinstance(member, _PLAIN) for member in (key if isinstance(key, tuple) else (key,))):
        raise _refused("a key that is neither text nor number")
    return key


def _whole(numbers: Any, least: int = 0) -> tuple[int, ...]:
    """A shape: few whole numbers."""
    numbers = np.atleast_1d(numbers).tolist() if isinstance(numbers, np.ndarray | np.integer | int) else numbers
    if not isinstance(numbers, tuple | list) or len(numbers) > 32:
        raise ValueError("a shape that is none")
    if not all(isinstance(number, int | np.integer) and number >= least for number in numbers):
        raise ValueError("a shape that is none")
    return tuple(map(int, numbers))


def _dtype(arguments: list, state: Any) -> np.dtype:
    """One of the plain types of numbers, with its byte order and nothing else of its state."""
    text, state = arguments[0], state if isinstance(state, tuple) else ()
    if not isinstance(text, str) or not _DTYPE.fullmatch(text) or any(part is not None for part in state[2:5]):
        raise _refused(f"an array of {text if isinstance(text, str) else 'no type'}, or of records")
    dtype = np.dtype("O" if text.endswith("O8") else text)
    return dtype.newbyteorder(state[1]) if state[1:2] in (("<",), (">",)) else dtype


def _reconstructed(values: _Values, arguments: list, state: Any) -> np.ndarray:
    if _named(arguments[0]) not in ("numpy.ndarray", "numpy.matrix"):
        raise _refused(f"an array of class {_named(arguments[0])}")
    shape, dtype, fortran, raw = state[-4:]
    return values.array(shape, dtype, "F" if fortran else "C", raw)


def _scalar(values: _Values, dtype: Any, raw: Any = b"") -> np.generic:
    value = values.array((1,), dtype, "C", raw)[0]
    if not isinstance(value, np.generic):
        raise _refused("an object as a number")
    return value


def _latin1(values: _Values, text: str, encoding: str) -> bytes:
    """`_codecs.encode`, with which old pickles write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("bytes in another encoding than latin1")
    values.pay(len(text))
    return text.encode("latin1")


def _chumpy(values: _Values, name: str, state: dict) -> np.ndarray | None:
    """The array of an object of chumpy that holds numbers, picks from another or shapes it anew."""
    inner, places = state.get("a"), state.get("idxs")
    if name == "Ch" and isinstance(state.get("x"), np.ndarray | np.generic | float | int):
        return np.asarray(state["x"])
    if name == "Reshape" and isinstance(inner, np.ndarray):
        return inner.reshape(_whole(state.get("newshape"), -1))
    if name != "Select" or not isinstance(inner, np.ndarray) or not isinstance(places, np.ndarray):
        return None
    values.pay(places.size * inner.itemsize)
    chosen, shape = inner.ravel()[places.astype(np.int64)], state.get("preferred_shape")
    return chosen if shape is None else chosen.reshape(_whole(shape, -1))


def _sparse(values: _Values, name: str, state: dict) -> np.ndarray | None:
    """A sparse matrix of scipy (csc, csr, coo) written out: entries of one place are added."""
    form, _, what = name.partition("_")
    if form not in ("csc", "csr", "coo") or what not in ("matrix", "array"):
        return None
    shape, data = _whole(state.get("_shape", state.get("shape"))), _line(state.get("data"))
    if form == "coo":
        rows, columns = (_line(place).astype(np.int64) for place in state.get("coords") or (state.get("row"), state.get("col")))
    else:
        starts, minor = (_line(state.get(key)).astype(np.int64) for key in ("indptr", "indices"))
        if len(starts) != shape[form == "csc"] + 1 or starts[0] != 0 or starts[-1] != len(minor):
            raise ValueError("a sparse matrix whose lines do not follow each other")
        major = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        rows, columns = (minor, major) if form == "csc" else (major, minor)
    values.pay(math.prod(shape) * data.itemsize)
    if len(shape) != 2 or not len(rows) == len(columns) == len(data) or min(rows.min(initial=0), columns.min(initial=0)) < 0:
        raise ValueError("a sparse matrix whose entries lie outside it")
    dense = np.zeros(shape, data.dtype)
    np.add.at(dense, (rows, columns), data)
    return dense


def _line(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "biuf":
        raise ValueError("a sparse matrix without its numbers")
    return value


def _read_archive(path: Path, packages: tuple[str, ...]) -> Any:
    """The object of an archive of torch, whose tensors stay there until they are asked for."""
    archive = zipfile.ZipFile(path)
    root = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "").removesuffix("data.pkl")
    if root + "byteorder" in archive.namelist() and _entry(archive, root + "byteorder", 16).strip() != b"little":
        raise CheckpointError("numbers of a big-endian machine", expected="little")

    def numbers(key: str, kind: np.dtype, count: int) -> np.ndarray:
        return _numbers(_entry(archive, f"{root}data/{key}", count * kind.itemsize), kind, count)

    return _read(io.BytesIO(_entry(archive, root + "data.pkl", 1 << 30)), packages, None, lambda pid: partial(numbers, *_storage(pid)))


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The bytes of an entry, which torch never compresses."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > most:
        raise ValueError(f"{name}: {entry.file_size} bytes")
    return archive.read(entry)


def _storage(pid: Any) -> tuple[str, np.dtype, int]:
    """Name, type and length of a storage that a pickle of torch refers to."""
    kind, key, count = _named(pid[1]), pid[2], pid[4]
    if pid[0] != "storage" or kind not in _STORAGES or not isinstance(key, str) or not key.isdecimal() or type(count) is not int:
        raise pickle.UnpicklingError("a reference to something that is no storage")
    return key, np.dtype(_STORAGES[kind]), count


def _numbers(data: bytes | memoryview, kind: np.dtype, count: int) -> np.ndarray:
    if len(data) != count * kind.itemsize:
        raise ValueError(f"{len(data)} bytes for {count} numbers")
    return np.frombuffer(data, kind)


def _pickled_storage(raw: bytes) -> np.ndarray:
    """The numbers of a storage in a plain pickle, which torch writes as it wrote files before 1.6: five pickles and the numbers."""
    stream = io.BytesIO(raw)
    magic, _, machine = (_read(stream) for _ in range(3))
    (key, kind, count), keys = _read(stream, known=_STORAGES, storage=_storage), _read(stream)
    if magic != _MAGIC or not machine["little_endian"] or keys != [key] or int.from_bytes(stream.read(8), "little") != count:
        raise ValueError("no storage of torch")
    return _numbers(memoryview(raw)[stream.tell() :], kind, count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    if not isinstance(storage, partial):
        raise pickle.UnpicklingError("a tensor without its storage")
    return Tensor(storage, _whole(offset)[0], _whole(shape), _whole(strides))


# What a pickle may call, and what that makes of arguments and state.
_MAKERS: dict[str, Callable[[_Values, list, Any], Any]] = {
    "numpy._core.multiarray._reconstruct": _reconstructed,
    "numpy._core.multiarray.scalar": lambda values, arguments, _: _scalar(values, *arguments),
    "numpy._core.numeric._frombuffer": lambda values, given, _: values.array(given[2], given[1], given[3], given[0]),
    "numpy.dtype": lambda _, arguments, state: _dtype(arguments, state),
    "collections.OrderedDict": lambda _, given, pairs: {_key(key): value for key, value in [*(given or [()])[0], *(pairs or ())]},
    "builtins.set": lambda _, arguments, __: set(map(_key, *(arguments or [()]))),
    "builtins.frozenset": lambda _, arguments, __: frozenset(map(_key, *(arguments or [()]))),
    "_codecs.encode": lambda values, arguments, _: _latin1(values, *arguments),
    "copyreg._reconstructor": lambda *_: None,
    "torch.Size": lambda _, arguments, __: _whole(*arguments),
    "torch._utils._rebuild_tensor": lambda _, arguments, __: _tensor(*arguments[:4]),
    "torch._utils._rebuild_tensor_v2": lambda _, arguments, __: _tensor(*arguments[:4]),
    "torch.storage._load_from_bytes": lambda _, arguments, __: partial(_pickled_storage, *arguments),
    "storage": lambda values, arguments, _: values.storage(*arguments),
}
_KNOWN = {*_MAKERS, *_CLASSES, *_STORAGES}
