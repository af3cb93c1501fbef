"""Builds that are killed go on to the same bytes; two builds never write the same file."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from dp3d_data.errors import FolderBusy
from dp3d_data.files import LOCK, locked
from dp3d_data.shards import verify
from dp3d_data.shards.build import BUILDING
from tests.data.shards.killed_build import build_there
from tests.data.shards.samples import two_runs
from tests.shared import ROOT

KILLS = 50
# In the midst of dealing, between a shard and its note, and between the manifest and the clearing up.
PLACES = [("before", 14), ("after", 19), ("after", 32)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two runs, and the files that a build makes of them when nobody disturbs it."""
    root = tmp_path_factory.mktemp("world")
    two_runs(root)
    build_there(root, root / "whole")
    assert (
        not verify(root / "whole") and not (root / "whole" / BUILDING).exists() and not (root / "whole" / LOCK).exists()
    )
    return root, contents(root / "whole")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(root, out, when, count, workers=1, **environment):
    words = [
        sys.executable,
        "-m",
        "tests.data.shards.killed_build",
        str(root),
        str(out),
        str(workers),
        str(when),
        str(count),
    ]
    settings = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(words, cwd=ROOT, env=settings, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.slow
@pytest.mark.parametrize(("when", "count"), PLACES)
def test_killed_at_a_rename_it_goes_on_to_the_same_bytes(world, tmp_path, when, count):
    root, whole = world
    killed = start(root, tmp_path / "out", when, count)
    assert killed.wait(timeout=600) == -signal.SIGKILL, killed.stderr.read().decode()
    assert (tmp_path / "out" / BUILDING).is_dir()
    build_there(root, tmp_path / "out")
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
def test_killed_at_every_rename_it_goes_on_to_the_same_bytes(world, tmp_path):
    root, whole = world
    for count in range(1, 200):
        out, when = tmp_path / str(count), ("before", "after")[count % 2]
        if start(root, out, when, count).wait(timeout=600) == 0:
            assert count > 20
            return
        build_there(root, out)
        assert contents(out) == whole, (when, count)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [(1, KILLS), (2, 6)])
def test_killed_at_random_instants_it_goes_on_to_the_same_bytes(world, tmp_path, workers, kills):
    """A build that ends before it is killed says nothing: the next one is given less time, and it does not count."""
    root, whole = world
    began = time.monotonic()
    assert start(root, tmp_path / "timed", "before", 0, workers).wait(timeout=600) == 0
    seconds, chance, killed = time.monotonic() - began, random.Random(5), 0
    for number in range(3 * kills):
        out = tmp_path / f"{number}"
        running = start(root, out, "before", 0, workers)
        time.sleep(seconds * chance.uniform(0.3, 1.0))
        os.killpg(running.pid, signal.SIGKILL)
        in_time = running.wait(timeout=600) != 0
        build_there(root, out)
        assert contents(out) == whole, number
        killed += in_time
        if killed == kills:
            return
        seconds *= 1 if in_time else 0.9
    pytest.fail(f"only {killed} of {3 * kills} builds were killed before they ended")


@pytest.mark.slow
def test_the_number_of_processes_changes_no_byte(world, tmp_path):
    root, whole = world
    build_there(root, tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == whole


def test_two_builds_in_one_folder_the_second_is_refused(world, tmp_path):
    root, whole = world
    with locked(tmp_path / "out"):
        with pytest.raises(FolderBusy, match="another process writes in this folder"):
            build_there(root, tmp_path / "out")
        second = start(root, tmp_path / "out", "before", 0)
        assert second.wait(timeout=600) != 0 and b"FolderBusy" in second.stderr.read()
    build_there(root, tmp_path / "out")
    assert contents(tmp_path / "out") == whole


def test_a_storage_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(FolderBusy, match="this storage cannot lock a folder"), locked(tmp_path / "out"):
        pass


@pytest.mark.slow
def test_two_machines_with_folders_of_their_own_never_write_the_same_file(world, tmp_path):
    """Each with its own cache, as on two machines, and the same storage for inputs and results."""
    root, whole = world
    logs = [tmp_path / "writes-0", tmp_path / "writes-1"]
    running = [
        start(root, tmp_path / f"out-{number}", log, 0, DP3D_CACHE=str(tmp_path / f"cache-{number}"))
        for number, log in enumerate(logs)
    ]
    for one in running:
        assert one.wait(timeout=600) == 0, one.stderr.read().decode()
    storage = str(tmp_path.parent)
    first, second = ({line for line in log.read_text().splitlines() if line.startswith(storage)} for log in logs)
    assert any("train-00000.parquet" in line for line in first) and not first & second
    assert all(contents(tmp_path / f"out-{number}") == whole for number in range(2))
