"""Many image records through a whole run, as a cluster would: python -m tests.bench.million --images 50000 --workers 4.

The images are one small JPEG many times, and the predictor costs nothing, or sleeps as a GPU would work: what is
measured is all else. The steps: plan, extract by worker processes of which one is killed, a second call that finds
nothing to do, build-shards.
Printed: seconds and images a second of each step, the largest memory of this process, which holds the scheduler, and of
each worker, and the files in the run's folder. What a killed worker costs is the difference to a run with --kill-after
0.
"""

import argparse
import contextlib
import io
import os
import signal
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from dp3d_data.detection.synthetic import KnownObject, SyntheticPredictor
from dp3d_data.filters import FilterConfig
from dp3d_data.shards.runs import done_chunks
from pipelines.extract import extract, make_plan
from pipelines.settings import ExtractConfig
from pipelines.shards import ShardPlan, build
from tests.data.extract.world import ball

A_FOLDER, SIDE = 10_000, 64


class Sleeping(SyntheticPredictor):
    """Says of every image that it shows the same object, after the time that a GPU would take."""

    def __init__(self, seconds: float) -> None:
        super().__init__({}, 162, {"dog": 0})
        rows, columns = np.mgrid[0:SIDE, 0:SIDE]
        self.known_object = KnownObject((4.0, 4.0, 60.0, 60.0), (rows // 4 * 16 + columns // 4) % 162)
        self.seconds = seconds

    def predict(self, image_bgr, boxes=None, score=0.5, classes=None):
        time.sleep(self.seconds)
        return [self._answer(self.known_object.box, self.known_object)]


def make_images(root: Path, count: int) -> None:
    """One JPEG with another number behind its end each time, so that none is a duplicate; ten thousand a folder."""
    pixels, picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8), io.BytesIO()
    Image.fromarray(pixels).resize((SIDE, SIDE)).save(picture, "JPEG")
    for number in range(count):
        folder = root / f"{number // A_FOLDER:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:07d}.jpg").write_bytes(picture.getvalue() + str(number).encode())


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


def timed(what: str, count: int, step):
    """The answer of a step, whose time is printed."""
    began = time.perf_counter()
    answer = step()
    seconds = time.perf_counter() - began
    print(f"{what}: {seconds:.1f} s, {count / max(seconds, 1e-9):,.0f} records a second", flush=True)
    return answer


def main() -> None:
    """Run all steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=0.0, help="that the network takes for an image")
    parser.add_argument("--kill-after", type=int, default=10, help="parts after which a worker is killed; 0 for none")
    parser.add_argument("--folder", help="where to work; by default a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        root, count = Path(place), options.images
        timed("make the files", count, lambda: make_images(root / "images", count))
        ball().save(root / "ball.npz")
        given = {
            "images": (str(root / "images"),),
            "template": str(root / "ball.npz"),
            "out": str(root / "run"),
            "min_vertices": 5,
        }
        config = ExtractConfig(**given, part=options.part, workers=options.workers, overlays=0)
        plan = timed("plan", count, lambda: make_plan(config, partial(Sleeping, options.seconds)))
        print(f"  memory {psutil.Process().memory_info().rss / 1e6:.0f} MB, {len(plan.chunks)} chunks")
        with Watch(root / "run", options.kill_after) as watch:
            outcome = timed("extract", count, lambda: extract(plan))
        own, *others = watch.most.values()
        print(
            f"  scheduler {own:.0f} MB, workers {', '.join(f'{most:.0f}' for most in others)} MB, a worker killed:"
            f" {bool(watch.killed)}"
        )
        print(
            f"  kept {outcome.images.kept}, failed {outcome.images.failed}; {len(os.listdir(root / 'run'))} files,"
            f" {sum(path.stat().st_size for path in (root / 'run').iterdir() if path.is_file()) / 1e6:.1f} MB"
        )
        timed("resume a finished run", count, lambda: extract(plan))
        shards = ShardPlan(filters=FilterConfig(min_visible_vertices=1, max_spread=9.0), shard_bytes=64_000_000)
        more = {"overwrite": False, "say": print, "workers": options.workers}
        timed("build-shards", count, lambda: build([root / "run"], root / "shards", "dog", shards, **more))


if __name__ == "__main__":
    main()
