"""Killed at any instant and started again: the bytes of an undisturbed run, also when failed images are tried again."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from dp3d_data.errors import FingerprintMismatch
from dp3d_data.shards import Run
from tests.data.extract.world import content, make_world, picture, run
from tests.shared import ROOT

COUNT, SETTINGS = 4, {"part": 2, "overlays": 0}
ACTS = [(os, "replace"), (os, "fsync"), (pathlib.Path, "unlink"), (pathlib.Path, "rmdir"), (pathlib.Path, "mkdir")]


class Killed(BaseException):
    """Nothing that the dead process would still do reaches the disk."""


def killed_at(monkeypatch, act: int, work) -> bool:
    """Do some work that dies before act number `act` on the disk; whether it lived to its end."""
    left = [act]

    def mortal(original):
        def do(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*args, **kwargs)

        return do

    with monkeypatch.context() as patch:
        for owner, name in ACTS:
            patch.setattr(owner, name, mortal(getattr(owner, name)))
        try:
            work()
        except Killed:
            return False
    return True


def every(monkeypatch, step: int, attempt, check) -> int:
    """Kill an attempt before every step-th act and check what is left; the number of the act that it lived to see."""
    act, lived = 0, False
    while not lived:
        lived = killed_at(monkeypatch, act, lambda act=act: attempt(act))
        check(act)
        act += step
    return act


def broken(folder):
    """Photographs of which two cannot be read, and what the predictor must know of the others."""
    known = make_world(folder, COUNT)
    (folder / "001.png").write_bytes(b"broken")
    (folder / "901.png").touch()
    return known


# One of five acts where time is short; every single one in the slow test.
STEPS = [5, pytest.param(1, marks=pytest.mark.slow)]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_before_an_act_on_the_disk_changes_no_byte(tmp_path, monkeypatch, step):
    folder = tmp_path / "photos"
    known = broken(folder)
    expected = content(run(folder, tmp_path / "undisturbed", known, **SETTINGS).run.folder)

    def attempt(act):
        run(folder, tmp_path / str(act), known, **SETTINGS)

    def check(act):
        attempt(act)
        assert content(tmp_path / str(act)) == expected, f"killed before act {act}"

    assert every(monkeypatch, step, attempt, check) > 40


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_failed_images_tried_again_give_the_bytes_of_a_run_that_never_failed(tmp_path, monkeypatch, step):
    folder = tmp_path / "photos"
    known = broken(folder)
    assert run(folder, tmp_path / "first", known, **SETTINGS).images.failed == 2
    make_world(folder, COUNT)
    shutil.copy(folder / "000.png", folder / "901.png")
    expected = content(run(folder, tmp_path / "undisturbed", known, **SETTINGS).run.folder)

    def attempt(act):
        out = tmp_path / str(act)
        if not out.exists():
            shutil.copytree(tmp_path / "first", out)
        assert run(folder, out, known, retry_failed=True, **SETTINGS).images.failed == 0

    def check(act):
        attempt(act)
        assert content(tmp_path / str(act)) == expected, f"killed before act {act}"

    assert every(monkeypatch, step, attempt, check) > 30


def of_one_size(folder):
    """PNG readers stop at the end of the image, so that bytes behind it change a file's size and nothing else."""
    for path in folder.glob("*.png"):
        path.write_bytes(path.read_bytes().ljust(20_000, b"\0"))


def test_a_photograph_replaced_by_one_of_the_same_size_is_noticed(tmp_path):
    photos, others = tmp_path / "photos", tmp_path / "others"
    known = make_world(photos, COUNT)
    picture(photos, 7)
    shutil.copytree(photos, others)
    os.replace(others / "007.png", others / "000.png")
    (photos / "007.png").unlink()
    of_one_size(photos), of_one_size(others)
    run(others, tmp_path / "undisturbed", known, **SETTINGS)

    def stop(*counts):
        if (tmp_path / "out" / "instances-00000.parquet").is_file():
            raise Killed

    with pytest.raises(Killed):
        run(photos, tmp_path / "out", known, stop, **SETTINGS)
    run(photos, tmp_path / "finished", known, **SETTINGS)
    shutil.copy(others / "000.png", photos / "000.png")
    run(photos, tmp_path / "out", known, **SETTINGS)
    assert same_rows(tmp_path / "out", tmp_path / "undisturbed")
    with pytest.raises(FingerprintMismatch, match="a photograph has changed since this run was made"):
        run(photos, tmp_path / "finished", known, **SETTINGS)
    run(photos, tmp_path / "finished", known, overwrite=True, **SETTINGS)
    assert same_rows(tmp_path / "finished", tmp_path / "undisturbed")


def same_rows(one, other):
    """The same instances, wherever their photographs lie."""
    names = ["instance_id", "image_hash", "keypoints_x", "keypoints_y"]
    first, second = ([table.to_pylist() for table in Run.open(folder).instances(names)] for folder in (one, other))
    return first == second


PROGRAM = """
import sys
from pathlib import Path
from tests.data.extract.world import make_world, run
folder, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
run(folder, out, make_world(folder, 60), workers=workers, part=2, overlays=2)
"""


def started(folder, out, workers):
    line = [sys.executable, "-c", PROGRAM, str(folder), str(out), str(workers)]
    return subprocess.Popen(line, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_process_changes_no_byte(tmp_path, workers):
    folder, out = tmp_path / "photos", tmp_path / "out"
    known = make_world(folder, 60)
    expected = content(run(folder, tmp_path / "undisturbed", known, part=2, overlays=2).run.folder)
    process = started(folder, out, workers)
    deadline = time.monotonic() + 120
    while len(list(out.glob("instances-*.parquet"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "run.json").exists()
    again = started(folder, out, workers)
    assert again.wait(timeout=600) == 0
    assert content(out) == expected and Run.open(out).counts["inputs"] == 60
