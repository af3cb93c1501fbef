"""Folders as they come: every image has its one row, the run ends well, and what only an operator can mend is said."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from dp3d_data.errors import DiskFull
from dp3d_data.records import ImageRecord
from pipelines.chunks import failure_row
from tests.data.extract.world import ball, content, make_world, run
from tests.data.hostile import BAD, GOOD, make_hostile
from tests.shared import ROOT

BEGINNINGS = {
    "empty.jpg": "the file is empty",
    "sparse.jpg": "the file is too large",
    "socket.jpg": "not an image file",
    "loop.jpg": "the file cannot be read",
    "device.jpg": "not an image file",
    "bomb.png": "too many pixels",
    "bomb.gif": "too many pixels",
    "bomb.bmp": "too many pixels",
    "bomb.tif": "too many pixels",
    "text_bomb.png": "the image is damaged",
    "document.jpg": "not an image",
    "heic.jpg": "not an image",
    "truncated.png": "the image is damaged",
}


def test_a_failure_is_told_alike_in_every_run():
    """A library's text names the place of an object in memory; the tables are the same bytes in every run."""
    rows = [failure_row(ImageRecord("a", "a.jpg", "folder"), "read", ValueError(f"no use: {object()!r}")) for _ in "ab"]
    assert rows[0] == rows[1] and rows[0]["message"] == "no use: <object object>"


def command(folder, out, prefix=()):
    """dp3d-data extract on a folder as a user types it, with a network of random answers."""
    words = [
        "extract",
        "--images",
        str(folder),
        "--out",
        str(out),
        "--workers",
        "1",
        "--set",
        "overlays=2",
        "--score",
        "0.9",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [*prefix, sys.executable, "-m", "pipelines.cli.data", *words]
    return subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_a_hostile_folder_ends_with_code_0_and_a_complete_table_of_failures(tmp_path):
    from dp3d_data.shards import Run

    assert len(BAD) >= 30
    folder = make_hostile(tmp_path / "hostile")
    undecodable = os.fsencode(folder) + b"/dog\xff\xfe.jpg"
    shutil.copy(folder / "plain.jpg", undecodable)
    shutil.copy(folder / "text.jpg", undecodable.replace(b"dog", b"cat"))
    finished = command(folder, tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    opened = Run.open(tmp_path / "out")
    failed = {row["image_id"]: row for row in opened.failures().to_pylist()}
    assert sorted(failed) == sorted([*BAD, "cat\\xff\\xfe.jpg"])
    assert opened.counts["inputs"] == len(GOOD) + len(BAD) + 2
    assert {row["stage"] for row in failed.values()} == {"read"}
    assert all(failed[name]["message"].startswith(text) for name, text in BEGINNINGS.items())
    assert f"failed {len(BAD) + 1} (dp3d-data failures)" in finished.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv to give up the rights of root")
def test_what_may_not_be_read_is_a_row_each(tmp_path):
    folder = tmp_path / "photos"
    make_world(folder, 2)
    shutil.copytree(folder, folder / "locked")
    (folder / "001.png").chmod(0)
    (folder / "locked").chmod(0)
    rights = "-dac_override,-dac_read_search"
    prefix = ("setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}") if os.geteuid() == 0 else ()
    try:
        finished = command(folder, tmp_path / "out", prefix)
    finally:
        (folder / "locked").chmod(0o755)
    assert finished.returncode == 0, finished.stderr
    words = [sys.executable, "-m", "pipelines.cli.data", "failures", str(tmp_path / "out")]
    failures = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "001.png · read: InputCorrupt\n      the file cannot be read\n      got: Permission denied" in failures
    assert "locked · read: InputCorrupt\n      not an image file\n      got: a folder that may not be read" in failures
    assert "2 failed of 3 images" in failures


def test_a_full_disk_ends_the_run_with_a_way_out_and_it_goes_on_when_there_is_room(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    known = make_world(folder, 9)
    expected = content(run(folder, tmp_path / "undisturbed", known, part=2, overlays=1).run.folder)
    room, original = [7], os.fsync

    def full(handle):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr("dp3d_data.files.os.fsync", full)
        with pytest.raises(
            DiskFull, match=r"the disk is full\n  got: No space left on device\n  hint: make room, then run the same"
        ):
            run(folder, tmp_path / "out", known, part=2, overlays=1)
    assert len(list((tmp_path / "out").glob("instances-*.parquet"))) >= 1 and not (tmp_path / "out/run.json").exists()
    assert not list((tmp_path / "out").rglob(".*.tmp"))
    run(folder, tmp_path / "out", known, part=2, overlays=1)
    assert content(tmp_path / "out") == expected and ball().num_vertices == 162
