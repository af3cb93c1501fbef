"""Statistics of each column over all shards: counts, nulls, range, mean and standard deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa


@dataclass
class ColumnStatistics:
    """Sums over what was added so far; lists count by entry."""

    rows: int = 0
    nulls: int = 0
    values: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    squares: float = 0.0

    def add(self, column: pa.ChunkedArray) -> None:
        """Add a column of numbers, of lists of numbers, or of text (rows and nulls only)."""
        self.rows += len(column)
        self.nulls += column.null_count
        array = column.combine_chunks()
        flat = array.flatten() if pa.types.is_list(array.type) else array.drop_null()
        self.values += len(flat)
        if len(flat) and (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
            numbers = flat.to_numpy(zero_copy_only=False).astype(np.float64)
            self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
            self.total += float(numbers.sum())
            self.squares += float(np.square(numbers).sum())

    def summary(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        result: dict[str, Any] = {"rows": self.rows, "nulls": self.nulls}
        if self.high >= self.low:
            mean = self.total / self.values
            deviation = math.sqrt(max(self.squares / self.values - mean * mean, 0.0))
            numbers = {"min": self.low, "max": self.high, "mean": mean, "std": deviation}
            result |= {"values": self.values} | {name: float(f"{number:.7g}") for name, number in numbers.items()}
        return result


class Statistics:
    """Statistics of every column of the tables added, and the usual size of an instance in its image."""

    def __init__(self) -> None:
        self.columns: dict[str, ColumnStatistics] = {}
        self.radii: list[np.ndarray] = []

    def add(self, table: pa.Table) -> None:
        for name in table.column_names:
            self.columns.setdefault(name, ColumnStatistics()).add(table.column(name))
        self.radii.append(keypoint_radii(table))

    def summary(self) -> dict[str, dict[str, Any]]:
        return {name: column.summary() for name, column in self.columns.items()}

    def mean_radius(self) -> float:
        """Mean over instances of the root mean square distance of keypoints to their mean, image pixels."""
        radii = np.concatenate([np.zeros(0), *self.radii])
        return float(f"{radii.mean():.7g}") if len(radii) else 0.0


def keypoint_radii(table: pa.Table) -> np.ndarray:
    """Root mean square distance of each instance's visible keypoints to their mean, image pixels; 0 without keypoints."""
    variance = np.zeros(table.num_rows)
    for name in ("keypoints_x", "keypoints_y"):
        lists = table.column(name).combine_chunks()
        counts = np.diff(lists.offsets.to_numpy())
        row = np.repeat(np.arange(len(counts)), counts)
        values = lists.flatten().to_numpy().astype(np.float64)
        number = np.maximum(counts, 1)
        mean = np.bincount(row, values, minlength=len(counts)) / number
        variance += np.bincount(row, (values - mean[row]) ** 2, minlength=len(counts)) / number
    return np.sqrt(variance)
