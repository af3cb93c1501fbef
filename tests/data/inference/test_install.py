"""The command that installs detectron2: pinned, and it leaves an existing one alone."""

import re
import subprocess

import pytest

from dp3d_data.detection import install_detectron2
from dp3d_data.errors import DependencyMissing


def test_the_wheel_is_pinned_by_hash():
    lines = [line for line in install_detectron2.REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == 1 and re.fullmatch(r"sal-detectron2==[\d.]+ --hash=sha256:[0-9a-f]{64}", lines[0])


def answer(code, out="", err=""):
    return lambda: subprocess.CompletedProcess([], code, out, err)


def refuse(folder):
    raise AssertionError("nothing is to be fetched")


def test_one_that_works_stays(monkeypatch):
    monkeypatch.setattr(install_detectron2, "check_import", answer(0, "0.7.2 somewhere"))
    monkeypatch.setattr(install_detectron2, "download", refuse)
    assert install_detectron2.install() == "here already: 0.7.2 somewhere"


def test_one_that_does_not_work_stays_too(monkeypatch):
    monkeypatch.setattr(install_detectron2, "check_import", answer(1, err="no torch"))
    monkeypatch.setattr(install_detectron2, "is_present", lambda: True)
    monkeypatch.setattr(install_detectron2, "download", refuse)
    with pytest.raises(DependencyMissing, match="left as it is\n  got: no torch"):
        install_detectron2.install()


def test_only_detectron2_is_copied(tmp_path):
    for name in ("detectron2", "tools", "sal_detectron2-0.7.2.dist-info"):
        (tmp_path / "from" / name).mkdir(parents=True)
        (tmp_path / "from" / name / "file.py").write_text("")
    placed = install_detectron2.place(tmp_path / "from", tmp_path / "to")
    assert {path.name for path in placed} == {"detectron2", "sal_detectron2-0.7.2.dist-info"}
    assert not (tmp_path / "to" / "tools").exists()
