"""Statistics of each column over all shards: counts, nulls, range, mean and standard deviation; sums that add up."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from dp3d_data.shards.table import keypoint_lists

# What is known of a column: rows, nulls, values (lists count by entry), their total and squares, and where there are
# numbers their low and high.
Sums = dict[str, Any]


def column_sums(column: pa.ChunkedArray) -> Sums:
    """The sums of a column of numbers, of lists of numbers, or of text (rows, nulls and values only)."""
    array = column.combine_chunks()
    flat = array.flatten() if pa.types.is_list(array.type) else array.drop_null()
    sums: Sums = {"rows": len(column), "nulls": column.null_count, "values": len(flat), "total": 0.0, "squares": 0.0}
    if len(flat) and (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type)):
        numbers = flat.to_numpy(zero_copy_only=False)
        sums |= {"low": float(numbers.min()), "high": float(numbers.max())}
        numbers = numbers.astype(np.float64)
        sums |= {"total": float(numbers.sum()), "squares": float(np.square(numbers, out=numbers).sum())}
    return sums


def table_sums(table: pa.Table, num_vertices: int) -> dict[str, Any]:
    """The sums of a table's columns by name and of its instances' radii, and how many instances show each vertex."""
    return {
        "columns": {name: column_sums(table.column(name)) for name in table.column_names},
        "radius": column_sums(pa.chunked_array([pa.array(keypoint_radii(table))])),
        "visible": np.bincount(keypoint_lists(table)[1], minlength=num_vertices)[:num_vertices].tolist(),
    }


def joined_sums(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The sums of two tables or of two columns; {} stands for nothing."""
    ways: dict[str, Callable[[Any, Any], Any]] = {
        "low": min,
        "high": max,
        "visible": lambda a, b: np.add(a, b).tolist(),
    }
    joined = one | other
    for name in one.keys() & other.keys():
        way = joined_sums if isinstance(one[name], dict) else ways.get(name, operator.add)
        joined[name] = way(one[name], other[name])
    return joined


def summary(sums: Sums) -> dict[str, Any]:
    """What the manifest says of a column."""
    result: dict[str, Any] = {"rows": sums["rows"], "nulls": sums["nulls"]}
    if "low" in sums:
        mean = sums["total"] / sums["values"]
        deviation = math.sqrt(max(sums["squares"] / sums["values"] - mean * mean, 0.0))
        numbers = {"min": sums["low"], "max": sums["high"], "mean": mean, "std": deviation}
        result |= {"values": sums["values"]} | {name: float(f"{number:.7g}") for name, number in numbers.items()}
    return result


def keypoint_radii(table: pa.Table) -> Float[np.ndarray, "N"]:
    """Root mean square distance of each instance's visible keypoints to their mean, image pixels; 0 without any."""
    offsets, _, *axes = keypoint_lists(table)
    counts = np.diff(offsets)
    row = np.repeat(np.arange(len(counts)), counts)
    number = np.maximum(counts, 1)
    variance = np.zeros(len(counts))
    for values in (axis.astype(np.float64) for axis in axes):
        mean = np.bincount(row, values, minlength=len(counts)) / number
        variance += np.bincount(row, (values - mean[row]) ** 2, minlength=len(counts)) / number
    return np.sqrt(variance)
