"""The wheel: it holds the repository's files, and the whole product runs from it alone."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from dp3d_data import __version__
from tests.shared import ROOT

PACKAGES = ("dp3d_data", "dp3d_model", "pipelines")


def call(*words, **more):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow  # a wheel is built, and the short demo runs
def test_the_wheel_holds_the_repository_s_files_and_runs_alone(tmp_path):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs git and a checkout")
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    for name in files:
        if name.startswith(PACKAGES) or "/" not in name:
            (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "source" / name)
    pip = ("-m", "pip", "--disable-pip-version-check")
    call(
        *pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path, tmp_path / "source"
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"dp3d-{__version__}-")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {name for name in files if name.startswith(PACKAGES)}
    assert all(f"{package}/py.typed" in held for package in PACKAGES)
    place = tmp_path / "installed"
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", place, wheel)
    alone = {
        "cwd": tmp_path,
        "env": os.environ
        | {"PYTHONPATH": str(place), "DP3D_WORKSPACE": str(tmp_path / "dp3d"), "OMP_NUM_THREADS": "1"},
    }
    assert call("-c", "import dp3d_model; print(dp3d_model.__file__)", **alone).startswith(str(place))
    assert "demo done" in call("-m", "pipelines.demo", "--short", **alone)


WITHOUT = "import sys; sys.modules['detectron2'] = None; from pipelines.cli.data import main; main()"


@pytest.mark.slow
def test_without_detectron2_there_is_one_error_with_the_command_that_mends_it(tmp_path):
    words = ("extract", "--images", ROOT / "dp3d_data/datasets/samples/dog.jpg", "--out", tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", WITHOUT, *map(str, words)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 10
    assert done.stderr.endswith("error: detectron2 is not installed\n  hint: dp3d-data install-detectron2\n"), (
        done.stderr
    )
