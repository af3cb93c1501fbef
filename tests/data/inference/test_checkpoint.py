"""Files of weights: what is read, and what is refused without being run."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dp3d_data.detection import read_checkpoint
from dp3d_data.errors import CheckpointError, InputMissing, UnsafePickle
from dp3d_data.unpickling import read_pickle
from tests.data.inference.small import write_pickle

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.array(3)}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_published_pickles_are_read(tmp_path, protocol):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": OrderedDict(STATE), "__author__": "someone"}, protocol=protocol))
    state = read_checkpoint(path)[0]
    assert torch.equal(state["a.weight"], torch.arange(6.0).reshape(2, 3)) and state["a.count"] == 3


def test_pickles_of_python_2_are_read(tmp_path):
    """Text of Python 2 is latin-1, arrays hold it as their bytes."""
    text = pickle.dumps({"a": np.array([1.5, -2.0])}, protocol=2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(text)
    assert read_checkpoint(path)[0]["a"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("bare", [True, False])
def test_torch_files_are_read(tmp_path, zipped, bare):
    state = {"a.weight": torch.ones(2, dtype=torch.float16), "a.count": torch.tensor(7)}
    path = tmp_path / "weights.pth"
    torch.save(state if bare else {"model": state, "iteration": 9}, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)[0]
    assert found["a.weight"].dtype == torch.float32 and found["a.count"].dtype == torch.int64


class Bomb:
    """Runs a command when it is unpickled by a trusting reader."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_pickle_that_runs_something_is_refused_and_not_run(tmp_path, hidden):
    trace = tmp_path / "trace"
    bomb = np.array([Bomb(trace)], dtype=object) if hidden else Bomb(trace)
    path = write_pickle(tmp_path / "model.pkl", {"model": {"a": bomb}})
    with pytest.raises(UnsafePickle, match="asks for more than arrays"):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_that_runs_something_is_refused_and_not_run(tmp_path, zipped):
    trace = tmp_path / "trace"
    torch.save({"model": {"a": Bomb(trace)}}, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafePickle, match="more than tensors"):
        read_checkpoint(tmp_path / "model.pth")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am text\n" * 40,
        b"<!DOCTYPE html><html>not found</html>",
        b"\x89PNG\r\n\x1a\n" + bytes(90),
        b"\x80",
    ],
)
def test_what_is_no_checkpoint_is_told(tmp_path, content):
    path = tmp_path / "weights.pkl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a (checkpoint|whole pickle file)") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value) and "zoo" in str(caught.value)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_file_cut_short_is_told(tmp_path, suffix, share):
    path = tmp_path / f"weights{suffix}"
    state = {"a": np.random.default_rng(0).normal(size=500)}
    if suffix == ".pkl":
        write_pickle(path, {"model": state})
    else:
        torch.save({"a": torch.from_numpy(state["a"])}, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="not a whole|is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {}}, {"model": {"a": "text"}}, 5, None])
def test_a_pickle_without_a_state_dict_is_told(tmp_path, content):
    with pytest.raises(CheckpointError, match="state dict"):
        read_checkpoint(write_pickle(tmp_path / "w.pkl", content))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputMissing, match="no such file"):
        read_checkpoint(tmp_path / "none.pkl")
    with pytest.raises(InputMissing, match="no such file"):
        read_pickle(tmp_path / "none.pkl")


@given(place=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_damaged_byte_is_read_or_told(tmp_path_factory, place, value):
    """No other error leaves the reader, whatever byte is wrong."""
    path = tmp_path_factory.mktemp("damage") / "w.pkl"
    content = bytearray(pickle.dumps({"model": {"a": np.arange(200.0), "b": np.float32(2)}}, protocol=2))
    content[place % len(content)] = value
    path.write_bytes(content)
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error)
