"""A long run of small images: memory flat, killed five times and resumed, the same bytes: python -m tests.bench.soak.

First an undisturbed run, with the memory of each of its processes sampled; then the same with --kills kills at random,
each time started again. Two folders of the same bytes and a flat memory end it with code 0. The network sees the images
as they are (--side), not scaled up to the size that it was trained for: it finds fewer animals, in a quarter of the
time.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.bench.photographs import make_photographs
from tests.shared import ROOT

ALLOWED = 1.05
SECONDS_BETWEEN_SAMPLES = 0.5


def start(photographs: Path, out: Path, options: argparse.Namespace) -> subprocess.Popen:
    """The command, in a process group of its own."""
    words = [
        "extract",
        "--images",
        str(photographs),
        "--out",
        str(out),
        "--workers",
        str(options.workers),
        "--set",
        f"part={options.part}",
    ]
    words += ["--set", f"side={options.side}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "pipelines.cli.data", *words]
    return subprocess.Popen(line, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)


def parts_done(out: Path) -> int:
    """Parts that are whole."""
    return len(list((out / ".parts").glob("[0-9]*.json")))


def own_bytes(process: psutil.Process) -> int:
    """Resident memory of a process without the pages of library files, which it shares with the others and the disk's
    cache."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.is_file():
        return process.memory_info().rss
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(lines["RssAnon"].split()[0]) if lines else 0


def watched(process: subprocess.Popen, out: Path, samples: dict[int, list[tuple[int, int]]]) -> None:
    """Sample the memory of every process of a run until it ends: process id -> (parts done, bytes)."""
    family = psutil.Process(process.pid)
    while process.poll() is None:
        done = parts_done(out)
        try:
            members = [family, *family.children(recursive=True)]
        except psutil.NoSuchProcess:
            break
        for member in members:
            try:
                samples.setdefault(member.pid, []).append((done, own_bytes(member)))
            except (psutil.NoSuchProcess, OSError):
                continue
        time.sleep(SECONDS_BETWEEN_SAMPLES)


def growth(samples: list[tuple[int, int]], parts: int) -> float | None:
    """The largest memory after the first tenth of the parts over that in the tenth that follows it; None for short
    lives."""
    early = [size for done, size in samples if parts / 10 < done <= parts / 5]
    late = [size for done, size in samples if parts / 5 < done < parts]
    return max(late) / max(early) if early and late else None


def undisturbed(photographs: Path, out: Path, options: argparse.Namespace, parts: int) -> float:
    """A run from beginning to end; the largest growth of its processes."""
    began, samples = time.perf_counter(), {}
    process = start(photographs, out, options)
    watched(process, out, samples)
    if process.wait():
        sys.exit(f"the undisturbed run ended with code {process.returncode}")
    seconds = time.perf_counter() - began
    print(f"undisturbed: {seconds:.0f} s, {options.images / seconds:.1f} images/s")
    grown = []
    for pid, own in samples.items():
        ratio = growth(own, parts)
        if ratio is not None:
            grown.append(ratio)
            early, most = own[len(own) // 5][1] / 1e6, max(size for _, size in own) / 1e6
            print(f"  process {pid}: {early:.0f} MB early, {most:.0f} MB at most, x {ratio:.3f}")
    return max(grown, default=1.0)


def killed(photographs: Path, out: Path, options: argparse.Namespace, parts: int) -> None:
    """A run that is killed at random and started again, the program alone or with its workers."""
    rng = random.Random(options.seed)
    for number, target in enumerate(sorted(rng.sample(range(1, parts), min(options.kills, parts - 1)))):
        process = start(photographs, out, options)
        while process.poll() is None and parts_done(out) < target:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        alone = number % 2 == 0
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        print(f"killed {'the program' if alone else 'all processes'} at {parts_done(out)} of {parts} parts")
    if start(photographs, out, options).wait():
        sys.exit("the resumed run failed")


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder with the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def main() -> int:
    """Print what was seen; fails where bytes differ or memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"width": 128, "height": 96, "side": 96}
    for name, default in {"images": 20_000, "workers": 2, "kills": 5, "part": 32, **sizes, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    parts = -(-options.images // options.part)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photographs = make_photographs(root / "photographs", options.images, options.width, options.height)
        grown = undisturbed(photographs, root / "undisturbed", options, parts)
        killed(photographs, root / "killed", options, parts)
        one, other = content(root / "undisturbed"), content(root / "killed")
    different = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print(f"{len(one)} files, {len(different)} differ {different[:3]} · memory x {grown:.3f}, allowed {ALLOWED}")
    return int(bool(different) or grown > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
