"""Many image records through a whole run, as a cluster would: python -m tests.bench.million --images 50000 --workers 4.

The images are small JPEGs whose pixels spell a number, which the predictor reads and answers with a box of its own; it
costs next to nothing, or sleeps as a GPU would work: what is measured is all else. The steps: a dry run, extract in a
process that is killed with its scheduler, the same command again, of which a worker is killed, a look whether the last
chunks before the kill are made again byte for byte, a call that finds nothing to do, build-shards.
Printed: seconds, seconds of the processors and images a second of each step, the largest memory of the process that
holds the scheduler and of each worker, and the files in the run's folder. --kill-after 0 and --end-after 0 kill
nothing.
"""

import argparse
import contextlib
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from dp3d_data.filters import FilterConfig
from dp3d_data.shards.runs import done_chunks
from pipelines.extract import extract, make_plan
from pipelines.extract_parts import estimate
from pipelines.settings import ExtractConfig
from pipelines.shards import ShardPlan, build
from tests.data.extract.world import ball
from tests.synthetic_predictor import KnownObject, SyntheticPredictor

# Images of a folder, pixels of a side, pixels of a block that is a binary digit, pixels of a side of the object.
A_FOLDER, SIDE, BLOCK, OBJECT = 10_000, 64, 8, 32


class Sleeping(SyntheticPredictor):
    """Says of every image that it shows the same object, in a box that follows from the image's number, after the time
    that a GPU would take."""

    def __init__(self, seconds: float) -> None:
        super().__init__({}, 162, {"dog": 0})
        rows, columns = np.mgrid[0:SIDE, 0:SIDE]
        box = (16.0, 16.0, 16.0 + OBJECT, 16.0 + OBJECT)
        self.known_object = KnownObject(box, (rows // 4 * 16 + columns // 4) % 162)
        self.seconds = seconds

    def predict(self, image_bgr, boxes=None, score=0.5, classes=None):
        if self.seconds:
            time.sleep(self.seconds)
        right, down = np.array(divmod(number_in(image_bgr), 1024)) / 1024
        x0, y0, x1, y1 = self.known_object.box
        return [self._answer((x0 + right, y0 + down, x1 + right, y1 + down), self.known_object)]


def picture_of(number: int) -> np.ndarray:
    """A grey image whose blocks are black or white: the binary digits of a number, the lowest first."""
    digits = number >> np.arange((SIDE // BLOCK) ** 2) & 1
    return np.kron(digits.reshape(SIDE // BLOCK, -1), np.ones((BLOCK, BLOCK))).astype(np.uint8) * 255


def number_in(image: np.ndarray) -> int:
    """The number that an image of picture_of shows."""
    digits = image[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK, 0].ravel()[:60] > 127
    return int((digits.astype(np.int64) << np.arange(60)).sum())


def make_images(root: Path, count: int) -> None:
    """One JPEG for each number, ten thousand a folder."""
    for number in range(count):
        folder, picture = root / f"{number // A_FOLDER:04d}", io.BytesIO()
        if number % A_FOLDER == 0:
            folder.mkdir(parents=True)
        Image.fromarray(picture_of(number)).save(picture, "JPEG", quality=50)
        (folder / f"{number:07d}.jpg").write_bytes(picture.getvalue())


class Watch:
    """The largest memory of this process and of its workers, MB; and the end of a worker, once so many parts are
    written."""

    def __init__(self, run: Path, kill_after: int) -> None:
        self.most: dict[int, float] = {}
        self.run, self.kill_after, self.killed, self.stop = run, kill_after, False, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        own = psutil.Process()
        while not self.stop.wait(0.5):
            for process in (own, *workers(own)):
                with contextlib.suppress(psutil.Error):
                    self.most[process.pid] = max(self.most.get(process.pid, 0.0), process.memory_info().rss / 1e6)
            if (
                self.kill_after
                and not self.killed
                and len(done_chunks(self.run)) >= self.kill_after
                and (alive := workers(own))
            ):
                self.killed = True
                os.kill(alive[0].pid, signal.SIGKILL)

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()


def workers(own: psutil.Process) -> list[psutil.Process]:
    """Worker processes: children that are no helper of multiprocessing."""
    found = []
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(what: str, count: int, step):
    """The answer of a step, whose time is printed."""
    began, busy = time.perf_counter(), processor_seconds()
    answer = step()
    seconds = time.perf_counter() - began
    print(
        f"{what}: {seconds:.1f} s, {processor_seconds() - busy:.1f} s of the processors,"
        f" {count / max(seconds, 1e-9):,.0f} records a second",
        flush=True,
    )
    return answer


def settings(root: Path, options: argparse.Namespace) -> ExtractConfig:
    """What extract is asked for."""
    given = {"images": (str(root / "images"),), "template": str(root / "ball.npz"), "out": str(root / "run")}
    return ExtractConfig(**given, min_vertices=5, cycle=False, part=options.part, workers=options.workers, overlays=0)


def run(root: Path, options: argparse.Namespace) -> None:
    """Plan and extract, with what it took."""
    count = options.images
    plan = timed("plan", count, lambda: make_plan(settings(root, options), partial(Sleeping, options.seconds)))
    print(f"  memory {psutil.Process().memory_info().rss / 1e6:.0f} MB, {len(plan.chunks)} chunks", flush=True)
    with Watch(root / "run", options.kill_after) as watch:
        outcome = timed("extract", count, lambda: extract(plan))
    own, *others = watch.most.values()
    print(
        f"  scheduler {own:.0f} MB, workers {', '.join(f'{most:.0f}' for most in others)} MB, a worker killed:"
        f" {watch.killed}\n  kept {outcome.images.kept}, failed {outcome.images.failed}",
        flush=True,
    )


def run_apart(root: Path, options: argparse.Namespace, end_after: int, kill_after: int) -> None:
    """`run` in a process of its own, which is killed once so many chunks are written; 0 for never."""
    words = ["--path", root, "--kill-after", kill_after, "--images", options.images, "--workers", options.workers]
    words += ["--part", options.part, "--seconds", options.seconds]
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.million", *map(str, words)])
    while process.poll() is None:
        if end_after and len(done_chunks(root / "run")) >= end_after:
            process.kill()
        time.sleep(0.5)
    process.wait()


def lose_some(folder: Path, count: int = 3) -> dict[str, bytes]:
    """Delete the tables of some chunks of an unfinished run; all tables of instances as they were, by name."""
    tables = {path.name: path.read_bytes() for path in sorted(folder.glob("instances-*.parquet"))}
    for name in list(tables)[-count:]:
        (folder / name).unlink()
    return tables


def everything(root: Path, options: argparse.Namespace) -> None:
    """All steps, one after the other."""
    count, folder = options.images, root / "run"
    timed("make the files", count, lambda: make_images(root / "images", count))
    ball().save(root / "ball.npz")
    plan = timed("dry run", count, lambda: make_plan(settings(root, options), partial(Sleeping, 0.0)))
    timed("  its estimate", count, lambda: estimate(plan))
    tables: dict[str, bytes] = {}
    if options.end_after:
        run_apart(root, options, options.end_after, 0)
        tables = lose_some(folder)
        print(f"scheduler killed after {len(tables)} chunks; the tables of {min(3, len(tables))} are deleted")
    run_apart(root, options, 0, options.kill_after)
    same = all((folder / name).read_bytes() == data for name, data in tables.items())
    files = [path for path in folder.iterdir() if path.is_file()]
    print(f"  the same bytes as before the kill: {same}; {len(files)} files,", end=" ")
    print(f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB", flush=True)
    timed("resume a finished run", count, lambda: extract(plan))
    del plan
    shutil.rmtree(root / "images")
    shards = ShardPlan(filters=FilterConfig(min_visible_vertices=1, max_spread=9.0), shard_bytes=64_000_000)
    more = {"overwrite": False, "say": print, "workers": options.workers}
    with Watch(folder, 0) as watch:
        timed("build-shards", count, lambda: build([folder], root / "shards", "dog", shards, **more))
    print(f"  memory {', '.join(f'{most:.0f}' for most in watch.most.values())} MB")


def main() -> None:
    """Run all steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=0.0, help="that the network takes for an image")
    parser.add_argument("--kill-after", type=int, default=10, help="chunks after which a worker is killed; 0 for none")
    parser.add_argument("--end-after", type=int, default=5, help="chunks after which the scheduler is killed; 0: never")
    parser.add_argument("--folder", help="where to work; by default a temporary folder")
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.root:
        run(Path(options.root), options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        everything(Path(place), options)


if __name__ == "__main__":
    main()
