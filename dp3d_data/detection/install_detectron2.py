"""Install detectron2 without a compiler, pinned by hash; one that is there stays. Light to import."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from dp3d_data.errors import DependencyMissing

REQUIREMENTS = Path(__file__).with_name("detectron2.txt")
# The wheel names Python 3.10; its one compiled extension serves operations that this project does not use.
WHEEL_PYTHON = "3.10"
WANTED = ("detectron2", "sal_detectron2-*.dist-info")  # the wheel also drops a stray top-level package, tools
CHECK = "import detectron2, detectron2.modeling as m; print(detectron2.__version__, m.__file__)"


def check_import() -> subprocess.CompletedProcess:
    """Import detectron2 in a fresh process: its version and place, or the error."""
    return subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=False)


def is_present() -> bool:
    """Whether some detectron2 is on the path, working or not."""
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('detectron2') is None)"
    return subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def download(folder: Path) -> None:
    """Let pip verify the hash and unpack the wheel into a folder of its own.

    Raises:
        DependencyMissing: pip could not.
    """
    options = ["--no-deps", "--only-binary=:all:", "--python-version", WHEEL_PYTHON, "--require-hashes"]
    options += ["--quiet", "--disable-pip-version-check", "--no-compile", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        hint = "see whether pip works: python -m pip download pip"
        raise DependencyMissing("detectron2 cannot be fetched", got=last_line(done.stderr), hint=hint)


def place(folder: Path, site: Path) -> list[Path]:
    """Copy what is wanted into site-packages; returns the copies."""
    placed = []
    for pattern in WANTED:
        for source in sorted(folder.glob(pattern)):
            shutil.copytree(source, site / source.name, dirs_exist_ok=True)
            placed.append(site / source.name)
    return placed


def install() -> str:
    """Install detectron2 where there is none.

    Returns:
        What was done, and where it is.

    Raises:
        DependencyMissing: it cannot be fetched, placed or imported.
    """
    found, new = check_import(), False
    if found.returncode and is_present():
        what = "detectron2 is here but cannot be imported; it is left as it is"
        hint = "remove it (pip uninstall detectron2), then: dp3d-data install-detectron2"
        raise DependencyMissing(what, got=last_line(found.stderr), hint=hint)
    if found.returncode:
        with tempfile.TemporaryDirectory() as folder:
            download(Path(folder))
            place(Path(folder), Path(sysconfig.get_path("purelib")))
        found, new = check_import(), True
    if found.returncode:
        raise DependencyMissing("detectron2 is installed and cannot be imported", got=last_line(found.stderr))
    return ("installed: " if new else "here already: ") + found.stdout.strip()


def last_line(text: str) -> str:
    """What an error says in the end."""
    return (text.strip() or "nothing was said").splitlines()[-1]
