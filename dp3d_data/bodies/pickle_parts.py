"""What a pickle may be made of: names that stand for nothing but themselves, and numpy arrays built from checked parts."""

from __future__ import annotations

import collections
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dp3d_data.errors import UnsafePickle

PLAIN_KEYS = (str, int, float, bytes, bool, complex, type(None), np.generic)
_DTYPE = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248]|c8|c16|S\d{1,6}|U\d{1,6}|O8?)")


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle names; it cannot be called."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Recorded:
    """An object of a pickle: its class, what it was made from, its state, and its value once that is known."""

    kind: Name
    arguments: tuple = ()
    state: Any = None
    value: Any = None


def refused(what: str) -> UnsafePickle:
    """The error for a pickle that wants more than data."""
    return UnsafePickle("this pickle asks for more than arrays", got=what, expected="numpy arrays and plain containers")


def shown(item: Any) -> str:
    """A name, or the type of anything else: never its content, which may be endless."""
    return str(item) if isinstance(item, Name) else type(item).__name__


def known_name(module: str, name: str) -> Name:
    """The name, under its module of today.

    Raises:
        UnsafePickle: neither in the table of what may be called nor an object of chumpy or scipy.sparse.
    """
    module = _MODULES.get(module, module)
    if not isinstance(name, str) or not name.isidentifier():
        raise refused(f"{module}.{name}")
    inert = module.partition(".")[0] == "chumpy" or module.startswith("scipy.sparse.") or module == "scipy.sparse"
    if (module, name) not in CALLS and (module, name) not in _CLASSES and not inert:
        raise refused(f"{module}.{name}")
    return Name(module, name)


def plain_key(key: Any) -> Any:
    """A key of a dict or a member of a set: a string, number, or flat tuple of them.

    Raises:
        UnsafePickle: anything that takes long to hash or is no data.
    """
    members = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(member, PLAIN_KEYS) for member in members):
        raise refused("a key that is neither text nor number")
    return key


def build(item: Any, state: Any) -> None:
    """Give a recorded object its state; an array is made at once.

    Raises:
        UnsafePickle: state for something that takes none, or twice.
        UnpicklingError: the parts make no array.
    """
    if isinstance(item, collections.OrderedDict):
        return
    if not isinstance(item, Recorded) or item.state is not None or item.value is not None:
        raise refused(f"a state for {type(item).__name__}")
    item.state = state
    if item.kind == _NDARRAY:
        item.value, item.state = _array(*_array_parts(state)), ()


def _array_parts(state: Any) -> tuple[Any, Any, Any, Any]:
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise pickle.UnpicklingError("an array without shape, type and bytes")
    shape, kind, fortran, raw = state[-4:]
    return shape, kind, "F" if fortran else "C", raw


def _array(shape: Any, kind: Any, order: Any, raw: Any) -> np.ndarray:
    """An array of its own memory, never larger than the bytes that are there."""
    dtype = _real_dtype(kind)
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
        raise pickle.UnpicklingError("an array without a shape")
    size = math.prod(shape)
    if dtype.kind == "O":
        if not isinstance(raw, list) or len(raw) != size:
            raise pickle.UnpicklingError("an array of objects of another length")
        return objects(raw).reshape(shape, order=_order(order))
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(data, bytes | bytearray) or len(data) != size * dtype.itemsize:
        raise pickle.UnpicklingError("an array whose bytes do not fill its shape")
    if not dtype.itemsize:
        return np.zeros(0 if size else shape, dtype=dtype)
    return np.frombuffer(data, dtype=dtype).reshape(shape, order=_order(order)).copy(order="K")


def objects(values: list) -> np.ndarray:
    """An array of objects, [n], whatever they are."""
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def _order(order: Any) -> Literal["C", "F"]:
    if not isinstance(order, str) or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array in an unknown order")
    return "F" if order == "F" else "C"


def _real_dtype(kind: Any) -> np.dtype:
    """The number type that a record describes: of the plain ones, with its byte order and nothing else of its state."""
    if not isinstance(kind, Recorded) or kind.kind != _DTYPE_CLASS:
        raise pickle.UnpicklingError("a type that is none")
    text = kind.arguments[0] if kind.arguments else None
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise refused(f"an array of {text:.40}" if isinstance(text, str) else "an array of no type")
    dtype = np.dtype("O" if text.endswith("O8") else text)
    state = kind.state if isinstance(kind.state, tuple) else ()
    if any(part is not None for part in state[2:5]):
        raise refused("an array of records")
    order = state[1] if len(state) > 1 else "="
    return dtype.newbyteorder(order) if order in ("<", ">") else dtype


def _reconstruct(kind: Any, *_: Any) -> Recorded:
    if kind not in (_NDARRAY, Name("numpy", "matrix")):
        raise refused(f"an array of class {shown(kind)}")
    return Recorded(_NDARRAY)


def _scalar(kind: Any, raw: Any = b"") -> Any:
    value = _array((1,), kind, "C", raw)[0]
    if not isinstance(value, np.generic):
        raise refused("an object as a number")
    return value


def _object(kind: Any, base: Any, state: Any = None) -> Recorded:
    """`copyreg._reconstructor`, with which protocols 0 and 1 write objects."""
    if base != Name("builtins", "object") or state is not None:
        raise refused(f"an object made from {shown(base)}")
    return new_object(kind)


def new_object(kind: Any, *_: Any) -> Recorded:
    """An object without its class: chumpy's and scipy's, whose state follows.

    Raises:
        UnsafePickle: a class that is to be called, or none at all.
    """
    if not isinstance(kind, Name) or kind.module.partition(".")[0] not in ("chumpy", "scipy"):
        raise refused(f"an object of {shown(kind)}")
    return Recorded(kind)


def _ordered(pairs: Any = ()) -> collections.OrderedDict:
    return collections.OrderedDict((plain_key(key), value) for key, value in pairs)


def _members(values: Any = ()) -> set:
    return {plain_key(value) for value in values}


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, with which old pickles write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in another encoding than latin1")
    return text.encode("latin1")


_NDARRAY, _DTYPE_CLASS = Name("numpy", "ndarray"), Name("numpy", "dtype")
_CLASSES = {("numpy", "ndarray"), ("numpy", "matrix"), ("builtins", "object")}
_MODULES = {
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "numpy.matrixlib.defmatrix": "numpy",
    "copy_reg": "copyreg",
    "__builtin__": "builtins",
}
# What a pickle may call, and what happens then.
CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): lambda raw, kind, shape, order: _array(shape, kind, order, raw),
    ("numpy", "dtype"): lambda *arguments: Recorded(_DTYPE_CLASS, arguments),
    ("copyreg", "_reconstructor"): _object,
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _members,
    ("builtins", "frozenset"): lambda values=(): frozenset(_members(values)),
    ("_codecs", "encode"): _latin1_bytes,
}
