"""One writer at a time in a folder, and none that finishes less than was planned."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dp3d_data.errors import FingerprintMismatch, FolderBusy, InputMissing, ShardError, Unaccounted
from dp3d_data.files import LOCK, locked
from dp3d_data.shards import Run, RunWriter, verify
from dp3d_data.shards.runs import chunk_path, is_still_good, marker_path
from tests.data.shards.samples import grid_template, row
from tests.shared import ROOT

ABOUT = {"template": grid_template(), "category": "dog", "config": {}}


def writer(folder, **settings):
    return RunWriter(folder, **({"kind": "synth", "fingerprint": "r"} | settings))


def commit(one, count=3):
    for index in range(count):
        one.commit(index, [row(2 * index, "synth"), row(2 * index + 1, "synth")], inputs=2)


@pytest.mark.parametrize("settings", [{}, {"fingerprint": "other"}, {"overwrite": True}])
def test_the_second_of_two_writers_is_refused_and_the_first_loses_nothing(tmp_path, settings):
    first = writer(tmp_path)
    commit(first)
    with pytest.raises(FolderBusy, match="another process writes in this folder"):
        writer(tmp_path, **settings)
    assert first.finish(**ABOUT).counts["instances"] == 6 and verify(tmp_path) == []
    assert not (tmp_path / LOCK).exists()


def test_a_finished_run_is_not_finished_again(tmp_path):
    """Where a storage grants two locks on one folder, the late one still ruins nothing."""
    first = writer(tmp_path)
    commit(first)
    copy = RunWriter.__new__(RunWriter)
    copy.__dict__.update(first.__getstate__())
    first.finish(**ABOUT)
    with pytest.raises(FingerprintMismatch, match="given to another run meanwhile"):
        copy.finish(**ABOUT)
    assert Run.open(tmp_path).counts["instances"] == 6 and verify(tmp_path) == []


def test_fewer_chunks_than_planned_are_no_run(tmp_path):
    one = writer(tmp_path)
    commit(one)
    with pytest.raises(Unaccounted, match="chunks of this run are missing"):
        one.finish(**ABOUT, chunks=4)
    marker_path(tmp_path, 1).unlink()
    with pytest.raises(Unaccounted, match=r"2 chunks: \[0, 2\]"):
        one.finish(**ABOUT)
    commit(one)
    assert one.finish(**ABOUT, chunks=3).counts["inputs"] == 6


def test_a_chunk_that_is_damaged_before_the_end_is_found(tmp_path):
    one = writer(tmp_path)
    commit(one)
    path = chunk_path(tmp_path, "instances", 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert [is_still_good(tmp_path, index, {}) for index in range(3)] == [True, False, True]
    with pytest.raises(ShardError, match=r"instances-00001.parquet: damaged or replaced"):
        one.finish(**ABOUT)
    path.unlink()
    with pytest.raises(InputMissing, match="a table of a chunk is gone"):
        one.finish(**ABOUT)


def test_a_writer_that_is_closed_forgotten_or_failed_lets_go(tmp_path):
    with writer(tmp_path):
        pass
    writer(tmp_path)
    commit(writer(tmp_path), 1)
    with pytest.raises(FingerprintMismatch):
        writer(tmp_path, fingerprint="other")
    assert writer(tmp_path).done == {0}


HOLDER = """
import sys, time
from dp3d_data.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_nothing(tmp_path):
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(FolderBusy), locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while True:
        try:
            with locked(tmp_path):
                break
        except FolderBusy:
            assert time.monotonic() < deadline
