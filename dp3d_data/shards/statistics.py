"""Statistics of each column over all shards: counts, nulls, range, mean and standard deviation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from dp3d_data.shards.table import keypoint_lists


@dataclass
class ColumnStatistics:
    """Sums over what was added so far; lists count by entry. low and high are None before the first number."""

    rows: int = 0
    nulls: int = 0
    values: int = 0
    low: float | None = None
    high: float | None = None
    total: float = 0.0
    squares: float = 0.0

    def add(self, column: pa.ChunkedArray) -> None:
        """Add a column of numbers, of lists of numbers, or of text (rows and nulls only)."""
        array = column.combine_chunks()
        flat = array.flatten() if pa.types.is_list(array.type) else array.drop_null()
        own = ColumnStatistics(len(column), column.null_count, len(flat))
        if len(flat) and (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
            numbers = flat.to_numpy(zero_copy_only=False)
            own.low, own.high = float(numbers.min()), float(numbers.max())
            numbers = numbers.astype(np.float64)
            own.total = float(numbers.sum())
            own.squares = float(np.square(numbers, out=numbers).sum())
        self.merge(own)

    def merge(self, other: ColumnStatistics) -> None:
        """Add what another one has seen."""
        for name in ("rows", "nulls", "values", "total", "squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.low is not None and other.high is not None:
            self.low = other.low if self.low is None else min(self.low, other.low)
            self.high = other.high if self.high is None else max(self.high, other.high)

    def summary(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        result: dict[str, Any] = {"rows": self.rows, "nulls": self.nulls}
        if self.low is not None and self.high is not None:
            mean = self.total / self.values
            deviation = math.sqrt(max(self.squares / self.values - mean * mean, 0.0))
            numbers = {"min": self.low, "max": self.high, "mean": mean, "std": deviation}
            result |= {"values": self.values} | {name: float(f"{number:.7g}") for name, number in numbers.items()}
        return result


class Statistics:
    """Statistics of the tables added: every column, the usual size of an instance, and how often each vertex is seen.

    Attributes:
        columns: by name.
        radius: of the instances, see keypoint_radii.
        visible: [K] instances that show each vertex.
    """

    def __init__(self, num_vertices: int) -> None:
        self.columns: dict[str, ColumnStatistics] = {}
        self.radius = ColumnStatistics()
        self.visible = np.zeros(num_vertices, dtype=np.int64)

    def add(self, table: pa.Table) -> None:
        """Add the instances of a table."""
        for name in table.column_names:
            self.columns.setdefault(name, ColumnStatistics()).add(table.column(name))
        self.radius.add(pa.chunked_array([pa.array(keypoint_radii(table))]))
        self.visible += np.bincount(keypoint_lists(table)[1], minlength=len(self.visible))[: len(self.visible)]

    def merge(self, other: Statistics) -> None:
        """Add what another one has seen."""
        for name, column in other.columns.items():
            self.columns.setdefault(name, ColumnStatistics()).merge(column)
        self.radius.merge(other.radius)
        self.visible += other.visible

    def state(self) -> dict[str, Any]:
        """All of it as plain values, exactly."""
        columns = {name: asdict(column) for name, column in self.columns.items()}
        return {"columns": columns, "radius": asdict(self.radius), "visible": self.visible.tolist()}

    @staticmethod
    def from_state(state: dict[str, Any]) -> Statistics:
        """What `state` gave."""
        result = Statistics(len(state["visible"]))
        result.columns = {name: ColumnStatistics(**column) for name, column in state["columns"].items()}
        result.radius = ColumnStatistics(**state["radius"])
        result.visible = np.array(state["visible"], dtype=np.int64)
        return result

    def summary(self) -> dict[str, dict[str, Any]]:
        """Plain values for the manifest, in order of the columns."""
        return {name: column.summary() for name, column in self.columns.items()}

    def mean_radius(self) -> float:
        """Mean over instances of the root mean square distance of keypoints to their mean, image pixels."""
        return float(f"{self.radius.total / self.radius.values:.7g}") if self.radius.values else 0.0


def keypoint_radii(table: pa.Table) -> Float[np.ndarray, "N"]:
    """Root mean square distance of each instance's visible keypoints to their mean, image pixels; 0 without
    keypoints."""
    offsets, _, *axes = keypoint_lists(table)
    counts = np.diff(offsets)
    row = np.repeat(np.arange(len(counts)), counts)
    number = np.maximum(counts, 1)
    variance = np.zeros(len(counts))
    for values in (axis.astype(np.float64) for axis in axes):
        mean = np.bincount(row, values, minlength=len(counts)) / number
        variance += np.bincount(row, (values - mean[row]) ** 2, minlength=len(counts)) / number
    return np.sqrt(variance)
