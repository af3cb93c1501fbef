"""What experiments share: shards to learn from and to measure on, and runs that are found again."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.config import changed, file_digest, fingerprint_of, plain
from dp3d_data.errors import InputMissing, ShardError, TemplateError
from dp3d_data.files import read_json, write_json, write_text
from dp3d_data.loader import Source, shard_source
from dp3d_data.shards import require_files
from dp3d_data.shards.batch import KeypointBatch
from dp3d_data.shards.reader import ShardReader
from dp3d_model.config import TrainConfig
from dp3d_model.geometry.surface import Surface, surface_of
from dp3d_model.lifting.model_file import MODEL_FILE, load_model, read_content
from dp3d_model.networks.lifter import Lifter
from dp3d_model.training.trainer import STATE_FILE, Trainer

PACE_STEPS, PACE_SKIPPED = 9, 3
_FAR = 1 << 30
MEASURE = 1  # raised when the same model would be measured differently

OnStep = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Runs:
    """Where an experiment trains, and on what.

    Attributes:
        surface: the template, with all functions of the shards' basis.
        source: the instances to learn from.
        test: the instances with truth to measure on; test_identity, a fingerprint of them.
        folder: of the experiment.
        threads: that read ahead.
        overwrite: discard runs of other settings.
        progress: told the run's name, its step and its steps.
    """

    surface: Surface
    source: Source
    test: KeypointBatch
    test_identity: str
    folder: Path
    threads: int = 1
    overwrite: bool = False
    progress: OnStep = lambda name, step, steps: None

    def trained(self, name: str, config: TrainConfig, source: Source | None = None) -> Lifter:
        """The model of a recipe, from folder/runs/NAME: loaded where it is finished, otherwise trained to its end.

        Raises:
            FingerprintMismatch: the folder holds a run of other settings.
            TrainingDiverged: see Trainer.run.
        """
        trainer = self._trainer(config, self.run_folder(name), source)
        if not trainer.finished():
            path = trainer.folder / STATE_FILE
            known = path.is_file() and read_content(path, "state")["recipe"] == trainer.fingerprint
            if self.overwrite and not known:
                trainer.discard()
            trainer.resume()
            trainer.run(lambda step, steps, losses: self.progress(name, step, steps))
        return load_model(trainer.folder)

    def run_folder(self, name: str) -> Path:
        """Where a run lies: an ordinary folder of dp3d-model train."""
        return self.folder / "runs" / name

    def measured(
        self, name: str, config: TrainConfig, measure: Callable[[Lifter], Any], source: Source | None = None
    ) -> tuple[Lifter, Any]:
        """The model of a recipe, and what `measure` makes of it, which is kept beside it in scores.json."""
        lifter, folder = self.trained(name, config, source), self.run_folder(name)
        fingerprint = fingerprint_of(file_digest(folder / MODEL_FILE), self.test_identity, MEASURE)
        return lifter, kept(folder / "scores.json", fingerprint, lambda: measure(lifter))

    def pace(self, config: TrainConfig) -> float:
        """Seconds a step of a recipe takes here, measured once and kept in folder/pace.json."""
        any_length = changed(config, {"optim.steps": 0, "optim.epochs": 0})
        key = fingerprint_of(any_length, self.surface.content_hash, self.source.identity)
        path = self.folder / "pace.json"
        known = known_in(path)
        if key not in known:
            marks = [time.perf_counter()]
            with tempfile.TemporaryDirectory() as folder:
                own = {"optim": {"steps": PACE_STEPS, "epochs": 0}, "run": {"save_every": _FAR, "log_every": _FAR}}
                short = changed(config, own)
                self._trainer(short, Path(folder)).run(lambda *_: marks.append(time.perf_counter()))
            known[key] = float(np.median(np.diff(marks[PACE_SKIPPED:])))
            write_json(path, known)
        return float(known[key])

    def _trainer(self, config: TrainConfig, folder: Path, source: Source | None = None) -> Trainer:
        surface = replace(self.surface, functions=self.surface.functions[:, : config.model.basis])
        return Trainer(surface, source or self.source, config, folder, threads=self.threads)


def known_in(path: Path) -> dict[str, Any]:
    """What was measured before; nothing where the file is missing or damaged."""
    try:
        return read_json(path, "measurement", sealed=True)
    except (InputMissing, ShardError):
        return {}


def kept(path: Path, fingerprint: str, measure: Callable[[], Any]) -> Any:
    """A measurement from a file, made anew where the file is missing, damaged or of other settings."""
    found = known_in(path)
    if found.get("recipe") != fingerprint:
        found = {"recipe": fingerprint, "result": plain(measure())}
        write_json(path, found, sort_keys=False)
    return found["result"]


def write_result(path: Path, content: Any, text: str) -> None:
    """What other programs and people read: PATH.json and PATH.md."""
    write_text(path.with_name(f"{path.name}.json"), json.dumps(plain(content), indent=1) + "\n")
    write_text(path.with_name(f"{path.name}.md"), text)


def open_runs(
    reader: ShardReader,
    split: str,
    other: ShardReader,
    test: tuple[KeypointBatch, str],
    folder: Path,
    fields: tuple[str, ...] = (),
    **options: Any,
) -> Runs:
    """The runs of an experiment that learns from shards and measures on others.

    Args:
        test: of the others, as `open_test` gives it.
        fields: what training needs of an instance besides keypoints.
        options: see Runs.

    Raises:
        InputMissing, UsageError, ShardError: see ShardReader.
        TemplateError: the two belong to different templates.
    """
    if not reader.remote:
        require_files(reader.folder)
    if reader.template.content_hash != other.template.content_hash:
        what = "the shards to measure on belong to another template than those to learn from"
        got, expected = (f"{one.template.name} {one.template.content_hash}" for one in (other, reader))
        raise TemplateError(what, got=got, expected=expected, path=other.folder)
    surface = surface_of(reader.template, reader.basis.functions, reader.basis.functions.shape[1])
    return Runs(surface, shard_source(reader, split, fields), *test, folder, **options)


def open_test(reader: ShardReader, split: str, count: int) -> tuple[KeypointBatch, str]:
    """The instances with truth of a split, or the first of them, and a fingerprint of what they are.

    Raises:
        NothingToDo: none carries its true shape.
    """
    test = reader.split(split).with_truth()
    test = test.take(range(min(count, len(test)))) if count else test
    return test, fingerprint_of(reader.fingerprint, split, len(test))
