"""Rows of the three tables, and what becomes a row of failures or rejects before anything is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dp3d_data.errors import Dp3dError, InputCorrupt
from dp3d_data.records import ImageRecord

NOTHING_FOUND = "nothing found"
NO_BOX = "no box"
OUTSIDE = "box outside the image"
EMPTY_MASK = "empty mask"
CROWD = "crowd"
FEW_VERTICES = "few vertices"


@dataclass
class Rows:
    """What became of some images: rows of the three tables."""

    instances: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Rows) -> None:
        """Append the rows of another image."""
        self.instances += other.instances
        self.failures += other.failures
        self.rejects += other.rejects

    @contextmanager
    def failing(self, record: ImageRecord, stage: str, instance_id: str | None = None) -> Iterator[None]:
        """What goes wrong in the block, for whatever reason, ends it and is a row of failures of the image, or of one
        instance."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one bad image never ends a run
            self.failures.append(failure_row(record, stage, error, instance_id))

    def reject(self, instance_id: str, image_id: str, reason: str, value: float | None = None) -> None:
        """Note an instance, or an image as a whole, that is left out."""
        self.rejects.append({"instance_id": instance_id, "image_id": image_id, "reason": reason, "value": value})


def annotation_rows(record: ImageRecord) -> Rows:
    """The annotations of an image that are no objects to look at: faults fail, crowds are rejected."""
    faults = [
        InputCorrupt(fault, hint="correct this annotation in its file, or leave it out") for fault in record.faults
    ]
    rows = Rows(failures=[failure_row(record, "annotation", fault) for fault in faults])
    for name in record.crowds:
        rows.reject(f"{record.image_id}#{name}", record.image_id, CROWD)
    return rows


def failure_row(record: ImageRecord, stage: str, error: Exception, instance_id: str | None = None) -> dict[str, Any]:
    """One row of the failures table; the message names the instance, if it is one's, and not the path, which has a
    column of its own."""
    message = str(error)
    if isinstance(error, Dp3dError) and error.path is not None:
        message = message.removeprefix(f"{error.path}: ")
    if instance_id is not None:
        message = f"{instance_id}: {message}"
    return {
        "image_id": record.image_id,
        "path": readable(record.path),
        "stage": stage,
        "error": type(error).__name__,
        "message": readable(message) or type(error).__name__,
    }


def readable(value: str) -> str:
    """Text that a table can hold: names that are no UTF-8 are written as escapes."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
