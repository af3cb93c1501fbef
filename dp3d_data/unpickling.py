"""Pickles of others read without running them: instructions are looked through, objects are records, then arrays."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from dp3d_data.errors import CheckpointError, UnsafePickle
from dp3d_data.files import require_no_pointer
from dp3d_data.limits import DAMAGE, described

ARCHIVE = "an archive that torch.save of version 1.6 or later wrote"
# Instructions and items of a pickle, depth of its containers, open marks, parts of a key.
ITEMS, DEPTH, MARKS, KEY = 20_000_000, 64, 1000, 64
# Bytes of arrays for each byte of the file, and bytes more; containers and places of the memo, and bytes of the file
# for each one more.
SWELL, SLACK, MADE, BYTES = 16, 1 << 24, 1_000_000, 16
_CODES = {info.code: info for info in pickletools.opcodes}
_REFUSED = {"DUP", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID"}
_MAKES = {
    "EMPTY_LIST", "LIST", "EMPTY_DICT", "DICT", "EMPTY_SET", "FROZENSET", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "REDUCE", "NEWOBJ", "BINPERSID", "BYTEARRAY8", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE",
}  # fmt: skip
_LENGTHS = {-2: 1, -3: 4, -4: 4, -5: 8}  # pickletools' signs for a length before the content, and the bytes it takes
_EVERY, _REST, _SECOND = slice(None), slice(1, None), slice(1, None, 2)
_KEYS = {"SETITEM": _SECOND, "SETITEMS": _SECOND, "DICT": slice(None, None, 2), "ADDITEMS": _REST, "FROZENSET": _EVERY}
_MODULES = {
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "numpy.matrixlib.defmatrix": "numpy",
    "copy_reg": "copyreg",
    "__builtin__": "builtins",
}
_TYPES = dict(
    Float="<f4", Double="<f8", Half="<f2", Long="<i8", Int="<i4", Short="<i2", Char="<i1", Byte="<u1", Bool="|b1"
)
_STORAGES = {f"torch.{name}Storage": kind for name, kind in _TYPES.items()}
_CLASSES = {"numpy.ndarray", "numpy.matrix", "builtins.object", *_STORAGES}
_DTYPE = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248]|c8|c16|S\d{1,6}|U\d{1,6}|O8?)")
_PLAIN = (str, int, float, bytes, bool, complex, type(None), np.generic)
_MAGIC = 0x1950A86A20F9469CFC6C  # with which files of torch before 1.6 begin, and its storages in plain pickles


@dataclass(frozen=True, eq=False)
class Unread:
    """A class that a pickle names, or an object of it with its state, that stands for no array."""

    kind: str
    state: Any = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of torch; the bytes of its storage, their type and number are read when they are asked for."""

    storage: Callable[[], tuple[bytes | memoryview, np.dtype, int]]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The numbers, not to be written to.

        Raises:
            CheckpointError: they are not all there, or outside their storage.
        """
        try:
            data, kind, count = self.storage()
            size = kind.itemsize
            if len(data) != count * size or math.prod(self.shape) > count:
                raise ValueError(f"{len(data)} bytes, expected {count} numbers for the shape {self.shape}")
            return np.ndarray(self.shape, kind, data, self.offset * size, [step * size for step in self.strides])
        except DAMAGE as error:
            got, hint = str(error)[:120], "fetch or make the file again"
            raise CheckpointError("a tensor that is not all there", got=got, hint=hint) from error


def read_pickle(path: str | Path, packages: tuple[str, ...] = ()) -> Any:
    """The first object of a pickle file, text of Python 2 read as latin-1; or that of an archive of torch.save.

    Objects of chumpy (Ch, Select, Reshape) and scipy.sparse become dense arrays, torch's tensors `Tensor`; other
    objects of these packages `Unread`.

    Args:
        packages: whose objects may stand in it, too.

    Raises:
        InputMissing: no such file.
        UnsafePickle: it asks for anything but arrays, plain containers and such objects, or swells; nothing of it was
            run.
        CheckpointError: empty, cut short or no pickle at all.
        InputCorrupt: a pointer in the place of the file.
    """
    path = Path(path)
    require_no_pointer(path, "file")
    packages = ("chumpy", "scipy.sparse", *packages)
    what, expected = "not a whole pickle file", "a .pkl of arrays"
    try:
        with open(path, "rb") as stream:
            if stream.read(2) == b"PK":
                what, expected = "not a whole torch archive", ARCHIVE
                return _read_archive(path, packages)
            stream.seek(0)
            content = _read(stream, packages)
        if isinstance(content, int) and content == _MAGIC:
            hint = "load it, and save it again with torch 1.6 or later"
            raise CheckpointError("a file of an old torch", expected=ARCHIVE, hint=hint)
        return content
    except CheckpointError as error:
        raise type(error)(error.what, got=error.got, expected=error.expected, hint=error.hint, path=path) from None
    except DAMAGE as error:
        raise CheckpointError(what, got=described(path), expected=expected, path=path) from error


def _read(
    stream: BinaryIO, packages: tuple[str, ...] = (), known: Collection[str] = (), storage: Callable | None = None
) -> Any:
    """The object of the pickle at the stream's place; the stream is left at its end."""
    start = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    stream.seek(start)
    _look_through(_instructions(stream, end), MADE + (end - start) // BYTES)
    size = stream.tell() - start
    stream.seek(start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in a damaged text
            item = _Reader(stream, packages, known or _KNOWN, storage).load()
    except (TypeError, AttributeError) as error:  # a call of what is no class, a state or items for what takes none
        raise refused(str(error)) from None
    stream.seek(start + size)
    return _Values(SWELL * size + SLACK, storage).read(item)[0]


def _instructions(stream: BinaryIO, end: int) -> Iterator[tuple[pickletools.OpcodeInfo, int]]:
    """The instructions up to the end, with the number that some have; texts within the file are passed over."""
    name, number = "", 0
    while name != "STOP":
        info = _CODES[stream.read(1).decode("latin1")]
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


def _look_through(instructions: Iterable[tuple[pickletools.OpcodeInfo, int]], most: int) -> None:
    """Refuse instructions that make objects in unusual ways, take much memory, or hash tuples: of deep ones a crash."""
    stack: list[int] = []  # how many parts each item has where it is a tuple, else 1
    marks: list[int] = []
    memo: dict[int, int] = {}
    for steps, (info, number) in enumerate(instructions):
        name, before = info.name, info.stack_before
        most -= name in _MAKES
        misplaced = "PUT" in name and not 0 <= number <= steps
        if name in _REFUSED or misplaced or min(most, ITEMS - steps, MARKS - len(marks)) < 0:
            raise refused(f"{name} {number} as instruction {steps}, {len(marks)} deep")
        if name == "MARK":
            marks.append(len(stack))
        elif name == "MEMOIZE" or "PUT" in name:
            memo[len(memo) if name == "MEMOIZE" else number] = stack[-1]
        elif name == "POP" and marks and marks[-1] == len(stack):
            marks.pop()
        else:
            start = marks.pop() - len(before) + 2 if pickletools.stackslice in before else len(stack) - len(before)
            if name in _KEYS and max(stack[start:][_KEYS[name]], default=0) > KEY:
                raise refused("a key that is neither text nor number")
            made = min(1 + sum(stack[start:]), KEY + 1) if "TUPLE" in name else memo[number] if "GET" in name else 1
            stack[start:] = [made] * len(info.stack_after)


class _Record:
    """An object while a pickle is read: its class's name, what it is made from, its pairs and its state."""

    __slots__ = ("arguments", "pairs", "state")
    kind: ClassVar[str] = ""
    arguments: tuple
    pairs: list[tuple[Any, Any]]
    state: Any

    def __new__(cls, *arguments: Any) -> _Record:
        if cls.kind in _CLASSES or (arguments and cls.kind not in _MAKERS):
            raise refused(f"a call of {cls.kind}")
        record = object.__new__(cls)
        record.arguments, record.pairs, record.state = arguments, [], None
        return record

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))

    def __setstate__(self, state: Any) -> None:
        if self.state is not None:
            raise refused(f"a second state for {self.kind}")
        self.state = state


class _Reader(pickle.Unpickler):  # noqa: TID251
    """Python's own reader, for which every name is a new class of records, and nothing else can be called."""

    def __init__(
        self, stream: BinaryIO, packages: tuple[str, ...], known: Collection[str], storage: Callable | None
    ) -> None:
        super().__init__(stream, encoding="latin1")
        self.packages, self.known, self.storage = packages, known, storage
        self.records = cache(lambda kind: type("Record", (_Record,), {"__slots__": (), "kind": kind}))

    def find_class(self, module: str, name: str) -> type[_Record]:
        """A class of records for a name that may stand in a pickle."""
        kind = f"{_MODULES.get(module, module)}.{name}"
        inert = name.isidentifier() and any(f"{module}.".startswith(f"{package}.") for package in self.packages)
        if kind not in self.known and not inert:
            raise refused(kind)
        return self.records(kind)

    def persistent_load(self, pid: Any) -> _Record:
        """A storage beside the pickle, where one may be; nothing of it is read."""
        if self.storage is None:
            raise refused("something outside the file")
        return self.records("storage")(pid)


class _Values:
    """What records stand for: shared parts are worked out once, and counted as often as they are named."""

    def __init__(self, left: int, storage: Callable | None) -> None:
        self.left, self.storage = left, storage
        self.done: dict[int, tuple[Any, int]] = {}

    def pay(self, size: int) -> None:
        """Count bytes before they are taken."""
        self.left -= size
        if self.left < 0:
            raise refused("arrays far larger than the file")

    def read(self, item: Any, depth: int = 0) -> tuple[Any, int]:
        """The value and how many items it holds."""
        if isinstance(item, type) and issubclass(item, _Record):
            return Unread(item.kind), 1
        if not isinstance(item, list | tuple | dict | set | frozenset | _Record):
            return item, 1
        if id(item) not in self.done:
            if depth > DEPTH:
                raise refused(f"containers nested more than {DEPTH} deep, or in a circle")
            parts = [*item.arguments, item.pairs or item.state] if isinstance(item, _Record) else [*item]
            parts += item.values() if isinstance(item, dict) else ()
            found = [self.read(part, depth + 1) for part in parts]
            size = 1 + sum(size for _, size in found)
            if size > ITEMS:
                raise refused(f"containers that swell beyond {ITEMS} items")
            self.done[id(item)] = self._made(item, [value for value, _ in found]), size
        return self.done[id(item)]

    def _made(self, item: Any, values: list) -> Any:
        if isinstance(item, dict):
            return dict(zip(map(plain_key, values[: len(item)]), values[len(item) :], strict=True))
        if not isinstance(item, _Record):
            return type(item)(map(plain_key, values) if isinstance(item, set | frozenset) else values)
        kind, given, state = item.kind, values[:-1], values[-1]
        if kind == "copyreg._reconstructor":  # with which protocols 0 and 1 write objects
            kind, base = (one.kind if isinstance(one, Unread) else "" for one in given[:2])
            if base != "builtins.object" or given[2:] not in ([], [None]) or kind in ("", *_KNOWN):
                raise refused(f"an object of {kind} made from {base}")
        if kind in _MAKERS:
            return _MAKERS[kind](self, given, state)
        made = {"chumpy": _chumpy, "scipy": _sparse}.get(kind.partition(".")[0])
        value = made(kind.rpartition(".")[2], state, self.pay) if made and isinstance(state, dict) else None
        return Unread(kind, state) if value is None else value

    def array(self, shape: Any, dtype: Any, order: Any, raw: Any) -> np.ndarray:
        """An array of its own memory, never larger than the bytes that are there."""
        shape = whole_numbers(shape)
        size, data = math.prod(shape), raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(dtype, np.dtype) or not isinstance(data, list if dtype.kind == "O" else bytes | bytearray):
            raise pickle.UnpicklingError("an array without type or bytes")
        if len(data) != size * (1 if dtype.kind == "O" else dtype.itemsize):
            raise pickle.UnpicklingError("an array whose bytes do not fill its shape")
        self.pay(len(data))
        if isinstance(data, list):
            return np.fromiter(data, dtype, size).reshape(shape, order=order)
        if not dtype.itemsize:
            return np.zeros(0 if size else shape, dtype)
        return np.frombuffer(data, dtype).reshape(shape, order=order).copy(order="K")

    def latin1(self, text: str, encoding: str) -> bytes:
        """`_codecs.encode`, with which old pickles write bytes."""
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("bytes in another encoding than latin1")
        self.pay(len(text))
        return text.encode("latin1")


def _read_archive(path: Path, packages: tuple[str, ...]) -> Any:
    """The object of an archive of torch, whose tensors stay there, never compressed, until they are asked for."""
    archive = zipfile.ZipFile(path)
    root = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "").removesuffix("data.pkl")

    def entry(name: str, most: int) -> bytes:
        info = archive.getinfo(root + name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
            raise ValueError(f"{name}: {info.file_size} bytes")
        return archive.read(info)

    def storage(pid: Any) -> Callable:
        key, kind, count = _storage(pid)
        return lambda: (entry(f"data/{key}", count * kind.itemsize), kind, count)

    if root + "byteorder" in archive.namelist() and entry("byteorder", 16).strip() != b"little":
        raise CheckpointError("numbers of a big-endian machine", expected="little")
    return _read(io.BytesIO(entry("data.pkl", 1 << 30)), packages, storage=storage)


def _pickled_storage(raw: bytes) -> tuple[memoryview, np.dtype, int]:
    """A storage in a plain pickle, as torch wrote files before 1.6: five pickles, a length and the numbers."""
    stream = io.BytesIO(raw)
    magic, _, machine = (_read(stream) for _ in range(3))
    (key, kind, count), keys = _read(stream, known=_STORAGES, storage=_storage), _read(stream)
    ours = magic == _MAGIC and machine["little_endian"] and keys == [key]
    if not ours or int.from_bytes(stream.read(8), "little") != count:
        raise ValueError("no storage of torch")
    return memoryview(raw)[stream.tell() :], kind, count


def _storage(pid: Any) -> tuple[str, np.dtype, int]:
    """Name, type and length of a storage that a pickle of torch refers to."""
    word, kind, key, _, count = pid[:5]
    known = word == "storage" and isinstance(kind, Unread) and type(count) is int
    if not known or not isinstance(key, str) or not key.isdecimal():
        raise pickle.UnpicklingError("a reference to something that is no storage")
    return key, np.dtype(_STORAGES[kind.kind]), count


def _tensor(_: _Values, given: list, __: Any) -> Tensor:
    (offset,) = whole_numbers(given[1])
    return Tensor(given[0], offset, whole_numbers(given[2]), whole_numbers(given[3]))


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


# What a pickle may call, and what that makes of the arguments given and the state.
_MAKERS: dict[str, Callable[[_Values, list, Any], Any]] = {
    "numpy._core.multiarray._reconstruct": lambda values, _, state: values.array(
        state[-4], state[-3], "CF"[bool(state[-2])], state[-1]
    ),
    "numpy._core.multiarray.scalar": lambda values, given, _: values.array((1,), given[0], "C", given[1])[0],
    "numpy._core.numeric._frombuffer": lambda values, given, _: values.array(given[2], given[1], given[3], given[0]),
    "numpy.dtype": lambda _, given, state: number_type(given[0], state if isinstance(state, tuple) else ()),
    "collections.OrderedDict": lambda _, given, pairs: {
        plain_key(key): value for key, value in [*(given or [()])[0], *(pairs or ())]
    },
    "builtins.set": lambda _, given, __: set(map(plain_key, *(given or [()]))),
    "builtins.frozenset": lambda _, given, __: frozenset(map(plain_key, *(given or [()]))),
    "_codecs.encode": lambda values, given, _: values.latin1(*given),
    "copyreg._reconstructor": lambda *_: None,
    "torch.Size": lambda _, given, __: whole_numbers(*given),
    "torch._utils._rebuild_parameter": lambda _, given, __: given[0],
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": lambda _, given, __: partial(_pickled_storage, *given),
    # The reader makes this record only where there is a storage.
    "storage": lambda values, given, _: values.storage(*given),  # type: ignore[misc]
}
_KNOWN = {*_MAKERS, *_CLASSES}
