"""Pickles that mean harm: nothing of them runs, nothing swells, nothing hangs; and any damaged byte is read or told."""

import io
import os
import pickle
import resource
import struct
import subprocess
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp3d_data import unpickling
from dp3d_data.errors import CheckpointError, UnsafePickle
from dp3d_data.unpickling import read_pickle
from tests.data.bodies.body_arrays import random_model
from tests.data.bodies.body_pickles import OldPickler, old_pickle, published

MODEL = published(random_model(joints=3, betas=1, divisions=0))
PICKLES = [old_pickle(MODEL, protocol) for protocol in (0, 1, 2)]
PICKLES.append(
    pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": [1, {"c": (2.5, "d", {3})}], "e": np.float32(2)}, protocol=5)
)


class Call:
    """Unpickles, in a trusting reader, to the result of a call."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def read(raw, folder):
    path = folder / "model.pkl"
    path.write_bytes(raw)
    return read_pickle(path)


TEXTS = {
    "os.system": b"cos\nsystem\n(S'true'\ntR.",
    "posix.system": b"cposix\nsystem\n(S'true'\ntR.",
    "eval": b"c__builtin__\neval\n(S'1'\ntR.",
    "getattr": b"c__builtin__\ngetattr\n(c__builtin__\nset\nS'pop'\ntR.",
    "import": b"cbuiltins\n__import__\n(S'os'\ntR.",
    "instance": b"(S'true'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'true'\no.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0ef2py.os.system\x93.",
    "dotted chumpy": b"\x80\x04\x8c\x09chumpy.ch\x8c\x09os.system\x93.",
    "sparse that is a module": b"cscipy.sparse\nsys.modules\n.",
    "chumpy called": b"cchumpy.ch\nCh\n(S'true'\ntR.",
    "array class called": b"cnumpy\nndarray\n((L100000000000L\nttR.",
    "a number called": b"I1\n(tR.",
    "a list called": b"](tR.",
    "state for a function": b"cnumpy\ndtype\n(}S'__code__'\nI1\nstb.",
    "state for a class": b"cnumpy\nndarray\n}S'__class__'\nI1\nsb.",
    "state twice": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR}b}b.",
    "object of object": b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.",
    "object with a base": b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nset\n(tRtR.",
    "new object with arguments": b"\x80\x02cchumpy.ch\nCh\nI1\n\x85\x81.",
    "new object of numpy": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "extension": b"\x80\x02\x82\x01.",
    "a doubled item": b"\x80\x02]2a.",
    "new object with named arguments": b"\x80\x04cchumpy.ch\nCh\n)}\x92.",
    "a buffer beside the file": b"\x80\x05\x97\x98.",
    "a reference beside the file": b"Pname\n.",
    "a reference of today beside the file": b"\x80\x02U\x04nameQ.",
    "a storage in a model": b"\x80\x02(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\1tQ.",
    "torch's reader": b"ctorch\nload\n(S'model.pkl'\ntR.",
    "a storage called": b"ctorch\nFloatStorage\n(I1\ntR.",
    "numpy's reader": b"cnumpy\nload\n(S'model.pkl'\nI1\ntR.",
    "an object of a dump": b"\x80\x02cdensepose.data.structures\nDensePoseResult\n)\x81}b.",
    "state for a list": b"]}S'a'\nI1\nsb.",
    "state for a dict": b"}}S'a'\nI1\nsb.",
    "slots for a list": b"\x80\x02]N}U\x01aK\1s\x86b.",
    "state for a class of records": b"cchumpy.ch\nCh\n}S'__setstate__'\nI1\nsb.",
    "slots for a class of records": b"\x80\x02cchumpy.ch\nCh\nN}U\x04kindU\x01as\x86b.",
    "pairs for a class": b"cchumpy.ch\nCh\nI1\nI1\ns.",
    "items for an object": b"\x80\x02cchumpy.ch\nCh\n)\x81K\1a.",
    "members for an object": b"\x80\x04cchumpy.ch\nCh\n)\x81(K\1\x90.",
    "an object called": b"\x80\x02cchumpy.ch\nCh\n)\x81)R.",
    "an object as a key": b"\x80\x02}cchumpy.ch\nCh\n)\x81K\1s.",
    "an object as a member": b"\x80\x04\x8f(cchumpy.ch\nCh\n)\x81\x90.",
    "a large tuple as a key": b"\x80\x02}(" + b"K\1" * 99 + b"tNs.",
    "a far place of the memo": b"\x80\x02Nr\x00\x00\x00\x01.",
    "a place before the memo": b"Np-1\n.",
}


@pytest.mark.parametrize("name", TEXTS)
def test_pickles_that_ask_for_more_are_refused_and_nothing_runs(tmp_path, monkeypatch, name):
    called = []
    monkeypatch.setattr(os, "system", called.append)
    with pytest.raises(UnsafePickle, match=r"model.pkl: this pickle asks for more than arrays\n  got: "):
        read(TEXTS[name], tmp_path)
    assert called == []


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ["touch TRACE"]),
        (os.mkdir, ["TRACE"]),
        (eval, ["open('TRACE', 'w')"]),
        (subprocess.Popen, [["touch", "TRACE"]]),
        (getattr, ["", "join"]),
        (np.fromfile, ["TRACE"]),
        (np.ndarray, [(10**11,)]),
        (io.BytesIO, []),
    ],
)
def test_calls_hidden_in_a_body_model_are_refused(tmp_path, monkeypatch, function, arguments, protocol):
    monkeypatch.chdir(tmp_path)
    bomb = Call(function, *arguments)
    for place in (bomb, [bomb], {"v_template": np.zeros(3), "x": (bomb,)}, np.array([bomb, None], dtype=object)):
        with pytest.raises(UnsafePickle, match="asks for more than arrays"):
            read(pickle.dumps(place, protocol=protocol), tmp_path)
    assert not (tmp_path / "TRACE").exists()


def array_of(dtype, state, shape=(1,), raw=b"\1\0\0\0\0\0\0\0"):
    """The pickle of an array whose type has a state of its own."""
    stream = io.BytesIO()
    kind = Call(np.dtype, dtype, False, True, state=state)
    whole = Call(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=(1, shape, kind, False, raw))
    OldPickler(stream, 2, fix_imports=True).dump(whole)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        # A type of objects that claims to be plain bytes would make numpy take the bytes for addresses.
        (array_of("O8", (3, "|", None, None, None, -1, -1, 0)), "not a whole pickle file"),
        (array_of("f8", (3, "|", None, ("a",), {"a": ("O", 0)}, 8, 8, 63)), "asks for more than arrays"),
        (array_of("V8", (3, "|", None, None, None, 8, 1, 0)), "asks for more than arrays"),
        (array_of("O,O", (3, "|", None, None, None, -1, -1, 0)), "asks for more than arrays"),
        (array_of("f8", (3, "<", None, None, None, -1, -1, 0), shape=(10**12,)), "not a whole pickle file"),
        (array_of("f8", (3, "<", None, None, None, -1, -1, 0), shape=(-1,)), "not a whole pickle file"),
        (array_of("S0", (3, "|", None, None, None, 0, 1, 0), shape=(10**12,), raw=b""), "^$"),
    ],
)
def test_arrays_that_lie_are_refused(tmp_path, raw, text):
    if text == "^$":
        assert read(raw, tmp_path).nbytes == 0
    else:
        with pytest.raises(CheckpointError, match=text):
            read(raw, tmp_path)


def laughs(leaf=b"]", deep=60):
    """A list of ten lists of ten lists: small in the file, endless when walked."""
    raw = b"\x80\x02" + leaf + b"q\0"
    for level in range(1, deep):
        raw += b"](" + b"h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"e" + b"q" + bytes([level])
    return raw


BOMBS = {
    "lists in lists": b"\x80\x02" + b"(" * 200_000 + b"t" * 200_000 + b".",
    "tuples in tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "doubled lists": laughs() + b".",
    "doubled lists as a class": b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n" + laughs()[2:] + b"\x85R.",
    "doubled lists as a type": b"\x80\x02cnumpy\ndtype\n" + laughs()[2:] + b"\x85R.",
    "doubled lists as an encoding": b"\x80\x02c_codecs\nencode\n" + laughs()[2:] + b"h\0\x86R.",
    "a tuple as a key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "doubled tuples as a key": b"\x80\x02})" + b"2\x86" * 60 + b"Ns.",
    "doubled tuples in a set": b"\x80\x04\x8f()" + b"2\x86" * 60 + b"\x90.",
    "a list in itself": b"\x80\x02]q\0h\0a.",
    "terabytes of bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**42) + b"abc.",
    "terabytes to write into": b"\x80\x05\x96" + struct.pack("<Q", 2**42) + b"abc.",
    "a frame of terabytes": b"\x80\x04\x95" + struct.pack("<Q", 2**42) + b".",
    "text of terabytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**42) + b"abc.",
    "a number of gigabytes": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"abc.",
    "a far memory place": b"\x80\x02]r\xff\xff\xff\xff]j\xff\xff\xff\xfea.",
    "a long number": b"I" + b"9" * 1_000_000 + b"\n.",
    "a wide sparse matrix": b"\x80\x02cscipy.sparse.csc\ncsc_matrix\n)\x81}U\x06_shapeJ\0\0\0\x10J\0\0\0\x10\x86sb.",
}


# What takes far more memory than its instruction: twenty million sets of one byte each would be gigabytes.
MANY = 100_000
ENDLESS = {
    "sets without end": (b"\x80\x04", b"\x8f0", b"N."),
    "a list of lists without end": (b"\x80\x02](", b"]", b"e."),
    "a memo without end": (b"\x80\x04", b"N\x940", b"N."),
}
BOMBS |= {name: begin + many * MANY + end for name, (begin, many, end) in ENDLESS.items()}


def assert_refused_at_once_and_in_little_memory(raw, folder):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(CheckpointError, match="asks for more than arrays|not a whole pickle file"):
        if read(raw, folder) == []:
            raise CheckpointError("not a whole pickle file")
    assert time.process_time() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "kilobytes"


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once_and_in_little_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(unpickling, "MADE", MANY // 2)
    assert_refused_at_once_and_in_little_memory(BOMBS[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_a_million_things_are_enough(tmp_path, name):
    begin, many, end = ENDLESS[name]
    assert_refused_at_once_and_in_little_memory(begin + many * 2 * unpickling.MADE + end, tmp_path)


def test_one_text_for_many_arrays_is_refused(tmp_path):
    """Two megabytes of bytes, named again and again by arrays that would each take their own."""
    size = 1 << 21
    kind = b"cnumpy\ndtype\n(U\x02u1tRq\1"
    empty = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01btR"
    one = empty + b"(K\1J" + struct.pack("<i", size) + b"\x85h\1\x89h\0tb"
    raw = b"\x80\x02T" + struct.pack("<i", size) + bytes(size) + b"q\x000" + kind + b"0](" + one * 100 + b"e."
    with pytest.raises(UnsafePickle, match="arrays far larger than the file"):
        read(raw, tmp_path)


def test_one_text_encoded_many_times_is_refused(tmp_path):
    size = 1 << 21
    encode = b"c_codecs\nencode\nh\0h\1\x86R"
    raw = b"\x80\x02T" + struct.pack("<i", size) + bytes(size) + b"q\x000U\x06latin1q\x010](" + encode * 100 + b"e."
    with pytest.raises(UnsafePickle, match="arrays far larger than the file"):
        read(raw, tmp_path)


def sparse_matrix(kind="csc_matrix", **state):
    """The pickle of a sparse matrix of 2 x 3 in which something else is said."""
    state = {
        "_shape": (2, 3),
        "data": np.ones(2),
        "indices": np.array([0, 1]),
        "indptr": np.array([0, 1, 1, 2]),
    } | state
    begin = f"\x80\x02cscipy.sparse\n{kind}\n)\x81".encode("latin1")
    return begin + pickle.dumps(state, protocol=2)[2:-1] + b"b."


@pytest.mark.parametrize(
    "state",
    [
        {"_shape": (2, -3)},
        {"_shape": (2,)},
        {"_shape": None},
        {"_shape": (1, 3)},
        {"_shape": (2, 1 << 40)},
        {"_shape": (1 << 40, 3)},
        {"data": np.ones(3)},
        {"data": np.ones((2, 1))},
        {"data": np.array(["a", "b"])},
        {"data": None},
        {"indices": np.array([0, 2])},
        {"indices": np.array([-1, 1])},
        {"indptr": np.array([0, 1 << 40, 1, 2])},
        {"indptr": np.array([0, 2, 1, 2])},
        {"indptr": np.array([0, 1, 1, 3])},
        {"indptr": np.array([1, 1, 1, 2])},
        {"indptr": np.array([-1, 1, 1, 2])},
        {"kind": "coo_matrix", "row": np.array([0, 5]), "col": np.array([0, 1])},
        {"kind": "coo_matrix", "row": np.array([0, -1]), "col": np.array([0, 1])},
        {"kind": "coo_matrix", "row": np.array([0]), "col": np.array([0, 1])},
        {"kind": "coo_matrix", "coords": (np.array([0, 1]),)},
    ],
)
def test_sparse_matrices_that_lie_are_refused(tmp_path, state):
    assert read(sparse_matrix(), tmp_path).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(CheckpointError, match="model.pkl: (not a whole pickle file|this pickle asks for more)"):
        read(sparse_matrix(**state), tmp_path)


def test_nothing_of_a_pickle_lasts(tmp_path):
    """What one pickle calls its objects and gives them is not seen by the next."""
    one = b"\x80\x02cchumpy.ch\nJ\n)\x81}U\x01aK\1sb."
    first, second = read(one, tmp_path), read(one.replace(b"}U\x01aK\1sb", b""), tmp_path)
    assert (first.kind, first.state) == ("chumpy.ch.J", {"a": 1}) and (second.kind, second.state) == (
        "chumpy.ch.J",
        None,
    )


def test_plain_things_come_back_as_they_are(tmp_path):
    content = {
        "a": [1, 2.5, None, True, b"raw", {3, 4}, ("x", ["y"])],
        (1, "k"): frozenset({5}),
        7: np.arange(4)[::-1],
        "l": [],
    }
    content["same"] = content["a"]
    for protocol in range(6):
        found = read(pickle.dumps(content, protocol=protocol), tmp_path)
        assert found["a"] == content["a"] and found[1, "k"] == {5} and found[7].tolist() == [3, 2, 1, 0]
        assert found["same"] is found["a"], "shared parts stay shared"
        assert found[7].flags.writeable and type(found[7]) is np.ndarray


CHANGES = st.tuples(
    st.integers(0, 2**16), st.sampled_from(["set", "cut", "insert", "copy"]), st.binary(min_size=1, max_size=8)
)


@pytest.mark.slow
@settings(max_examples=400)
@given(st.sampled_from(PICKLES), st.lists(CHANGES, max_size=6))
def test_mutated_pickles_neither_run_nor_hang(tmp_path_factory, raw, changes):
    """Whatever is changed, the file is read or refused, at once, and only the table's functions are looked up."""
    text = bytearray(raw)
    for place, change, data in changes:
        place %= max(len(text), 1)
        if change == "set":
            text[place : place + len(data)] = data
        elif change == "cut":
            del text[place : place + data[0]]
        elif change == "insert":
            text[place:place] = data
        else:
            text[place:place] = text[data[0] : data[0] + 16 * len(data)]
    start = time.process_time()
    try:
        read(bytes(text), tmp_path_factory.mktemp("mutated"))
    except CheckpointError as error:
        assert "model.pkl" in str(error)
    assert time.process_time() - start < 10


OPCODES = [getattr(pickle, name) for name in dir(pickle) if name.isupper() and isinstance(getattr(pickle, name), bytes)]
PIECES = [
    *OPCODES,
    b"cos\nsystem\n",
    b"cnumpy\ndtype\n",
    b"cchumpy.ch\nCh\n",
    b"c__builtin__\nset\n",
    b"U\x04true",
    b"K\1",
    b"N",
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_instructions_in_any_order_never_run_anything(tmp_path_factory, pieces):
    called = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "system", called.append)
        try:
            read(b"\x80\x02" + b"".join(pieces) + b".", tmp_path_factory.mktemp("pieces"))
        except CheckpointError as error:
            assert "model.pkl" in str(error)
    assert called == []
