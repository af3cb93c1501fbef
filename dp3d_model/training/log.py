"""What a training writes down: losses, times apart from them, and on request the same for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dp3d_data.errors import UsageError
from dp3d_data.loader import KeypointBatch
from dp3d_data.logs import append_line, trim_lines

METRICS_FILE, SPEED_FILE, TENSORBOARD_FOLDER = "metrics.jsonl", "speed.jsonl", "tensorboard"


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

    def write(self, step: int, metrics: dict[str, float], speed: dict[str, float]) -> None:
        """A line of losses, and apart from them one of times, since these differ from run to run."""
        for name, values in ((METRICS_FILE, metrics), (SPEED_FILE, speed)):
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


class Clock:
    """Time of the steps, and the part of it spent waiting for batches; of the last lap and of all."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()
        self._waited = self._seconds = self._all_waited = self._all_seconds = 0.0
        self._steps = 0

    def waiting(self, batches: Iterator[KeypointBatch]) -> KeypointBatch:
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
