"""Install detectron2 into the running interpreter without a compiler, pinned by hash; one that is there stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

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
    """Let pip verify the hash and unpack the wheel into a folder of its own."""
    options = ["--no-deps", "--only-binary=:all:", "--python-version", WHEEL_PYTHON, "--require-hashes"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-compile"]
    command = [sys.executable, "-m", "pip", "install", *quiet, *options, "--target", str(folder), "-r", str(REQUIREMENTS)]
    subprocess.run(command, check=True)


def place(folder: Path, site: Path) -> list[Path]:
    """Copy what is wanted into site-packages; returns the copies."""
    placed = []
    for pattern in WANTED:
        for source in sorted(folder.glob(pattern)):
            shutil.copytree(source, site / source.name, dirs_exist_ok=True)
            placed.append(site / source.name)
    return placed


def main() -> int:
    """Install and check; 0 where detectron2 can be imported at the end."""
    found = check_import()
    if found.returncode == 0:
        print(f"detectron2 is here already: {found.stdout.strip()}")
        return 0
    if is_present():
        print(f"detectron2 is here but cannot be imported; left as it is:\n{found.stderr}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        download(Path(folder))
        placed = place(Path(folder), Path(sysconfig.get_path("purelib")))
    for path in placed:
        print(f"installed {path}")
    found = check_import()
    print(found.stdout.strip() if found.returncode == 0 else found.stderr, file=sys.stdout if found.returncode == 0 else sys.stderr)
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())
