"""The commands that write folders, small enough to be run many times, in a process that ends itself at its n-th
rename."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from dp3d_data.errors import Dp3dError
from pipelines.chunks import make_run as project
from pipelines.chunks import make_run as synth
from pipelines.project import make_plan as make_project
from pipelines.settings import SynthConfig
from pipelines.shards import rebuild
from pipelines.synth import make_plan as make_synth
from tests.data.extract.world import make_world
from tests.data.extract.world import run as extract
from tests.data.project.dogs import dog_fit, settings
from tests.data.shards.killed_build import PLAN, build_there, die_at
from tests.data.shards.samples import two_runs
from tests.model.toy import source_of, tiny, toy_instances, toy_surface


def prepare(root: Path) -> None:
    """What the commands read."""
    make_world(root / "photos", 6)
    two_runs(root)
    build_there(root, root / "shards")


def train(root: Path, out: Path) -> None:
    from dp3d_model.training.trainer import Trainer

    surface = toy_surface()
    trainer = Trainer(
        surface, source_of(toy_instances(surface, 20)), tiny({"optim.steps": 4, "run.save_every": 1}), out
    )
    if not trainer.finished():
        trainer.resume()
        trainer.run()


def _extract(root: Path, out: Path) -> None:
    known = make_world(
        root / f"own-{os.getpid()}", 6
    )  # what the predictor knows; the photographs themselves stay as they are
    extract(root / "photos", out, known, part=2, overlays=1)


def _synth(root: Path, out: Path) -> None:
    synth(make_synth(SynthConfig(category="dog", count=4, part=1, size=64, overlays=0, out=str(out), workers=1)))


def _project(root: Path, out: Path) -> None:
    project(make_project(settings(root, [dog_fit(number) for number in range(4)], part=1, out=str(out))))


def _rebuild(root: Path, out: Path) -> None:
    rebuild([str(root / "shards")], str(out), PLAN, overwrite=False, say=lambda line: None)


COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "extract": _extract,
    "synth": _synth,
    "project": _project,
    "build-shards": build_there,
    "merge": _rebuild,
    "train": train,
}


def work(command: str, root: Path, out: Path, rename: int = 0) -> None:
    """Run a command in a process of its own, killed before rename number `rename` where that is not 0."""
    import torch

    torch.set_num_threads(1)
    if rename:
        die_at("before" if rename % 2 else "after", rename)
    try:
        COMMANDS[command](root, out)
    except Dp3dError as error:
        os._exit(error.exit_code)
    os._exit(0)


def serve(pipe: Connection) -> None:
    """Answer lists of jobs (see `work`) with the exit codes of their processes, until an empty list comes.

    A fork server of multiprocessing would do, were it not one for a whole program, with what the first one asked for.
    """
    context = multiprocessing.get_context("fork")
    while jobs := pipe.recv():
        running = [context.Process(target=work, args=job) for job in jobs]
        for process in running:
            process.start()
        for process in running:
            process.join(timeout=600)
        pipe.send([process.exitcode for process in running])


def killed(code: int | None) -> bool:
    return code == -signal.SIGKILL
