"""The restricted unpickler: imports nothing, calls only its own table, and allocates no more than the file holds."""

from __future__ import annotations

import mmap
import pickle
from typing import Any, BinaryIO

import numpy as np

from dp3d_data.bodies.pickle_parts import CALLS, Name, Recorded, build, known_name, new_object, plain_key, refused, shown

# The library's own reader in Python: each instruction is a method that can be replaced, and damage cannot crash it.
_Reader: Any = pickle._Unpickler  # type: ignore[attr-defined]

# Bytes of arrays per byte of the file, and bytes more: one text may serve many arrays of a hostile pickle, but not endlessly.
SWELL, SLACK = 16, 1 << 24


class ArraysOnly(_Reader):
    """Reads numbers, text, plain containers and arrays; objects of chumpy and scipy.sparse become records."""

    dispatch = dict(_Reader.dispatch)

    def __init__(self, stream: BinaryIO | mmap.mmap) -> None:
        # Mapped, not read: whatever length a damaged pickle states, no more is given than there is.
        mapped = stream if isinstance(stream, mmap.mmap) else mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        super().__init__(mapped, encoding="latin1")
        self.allowance = SWELL * len(mapped) + SLACK

    def find_class(self, module: str, name: str) -> Name:
        """The name itself, where it may stand in a pickle.

        Raises:
            UnsafePickle: it may not.
        """
        return known_name(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Refused: storages outside the pickle."""
        raise pickle.UnpicklingError("a reference to something outside the file")

    def run_reduce(self) -> None:
        """A call: only of the table's."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise refused(f"a call of {shown(function)}")
        call = CALLS.get((function.module, function.name))
        if call is None:
            raise refused(f"a call of {function}")
        self.stack.append(self.paid(call(*arguments)))

    def paid(self, item: Any) -> Any:
        """Count what an array takes."""
        value = item.value if isinstance(item, Recorded) else item
        if isinstance(value, np.ndarray):
            self.allowance -= value.nbytes
        if self.allowance < 0:
            raise refused("arrays far larger than the file")
        return item

    def run_new_object(self) -> None:
        """An object of protocol 2: recorded, not made."""
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or arguments:
            raise refused(f"an object of {shown(kind)} with arguments")
        self.stack.append(new_object(kind))

    def run_build(self) -> None:
        """A state: only for records."""
        state = self.stack.pop()
        build(self.stack[-1], state)
        self.paid(self.stack[-1])

    def run_setitem(self) -> None:
        """One pair into a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self.fill(self.stack[-1], [key, value])

    def run_setitems(self) -> None:
        """Pairs into a dict."""
        items = self.pop_mark()
        self.fill(self.stack[-1], items)

    def run_dict(self) -> None:
        """A dict of the pairs since the mark."""
        items = self.pop_mark()
        self.stack.append(self.fill({}, items))

    def fill(self, target: Any, items: list) -> Any:
        """Put keys and values, one after the other, into a dict."""
        if not isinstance(target, dict) or len(items) % 2:
            raise pickle.UnpicklingError("pairs for something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value
        return target

    def run_append(self) -> None:
        """One item onto a list."""
        value = self.stack.pop()
        self.extend(self.stack[-1], [value])

    def run_appends(self) -> None:
        """Items onto a list."""
        items = self.pop_mark()
        self.extend(self.stack[-1], items)

    def extend(self, target: Any, items: list) -> None:
        """Lengthen a list."""
        if type(target) is not list:
            raise pickle.UnpicklingError("items for something that is no list")
        target.extend(items)

    def run_additems(self) -> None:
        """Members into a set."""
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise pickle.UnpicklingError("members for something that is no set")
        self.stack[-1].update(plain_key(item) for item in items)

    def run_frozenset(self) -> None:
        """A frozen set of the members since the mark."""
        items = self.pop_mark()
        self.stack.append(frozenset(plain_key(item) for item in items))

    def run_bytearray(self) -> None:
        """Bytes, as many as there are."""
        self.stack.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def run_refused(self) -> None:
        """Instructions that make objects in older or unusual ways."""
        raise refused("an instruction that makes an object")


for _code, _method in {
    pickle.REDUCE: ArraysOnly.run_reduce,
    pickle.NEWOBJ: ArraysOnly.run_new_object,
    pickle.BUILD: ArraysOnly.run_build,
    pickle.SETITEM: ArraysOnly.run_setitem,
    pickle.SETITEMS: ArraysOnly.run_setitems,
    pickle.DICT: ArraysOnly.run_dict,
    pickle.APPEND: ArraysOnly.run_append,
    pickle.APPENDS: ArraysOnly.run_appends,
    pickle.ADDITEMS: ArraysOnly.run_additems,
    pickle.FROZENSET: ArraysOnly.run_frozenset,
    pickle.BYTEARRAY8: ArraysOnly.run_bytearray,
    **dict.fromkeys(
        (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4),
        ArraysOnly.run_refused,
    ),
}.items():
    ArraysOnly.dispatch[_code[0]] = _method
