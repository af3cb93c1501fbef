"""What the commands of experiments share: shards opened to learn from and to measure on, and a line of progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from dp3d_data.config import fingerprint
from dp3d_data.errors import TemplateMismatch
from dp3d_data.loader import ShardSource
from dp3d_data.shards import require_files
from dp3d_data.shards.batch import KeypointBatch
from dp3d_data.shards.reader import ShardReader
from dp3d_model.experiments.runs import Runs
from dp3d_model.geometry.surface import surface_of


class Report:
    """Lines that stay, and below them the progress of the run at work."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(f"  {line}", markup=False)

    def show(self, name: str, step: int, steps: int) -> None:
        """The progress of one run; the others disappear."""
        if self.bar is None:
            return
        if name not in self.tasks:
            self.tasks[name] = self.bar.add_task(name, total=steps)
        for other, task in self.tasks.items():
            self.bar.update(task, visible=other == name and step < steps)
        self.bar.update(self.tasks[name], completed=step)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show the progress while the block runs."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as self.bar:
            yield
        self.bar = None


@dataclass(frozen=True)
class Study:
    """An experiment's runs and the instances that it measures on, with a fingerprint of these."""

    runs: Runs
    test: KeypointBatch
    test_identity: str
    report: Report


@dataclass(frozen=True)
class Inputs:
    """Where an experiment learns and measures.

    Attributes:
        train, test: folders of shards, the first also an fsspec address.
        split, test_split: of them.
        count: first test instances; 0 for all.
    """

    train: str
    split: str
    test: str
    test_split: str
    count: int = 0


def open_study(
    inputs: Inputs, folder: Path, threads: int = 1, overwrite: bool = False, fields: tuple[str, ...] = ()
) -> Study:
    """Open the shards of an experiment.

    Args:
        fields: what training needs of an instance besides keypoints.

    Raises:
        InputMissing, UsageError, ShardError: see ShardReader.
        TemplateMismatch: the two belong to different templates.
        NothingToDo: no test instance carries its true shape.
    """
    reader, other = ShardReader(inputs.train), ShardReader(inputs.test)
    if not reader.remote:
        require_files(reader.folder)
    if reader.template.content_hash != other.template.content_hash:
        raise TemplateMismatch(
            "the shards to measure on belong to another template than those to learn from",
            got=f"{other.template.name} {other.template.content_hash}",
            expected=f"{reader.template.name} {reader.template.content_hash}",
            path=inputs.test,
        )
    surface = surface_of(reader.template, reader.basis.functions, reader.basis.functions.shape[1])
    report, source = Report(), ShardSource(reader, inputs.split, fields)
    test, identity = open_test(other, inputs.test_split, inputs.count)
    return Study(Runs(surface, source, folder, threads, overwrite, report.show), test, identity, report)


def open_test(reader: ShardReader, split: str, count: int) -> tuple[KeypointBatch, str]:
    """The instances with truth of a split, or the first of them, and a fingerprint of what they are.

    Raises:
        NothingToDo: none carries its true shape.
    """
    test = reader.split(split).with_truth()
    test = test.take(range(min(count, len(test)))) if count else test
    return test, fingerprint(reader.recipe, split, len(test))
