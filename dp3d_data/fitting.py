"""The training loop of every network: optimiser steps, averaged weights, metrics, saved states, divergence."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dp3d_data.errors import TrainingDiverged, UsageError
from dp3d_data.files import append_line, trim_lines
from dp3d_data.ranks import ALONE, Ranks

METRICS_FILE, SPEED_FILE, TENSORBOARD_FOLDER = "metrics.jsonl", "speed.jsonl", "tensorboard"
# The first steps, whose largest loss is what a loss may be; and the least that counts as exploded.
FIRST_STEPS, LEAST_EXPLOSION = 10, 10.0

Losses = dict[str, float]
# Adds the gradients of a batch (made for a step) and returns this process's share of each loss, "total" among them:
# the shares of all processes add up to the losses of the step.
Gradients = Callable[[Any, int], dict[str, Tensor]]
# Called after each step with its number, its losses and, where a line of metrics was written, that line's losses.
OnStep = Callable[[int, Losses, Losses | None], None]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a network is trained.

    Attributes:
        steps: the last one.
        learning_rate: by step; a group of parameters with a "share" learns at that share of it.
        grad_clip: largest norm of the gradient; 0 for any.
        ema_decay: of the averaged weights.
        divergence_factor: stop where the loss is so many times the largest of the first steps; 0 for never.
        save_every, log_every: steps.
        log_means: a line of metrics has the means since the last line, each over the steps that had the loss; else the
            losses of its step.
    """

    steps: int
    learning_rate: Callable[[int], float]
    grad_clip: float = 0.0
    ema_decay: float = 0.0
    divergence_factor: float = 0.0
    save_every: int
    log_every: int
    log_means: bool = False


@dataclass
class TrainingState:
    """What a training needs to go on as if it had never stopped.

    Attributes:
        module: what learns, its losses included.
        average: running averages by name in `averaged`'s state; empty for none.
        averaged: the part of `module` whose weights are averaged.
        usual: the largest loss of the first steps.
    """

    module: nn.Module
    optimiser: torch.optim.Optimizer
    averaged: nn.Module
    average: dict[str, Tensor]
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    step: int = 0
    usual: float = 0.0

    def content(self) -> dict[str, Any]:
        """All but the module's own weights, as a file keeps it."""
        return {
            "step": self.step,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average,
            "usual": self.usual,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Take up `content`, also one without loss scaling or usual loss, as earlier versions wrote it."""
        device = next((value.device for value in self.module.state_dict().values()), torch.device("cpu"))
        self.optimiser.load_state_dict(content["optimiser"])
        self.scaler.load_state_dict(content.get("scaler", {}))
        self.average = {name: value.to(device) for name, value in content["average"].items()}
        self.step, self.usual = content["step"], content.get("usual", 0.0)


class TrainingLog:
    """metrics.jsonl and speed.jsonl of a training folder, and event files for TensorBoard.

    Args:
        step: that the training goes on from; lines of later steps, and one torn by a kill, are dropped: these will be
            made again.

    Raises:
        UsageError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        self._folder = folder
        self._events = _events(folder / TENSORBOARD_FOLDER, step) if tensorboard else None
        for name in (METRICS_FILE, SPEED_FILE):
            trim_lines(folder / name, step)

    def write(self, step: int, metrics: Losses, speed: Losses | None = None) -> None:
        """A line of losses, and apart from them one of times, since these differ from run to run."""
        for name, values in ((METRICS_FILE, metrics), (SPEED_FILE, speed)):
            if values is None:
                continue
            append_line(self._folder / name, {"step": step} | values)
            if self._events:
                for key, value in values.items():
                    self._events.add_scalar(f"{Path(name).stem}/{key}", value, step)

    def close(self) -> None:
        """Write what is held back."""
        if self._events:
            self._events.close()


def _events(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        hint = "pip install 'dp3d[tensorboard]', or leave tensorboard=true out: metrics.jsonl holds the same numbers"
        raise UsageError("TensorBoard is not installed", hint=hint) from error
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def fit(
    state: TrainingState,
    gradients: Gradients,
    batches: Iterator[Any],
    config: FitSettings,
    path: Path,
    save: Callable[[], None],
    *,
    log: TrainingLog | None = None,
    ranks: Ranks = ALONE,
    on_step: OnStep | None = None,
) -> float:
    """Train from the state's step to the last.

    Args:
        batches: this process's, from the state's step on.
        path: of the state, for errors.
        save: writes the state; also called before the first step, so that there is always one to go back to.
        log: of the process that writes; None for the others.

    Returns:
        The share of the time that was spent waiting for batches.

    Raises:
        TrainingDiverged: a loss or gradient became NaN or infinite, or a loss exploded; the last saved state is good.
    """
    if ranks.writes and state.step == 0:
        save()
    recent: list[Losses] = []
    spans: list[float] = []  # seconds of each step since the last line, and those that it waited for its batch
    waits: list[float] = []
    waited, seconds, mark = 0.0, 0.0, time.perf_counter()
    while state.step < config.steps:
        began = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - began)
        losses = optimiser_step(state, gradients, batch, config, path, ranks)
        now = time.perf_counter()
        spans.append(now - mark)
        mark = now
        recent.append(losses)
        last, row = state.step == config.steps, None
        if state.step % config.log_every == 0 or last:
            row, recent = means(recent) if config.log_means else losses, []
            speed = {"seconds": sum(spans) / len(spans), "waited": sum(waits) / max(sum(spans), 1e-9)}
            waited, seconds, waits, spans = waited + sum(waits), seconds + sum(spans), [], []
            if log:
                log.write(state.step, {"learning_rate": state.optimiser.param_groups[0]["lr"]} | row, speed)
        if ranks.writes and (state.step % config.save_every == 0 or last):
            save()
        if on_step:
            on_step(state.step, losses, row)
    return waited / max(seconds, 1e-9)


def means(rows: list[Losses]) -> Losses:
    """The mean of each loss over the rows that have it."""
    names = {name: None for row in rows for name in row}
    columns = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: sum(values) / len(values) for name, values in columns.items()}


def optimiser_step(
    state: TrainingState, gradients: Gradients, batch: Any, config: FitSettings, path: Path, ranks: Ranks = ALONE
) -> Losses:
    """One step of the optimiser; its losses by name, over all processes.

    Raises:
        TrainingDiverged: see `fit`; the weights stay.
    """
    for group in state.optimiser.param_groups:
        group["lr"] = group.get("share", 1.0) * config.learning_rate(state.step)
    state.optimiser.zero_grad(set_to_none=True)
    shares = gradients(batch, state.step)
    losses = dict(zip(shares, ranks.sum(torch.stack(list(shares.values()))).tolist(), strict=True))
    ranks.sum_gradients(state.module.parameters())
    state.scaler.unscale_(state.optimiser)
    norm = float(nn.utils.clip_grad_norm_(state.module.parameters(), config.grad_clip or math.inf))
    _check(state, losses, norm, config, path)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    _update_average(state, config.ema_decay)
    state.step += 1
    return losses


def _check(state: TrainingState, losses: Losses, norm: float, config: FitSettings, path: Path) -> None:
    """Stop before a step that would spoil the weights."""
    total, scaled = losses["total"], state.scaler.is_enabled() and state.scaler.get_scale() >= 1.0
    if not math.isfinite(total):
        raise TrainingDiverged(f"the loss is no longer finite at step {state.step}", got=losses, path=path)
    if not math.isfinite(norm) and not scaled:  # loss scaling leaves such a step out, and scales less
        raise TrainingDiverged(f"the gradient is no longer finite at step {state.step}", got=losses, path=path)
    if state.step < FIRST_STEPS:
        state.usual = max(state.usual, total)
    limit = max(config.divergence_factor * state.usual, LEAST_EXPLOSION)
    if config.divergence_factor and total > limit:
        expected = f"a total below {limit:.3g}"
        raise TrainingDiverged(f"the loss exploded at step {state.step}", got=losses, expected=expected, path=path)


@torch.no_grad()
def _update_average(state: TrainingState, largest: float) -> None:
    """Move the averaged weights; early on they follow faster, so that they forget the random start."""
    decay, present = min(largest, (1 + state.step) / (10 + state.step)), state.averaged.state_dict()
    for name, value in state.average.items():
        if value.is_floating_point():
            value.lerp_(present[name], 1 - decay)
        else:
            value.copy_(present[name])


def copied(values: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by name, to average from."""
    return {name: value.detach().clone() for name, value in values}
