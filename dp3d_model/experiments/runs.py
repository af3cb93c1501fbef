"""Training runs of an experiment: each in a folder of its own, found when it is there already, gone on with when it was
cut short."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dp3d_data.config import changed, fingerprint, plain
from dp3d_data.errors import InputMissing, ShardError
from dp3d_data.files import read_json, write_json, write_text
from dp3d_data.loader import Source
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.surface import Surface
from dp3d_model.lifting.model_file import load_model, read_content
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.trainer import STATE_FILE, Trainer

PACE_STEPS, PACE_SKIPPED = 9, 3
_FAR = 1 << 30

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Runs:
    """Where an experiment trains, and on what.

    Attributes:
        surface: the template, with all functions of the shards' basis.
        source: the instances to learn from.
        folder: of the experiment.
        threads: that read ahead.
        overwrite: discard runs of another recipe.
        progress: told the run's name, its step and its steps.
    """

    surface: Surface
    source: Source
    folder: Path
    threads: int = 1
    overwrite: bool = False
    progress: Progress = lambda name, step, steps: None

    def trained(self, name: str, config: TrainConfig, source: Source | None = None) -> Lifter:
        """The model of a recipe, from folder/runs/NAME: loaded where it is finished, otherwise trained to its end.

        Raises:
            RecipeMismatch: the folder holds a run of another recipe.
            TrainingDiverged: see Trainer.run.
        """
        trainer = self._trainer(config, self.run_folder(name), source)
        if not trainer.finished():
            if self.overwrite and not self._of_this_recipe(trainer):
                trainer.discard()
            trainer.resume()
            trainer.run(lambda step, steps, losses: self.progress(name, step, steps))
        return load_model(trainer.folder)

    def run_folder(self, name: str) -> Path:
        """Where a run lies: an ordinary folder of dp3d-model train."""
        return self.folder / "runs" / name

    def pace(self, config: TrainConfig) -> float:
        """Seconds a step of a recipe takes here, measured once and kept in folder/pace.json."""
        key = fingerprint(
            changed(config, {"optim.steps": 0, "optim.epochs": 0}), self.surface.content_hash, self.source.identity
        )
        path = self.folder / "pace.json"
        known = known_in(path)
        if key not in known:
            marks = [time.perf_counter()]
            with tempfile.TemporaryDirectory() as folder:
                short = changed(
                    config,
                    {"optim": {"steps": PACE_STEPS, "epochs": 0}, "run": {"save_every": _FAR, "log_every": _FAR}},
                )
                self._trainer(short, Path(folder)).run(lambda *_: marks.append(time.perf_counter()))
            steps = [
                after - before for before, after in zip(marks[PACE_SKIPPED:], marks[PACE_SKIPPED + 1 :], strict=False)
            ]
            known[key] = statistics.median(steps)
            write_json(path, known)
        return float(known[key])

    def _trainer(self, config: TrainConfig, folder: Path, source: Source | None = None) -> Trainer:
        surface = replace(self.surface, functions=self.surface.functions[:, : config.model.basis])
        return Trainer(surface, source or self.source, config, folder, threads=self.threads)

    @staticmethod
    def _of_this_recipe(trainer: Trainer) -> bool:
        path = trainer.folder / STATE_FILE
        return path.is_file() and read_content(path, "state")["recipe"] == trainer.recipe


def known_in(path: Path) -> dict[str, Any]:
    """What was measured before; nothing where the file is missing or damaged."""
    try:
        return read_json(path, "measurement", sealed=True)
    except (InputMissing, ShardError):
        return {}


def kept(path: Path, recipe: str, measure: Callable[[], Any]) -> Any:
    """A measurement from a file, made anew where the file is missing, damaged or of another recipe."""
    found = known_in(path)
    if found.get("recipe") != recipe:
        found = {"recipe": recipe, "result": plain(measure())}
        write_json(path, found, sort_keys=False)
    return found["result"]


def write_result(path: Path, content: Any) -> None:
    """What people and other programs read."""
    write_text(path, json.dumps(plain(content), indent=1) + "\n")
