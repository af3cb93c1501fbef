"""Instances without the vertices that the filters make invisible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from dp3d_data.filters import VERTEX_FILTERS, FilterConfig, VertexMeasures, judge_vertices
from dp3d_data.shards.decode import boxes, list_values
from dp3d_data.shards.schema import PER_VERTEX

TRUTH_MODEL = "truth"
_DEFAULT = FilterConfig()


@dataclass(frozen=True)
class Trim:
    """The filters of vertices for one template.

    Attributes:
        config: the settings.
        area_shares: [K] each template vertex's share of the surface area.
    """

    config: FilterConfig
    area_shares: Float[np.ndarray, "K"] = field(repr=False)

    def tables(self, tables: Iterable[pa.Table], dropped: Counter[str] | None = None) -> Iterator[pa.Table]:
        """Tables of instances, which hold all of PER_VERTEX, after the filters.

        Args:
            dropped: counts the vertices made invisible by reason.
        """
        if not trims(self.config):
            yield from tables
            return
        for table in tables:
            kept, reasons = judge_table(table, self.config)
            if dropped is not None:
                dropped.update(reasons)
            yield cut(table, kept, self.area_shares)


def trims(config: FilterConfig) -> bool:
    """Whether the settings can make a vertex invisible at all."""
    names = ("min_pixels", "max_vertex_spread", "min_vertex_cycle")
    return any(getattr(config, name) != getattr(_DEFAULT, name) for name in names)


def judge_table(table: pa.Table, config: FilterConfig) -> tuple[Bool[np.ndarray, "V"], dict[str, int]]:
    """Which of all vertices of a table stay visible; those of a known shape do."""
    offsets, pixels = list_values(table.column("pixel_counts"))
    owner = np.repeat(np.arange(table.num_rows), np.diff(offsets))
    corners = boxes(table).astype(np.float64)
    side = np.maximum((corners[:, 2:] - corners[:, :2]).max(axis=1), 1e-9)
    spread = list_values(table.column("spread"))[1] / side[owner]
    seen = np.array([model != TRUTH_MODEL for model in table.column("model").to_pylist()], dtype=bool)[owner]
    kept = np.ones(len(pixels), dtype=bool)
    measures = VertexMeasures(pixels[seen], spread[seen], cycle_or_1(table, offsets)[seen])
    kept[seen], dropped = judge_vertices(config, measures)
    return kept, dropped


def cycle_or_1(table: pa.Table, offsets: np.ndarray) -> Float[np.ndarray, "V"]:
    """The cycle weight of each vertex; 1 in rows without."""
    values = np.ones(int(offsets[-1]), dtype=np.float32)
    there = table.column("cycle").combine_chunks().is_valid().to_numpy(zero_copy_only=False)
    values[np.repeat(there, np.diff(offsets))] = list_values(table.column("cycle"))[1]
    return values


def cut(table: pa.Table, kept: Bool[np.ndarray, "V"], area_shares: Float[np.ndarray, "K"]) -> pa.Table:
    """The table with the kept entries of its lists; rows that lose some have their visible area computed again.

    Args:
        kept: one entry per vertex, row after row.
        area_shares: each template vertex's share of the surface area.
    """
    offsets, ids = list_values(table.column("vertex_ids"))
    owner = np.repeat(np.arange(table.num_rows), np.diff(offsets))
    left = np.bincount(owner[kept], minlength=table.num_rows)
    area = table.column("visible_area").to_numpy().copy()
    fewer = left < np.diff(offsets)
    area[fewer] = np.bincount(owner[kept], weights=area_shares[ids[kept]], minlength=table.num_rows)[fewer]
    table = _with(table, "visible_area", pa.array(area, type=pa.float32()))
    for name in PER_VERTEX:
        if name in table.column_names:
            table = _with(table, name, _kept_entries(table, name, kept, left, offsets))
    return table


def _kept_entries(table: pa.Table, name: str, kept: np.ndarray, left: np.ndarray, offsets: np.ndarray) -> pa.ListArray:
    """One column of lists with the kept entries; rows without a list stay without."""
    column = table.column(name).combine_chunks()
    there = column.is_valid().to_numpy(zero_copy_only=False)
    values = list_values(table.column(name))[1][kept[np.repeat(there, np.diff(offsets))]]
    ends = np.concatenate([[0], np.cumsum(np.where(there, left, 0))])
    mask = None if there.all() else pa.array(~there)
    return pa.ListArray.from_arrays(pa.array(ends, type=pa.int32()), pa.array(values), type=column.type, mask=mask)


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(name), values)


def no_vertices_dropped() -> Counter[str]:
    """A count of each reason, all 0."""
    return Counter(dict.fromkeys(VERTEX_FILTERS, 0))
