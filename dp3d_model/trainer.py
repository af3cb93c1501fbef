"""Training: draws batches, steps, keeps the state, and can go on exactly where it was stopped."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dp3d_data.config import fingerprint, plain, to_toml
from dp3d_data.errors import NothingToDo, RecipeMismatch, TrainingDiverged
from dp3d_data.loader import Batch, Loader, Source
from dp3d_model.augmentation import hide_at_random, mirrored, shake, turned
from dp3d_model.config import TrainConfig, model_fields
from dp3d_model.lens import about_the_axis
from dp3d_model.lifter import Lifter
from dp3d_model.model_file import FORMAT, MODEL_FILE, load_weights, read_content, save_atomically, save_model
from dp3d_model.objective import Objective
from dp3d_model.observation import Observation
from dp3d_model.optimisation import learning_rate, make_optimiser, start_average, update_average
from dp3d_model.surface import Surface
from dp3d_model.trunk import recalibrate

STATE_FILE, METRICS_FILE, SPEED_FILE, CONFIG_FILE = "state.pt", "metrics.jsonl", "speed.jsonl", "config.toml"
RECALIBRATION = 2048
# An epoch that no training reaches; its batches recalibrate.
_ASIDE = 1 << 32

Progress = Callable[[int, int, dict[str, float]], None]


class Trainer:
    """Trains one model in one folder: config.toml, metrics.jsonl, speed.jsonl, state.pt while it runs, model.pt at the end.

    The numbers of a step depend on the seed and the step alone, so a run that was killed and taken up again gives the same
    losses to the last bit on the CPU.

    Args:
        source: the instances to learn from; of a ShardSource only what a step needs is in memory.
        threads: that read batches ahead; they change no number.

    Attributes:
        waited: share of the training's time that was spent waiting for batches.

    Raises:
        NothingToDo: fewer than two instances.
    """

    def __init__(self, surface: Surface, source: Source, config: TrainConfig, folder: str | Path, *, threads: int = 1) -> None:
        self.instances = sum(source.sizes)
        if self.instances < 2:
            raise NothingToDo("too few instances to train on", got=self.instances, expected="at least 2")
        self.surface, self.config, self.folder = surface, config, Path(folder)
        self.recipe = fingerprint(config, surface.content_hash, source.identity)
        order = {"batch_size": min(config.batch, self.instances), "seed": config.seed, "window": config.window, "drop_last": True}
        self.loader = Loader(source, **order, threads=threads, rank=0, ranks=1)
        self.steps = config.steps or config.epochs * len(self.loader)
        self.waited = 0.0
        torch.manual_seed(config.seed)
        self.objective = Objective(surface, config)
        self.optimiser = make_optimiser(self.objective, config)
        self.average = start_average(self.objective.lifter) if config.average else {}
        self.step = 0

    def resume(self, *, other_settings: bool = False) -> bool:
        """Take up the state in the folder; False where there is none.

        Args:
            other_settings: accept a state of another recipe, as long as the network has the same shape.

        Raises:
            RecipeMismatch: the state belongs to another recipe.
        """
        path = self.folder / STATE_FILE
        if not path.is_file():
            return False
        state = read_content(path, "state")
        if state["recipe"] != self.recipe:
            same_shape = all(state["config"].get(name) == plain(getattr(self.config, name)) for name in model_fields())
            if not (other_settings and same_shape):
                raise RecipeMismatch("this folder holds a run of another recipe", got=state["recipe"], expected=self.recipe, path=path)
        load_weights(self.objective, state["objective"], path)
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]
        return True

    def finished(self) -> bool:
        """Whether the folder already holds this very model, trained to the end."""
        path = self.folder / MODEL_FILE
        return path.is_file() and read_content(path, "model")["recipe"] == self.recipe

    def discard(self) -> None:
        """Remove the state and the model of an earlier run."""
        for name in (STATE_FILE, MODEL_FILE, METRICS_FILE, SPEED_FILE):
            (self.folder / name).unlink(missing_ok=True)

    def run(self, progress: Progress | None = None) -> Lifter:
        """Train to the end and write the model.

        Raises:
            TrainingDiverged: a loss or gradient became NaN or infinite; state.pt holds the last good state.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / CONFIG_FILE).write_text(to_toml(self.config), encoding="utf-8")
        self._trim_metrics()
        self.objective.train()
        if self.step == 0:
            self.save_state()
        batches, clock = self.loader.from_step(self.step), Clock()
        while self.step < self.steps:
            batch = clock.waiting(batches)
            losses = self.train_step(batch)
            clock.stepped()
            if self.step % self.config.log_every == 0 or self.step == self.steps:
                self._log(losses, clock)
            if self.step % self.config.save_every == 0 or self.step == self.steps:
                self.save_state()
            if progress:
                progress(self.step, self.steps, losses)
        batches.close()
        self.waited = clock.share()
        lifter = self.averaged_lifter()
        trained = {"steps": self.step, "instances": self.instances}
        save_model(lifter, self.folder / MODEL_FILE, self.recipe, trained)
        return lifter

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser; its losses by name."""
        generator = self._generator(1, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.steps)
        losses = self.objective(*self.observed(batch, generator), generator)
        self.optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.clip or math.inf)
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not (math.isfinite(values["total"]) and math.isfinite(float(norm))):
            raise TrainingDiverged(f"the loss is no longer finite at step {self.step}", got=values, path=self.folder / STATE_FILE)
        self.optimiser.step()
        if self.average:
            update_average(self.average, self.objective.lifter, self.config.average, self.step)
        self.step += 1
        return values

    def observed(self, batch: Batch, generator: torch.Generator) -> tuple[Observation, Observation]:
        """What the network is shown of a batch, and all that is known of it, in the same units."""
        config, visible = self.config, batch.visible
        keypoints, cameras = about_the_axis(batch.keypoints, batch.cameras)
        if config.turn:
            keypoints = turned(keypoints, config.turn, generator)
        if config.mirror and self.surface.symmetry is not None:
            keypoints, visible = mirrored(keypoints, visible, self.surface.symmetry, generator)
        whole = keypoints, visible
        if config.hide:
            visible = hide_at_random(visible, config.hide, generator)
        if config.shake:
            keypoints = shake(keypoints, visible, config.shake, generator)
        shown = self.objective.lifter.observe(keypoints, visible, cameras)
        return shown, shown.with_keypoints(*whole, cameras) if config.hide or config.shake else shown

    def averaged_lifter(self) -> Lifter:
        """Phi with the averaged weights and with batch statistics recalibrated for them, ready for evaluation."""
        lifter = copy.deepcopy(self.objective.lifter)
        lifter.load_state_dict(self.average, strict=False)
        count = max(1, min(self.instances, RECALIBRATION) // self.loader.order.batch)
        drawn = self.loader.from_step(_ASIDE * len(self.loader))
        batches = [(batch.keypoints, batch.visible, batch.cameras) for batch in islice(drawn, count)]
        drawn.close()
        recalibrate(lifter, lambda batch: lifter.numbers(lifter.observe(*batch)), batches)
        return lifter

    def save_state(self) -> None:
        """Write everything that resume needs."""
        state = {
            "format": FORMAT,
            "recipe": self.recipe,
            "config": plain(self.config),
            "step": self.step,
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
        }
        save_atomically(state, self.folder / STATE_FILE)

    def _generator(self, stream: int, index: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.config.seed, stream, index]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed) & (2**63 - 1))

    def _log(self, losses: dict[str, float], clock: Clock) -> None:
        """A line of losses, and apart from them one of times, since these differ from run to run."""
        metrics: dict[str, Any] = {"step": self.step, "learning_rate": self.optimiser.param_groups[0]["lr"]} | losses
        speed = {"step": self.step} | clock.lap()
        for name, row in ((METRICS_FILE, metrics), (SPEED_FILE, speed)):
            with open(self.folder / name, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    def _trim_metrics(self) -> None:
        """Drop lines of steps that will be made again."""
        for path in (self.folder / METRICS_FILE, self.folder / SPEED_FILE):
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


class Clock:
    """Time of the steps, and the part of it spent waiting for batches; of the last lap and of all."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()
        self._waited = self._seconds = self._all_waited = self._all_seconds = 0.0
        self._steps = 0

    def waiting(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; the time until it is there counts as waiting."""
        began = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - began
        return batch

    def stepped(self) -> None:
        """A step has ended; what has passed since the last one is its time."""
        now = time.perf_counter()
        self._seconds, self._mark, self._steps = self._seconds + now - self._mark, now, self._steps + 1

    def lap(self) -> dict[str, float]:
        """Seconds a step and the share of them spent waiting since the last lap."""
        found = {"seconds": self._seconds / max(self._steps, 1), "waited": self._waited / max(self._seconds, 1e-9)}
        self._all_waited, self._all_seconds = self._all_waited + self._waited, self._all_seconds + self._seconds
        self._waited, self._seconds, self._steps = 0.0, 0.0, 0
        return found

    def share(self) -> float:
        """The share of all laps spent waiting."""
        return self._all_waited / max(self._all_seconds, 1e-9)
