"""Training: draws batches, steps, keeps the state, and can go on exactly where it was stopped."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dp3d_data.config import fingerprint, plain, to_toml
from dp3d_data.errors import NothingToDo, RecipeMismatch, TrainingDiverged
from dp3d_model.config import TrainConfig, model_fields
from dp3d_model.instances import Instances
from dp3d_model.lifter import Lifter
from dp3d_model.model_file import FORMAT, MODEL_FILE, load_weights, read_content, save_atomically, save_model
from dp3d_model.objective import Objective
from dp3d_model.optimisation import learning_rate, make_optimiser, start_average, update_average
from dp3d_model.surface import Surface
from dp3d_model.trunk import recalibrate

STATE_FILE, METRICS_FILE, CONFIG_FILE = "state.pt", "metrics.jsonl", "config.toml"
RECALIBRATION = 2048

Progress = Callable[[int, int, dict[str, float]], None]


class Trainer:
    """Trains one model in one folder: config.toml, metrics.jsonl, state.pt while it runs, model.pt at the end.

    The numbers of a step depend on the seed and the step alone, so a run that was killed and taken up again gives the same
    losses to the last bit on the CPU.

    Raises:
        NothingToDo: fewer than two instances.
    """

    def __init__(self, surface: Surface, instances: Instances, config: TrainConfig, folder: str | Path) -> None:
        if len(instances) < 2:
            raise NothingToDo("too few instances to train on", got=len(instances), expected="at least 2")
        self.surface, self.instances, self.config, self.folder = surface, instances, config, Path(folder)
        self.recipe = fingerprint(config, surface.content_hash, list(instances.ids))
        self.batch = min(config.batch, len(instances))
        self.epoch_steps = max(1, len(instances) // self.batch)
        self.steps = config.steps or config.epochs * self.epoch_steps
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
        for name in (STATE_FILE, MODEL_FILE, METRICS_FILE):
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
        while self.step < self.steps:
            losses = self.train_step()
            if self.step % self.config.log_every == 0 or self.step == self.steps:
                self._log(losses)
            if self.step % self.config.save_every == 0 or self.step == self.steps:
                self.save_state()
            if progress:
                progress(self.step, self.steps, losses)
        lifter = self.averaged_lifter()
        trained = {"steps": self.step, "instances": len(self.instances)}
        save_model(lifter, self.folder / MODEL_FILE, self.recipe, trained)
        return lifter

    def train_step(self) -> dict[str, float]:
        """One step of the optimiser; its losses by name."""
        generator = self._generator(1, self.step)
        keypoints, visible = self.draw(self.step, generator)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.steps)
        losses = self.objective(self.objective.lifter.observe(keypoints, visible), generator)
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

    def draw(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Keypoints and visibility of a step's batch: every instance once an epoch, in an order of the epoch's own."""
        epoch, place = divmod(step, self.epoch_steps)
        order = torch.randperm(len(self.instances), generator=self._generator(0, epoch))
        chosen = order[place * self.batch : (place + 1) * self.batch]
        visible = self.instances.visible[chosen]
        if self.config.hide:
            visible = hide_at_random(visible, self.config.hide, generator)
        return self.instances.keypoints[chosen], visible

    def averaged_lifter(self) -> Lifter:
        """Phi with the averaged weights and with batch statistics recalibrated for them, ready for evaluation."""
        lifter = copy.deepcopy(self.objective.lifter)
        lifter.load_state_dict(self.average, strict=False)
        total = min(len(self.instances), RECALIBRATION)
        order = torch.randperm(len(self.instances), generator=self._generator(2, 0))[:total]
        groups = order.tensor_split(max(1, total // self.batch))
        batches = [(self.instances.keypoints[part], self.instances.visible[part]) for part in groups]
        recalibrate(lifter, lambda batch: lifter.trunk(lifter.encoder(lifter.observe(*batch))), batches)
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

    def _log(self, losses: dict[str, float]) -> None:
        row: dict[str, Any] = {"step": self.step, "learning_rate": self.optimiser.param_groups[0]["lr"]} | losses
        with open(self.folder / METRICS_FILE, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def _trim_metrics(self) -> None:
        """Drop lines of steps that will be made again."""
        path = self.folder / METRICS_FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def hide_at_random(visible: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Hide a random share, up to `largest`, of each instance's visible vertices; at least four of them stay."""
    share = largest * torch.rand(len(visible), 1, generator=generator)
    order = torch.where(visible, torch.rand(visible.shape, generator=generator), 2.0)
    kept = visible & (order >= share)
    return torch.where(kept.sum(1, keepdim=True) >= 4, kept, visible)
