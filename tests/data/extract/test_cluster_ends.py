"""Workers, schedulers and users that end in the middle of a run."""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import pytest
from click.testing import CliRunner

import pipelines.cluster as cluster
from dp3d_data.datasets.images import read_image
from dp3d_data.errors import WorkerLost
from dp3d_data.shards import Run
from pipelines.chunks import Executor
from pipelines.cli.extract import extract
from tests.data.extract.test_cluster import counting, make_chunks
from tests.data.extract.world import CLASSES, make_world, run
from tests.shared import ROOT
from tests.synthetic_predictor import SyntheticPredictor, image_key

DOG = "dp3d_data/datasets/samples/dog.jpg"


class DeadlyPredictor(SyntheticPredictor):
    """Ends its process where it sees one of the deadly images."""

    def predict(self, image, *args, **kwargs):
        if image_key(image) in self.deadly:
            os._exit(9)
        return super().predict(image, *args, **kwargs)


class Deadly:
    """A picklable maker of the predictor."""

    def __init__(self, known, deadly):
        self.known, self.deadly = known, deadly

    def __call__(self):
        predictor = DeadlyPredictor(self.known, 162, CLASSES)
        predictor.deadly = self.deadly
        return predictor


@pytest.mark.slow  # eight processes are started anew
def test_an_image_that_ends_its_worker_is_the_one_failure(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    known = make_world(folder, 9)
    deadly = image_key(read_image(folder / "005.png").pixels[:, :, ::-1])
    monkeypatch.setattr("tests.data.extract.world.predictor_of", lambda known: Deadly(known, {deadly}))
    outcome = run(folder, tmp_path / "out", known, workers=2, overlays=9)
    (failure,) = Run.open(tmp_path / "out").failures().to_pylist()
    assert (failure["image_id"], failure["stage"], failure["error"]) == ("005.png", "worker", "WorkerLost")
    assert outcome.images.failed == 1 and len(outcome.run.overlays) == 8
    monkeypatch.undo()
    mended = run(folder, tmp_path / "out", known, workers=2, overlays=9, retry_failed=True)
    assert mended.images.failed == 0 and mended.images.kept == outcome.images.kept + 1


@pytest.fixture
def scheduler():
    """A scheduler without workers, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*words, "--dashboard-address", "127.0.0.1:0"], stderr=subprocess.DEVNULL)
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield process, f"tcp://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_a_scheduler_without_workers_says_so_and_one_that_dies_is_one_error(scheduler, tmp_path, monkeypatch):
    process, address = scheduler
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(cluster, "PATIENCE_SECONDS", 0.5)
    told = []

    def say(line):
        told.append(line)
        if "no workers are up" in line:
            process.kill()

    with pytest.raises(WorkerLost, match=r"the Dask scheduler is gone(.|\n)*goes on where it stopped"):
        make_chunks(partial(counting, tmp_path), {0: [1]}, Executor(0, scheduler=address), lambda *_: None, say)
    assert len(told) == 2 and "start some: dask worker ADDRESS" in told[1]


@pytest.mark.slow  # networks are loaded
def test_ctrl_c_ends_two_workers_in_silence(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.jpg").symlink_to(ROOT / DOG)
    words = [
        "extract",
        "--images",
        str(folder),
        "--out",
        str(out),
        "--set",
        "part=1",
        "--workers",
        "2",
        "--set",
        "overlays=0",
    ]
    place = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines.cli.data", *words]
    pipes = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    obey = partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # a shell's jobs in the background ignore Ctrl-C, and so do their own
    running = subprocess.Popen(command, env=place, cwd=ROOT, preexec_fn=obey, **pipes)
    for _ in range(600):
        if list(out.glob("instances-*.parquet")):
            break
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=600)
    assert running.returncode == 130 and said == "interrupted: what was finished stays\n"


def test_a_dry_run_needs_no_gpu_of_the_cluster_s(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    words = [
        "--images",
        str(ROOT / DOG),
        "--out",
        str(tmp_path / "out"),
        "--dry-run",
        "--device",
        "cuda",
        "--cluster",
        "slurm",
    ]
    told = CliRunner().invoke(extract, words)
    assert told.exit_code == 0, told.output
    assert (
        "4 workers" in told.output
        and "no cuda here: looked at on the cpu" in told.output
        and "about 0:00" in told.output
    )
    assert CliRunner().invoke(extract, [*words[:-1], "none.toml"]).exit_code == 3
