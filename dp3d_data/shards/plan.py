"""What becomes of each instance: left out for a named reason, or kept under a name of its own in a split, a row group
and a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from dp3d_data.filters import DUPLICATE, LISTED_OUT, NEAR_DUPLICATE, NOT_LISTED, FilterConfig, judge
from dp3d_data.shards.index import Index
from dp3d_data.shards.likeness import near_duplicates
from dp3d_data.shards.schema import REJECT_SCHEMA
from dp3d_data.shards.splits import SPLITS, SplitRule, assign_splits, given_splits, in_list


@dataclass(frozen=True)
class Decision:
    """What becomes of each instance of an index, in its order.

    Attributes:
        reasons: [N] why it is left out; None where it is kept.
        values: [N] the value that decided, NaN where there is none.
        splits: [N] its split, as a number in SPLITS; -1 where it is left out.
        names: N instance ids, made unique over all inputs.
        groups: N groups: the group, else the image's hash, else the instance id.
    """

    reasons: list[str | None]
    values: Float[np.ndarray, "N"]
    splits: Int[np.ndarray, "N"]
    names: pa.Array
    groups: pa.Array

    @property
    def kept(self) -> Bool[np.ndarray, "N"]:
        return self.splits >= 0

    @property
    def split_names(self) -> list[str]:
        """The splits that hold instances, in order of name."""
        return sorted(SPLITS[code] for code in np.unique(self.splits[self.kept]))


def decide(index: Index, filters: FilterConfig, rule: SplitRule) -> Decision:
    """Filter, remove exact duplicates (same content, or same image content, each with the same box) and near ones, and
    split the rest.

    Raises:
        UsageError: a given split tears apart what belongs together, or names an unknown split.
    """
    reasons, values = judge(filters, index.measures)
    given = given_splits(rule, index.table)
    if given is not None and rule.by == "list":
        _leave_out(reasons, given.is_null().to_numpy(zero_copy_only=False), NOT_LISTED)
    if rule.left_out:
        _leave_out(reasons, in_list(rule.left_out, index.table), LISTED_OUT)
    for name in ("image_hash", "content"):
        open_rows = np.array([reason is None for reason in reasons], dtype=bool)
        _leave_out(reasons, repeated(index.table.column(name), index.boxes, open_rows), DUPLICATE)
    if filters.near_duplicates:
        rows = np.flatnonzero([reason is None for reason in reasons])
        first, values[rows] = near_duplicates(index.shapes[rows], filters.near_duplicates)
        _leave_out(reasons, np.isin(np.arange(len(index)), rows[first >= 0]), NEAR_DUPLICATE)
    kept = np.flatnonzero([reason is None for reason in reasons])
    columns = {
        name: index.table.column(name).combine_chunks() for name in ("instance_id", "group", "image_hash", "source")
    }
    groups = pc.coalesce(columns["group"], columns["image_hash"], columns["instance_id"])
    splits = np.full(len(index), -1)
    splits[kept] = assign_splits(
        (groups if rule.together == "group" else pc.coalesce(columns["image_hash"], columns["instance_id"])).take(kept),
        columns["image_hash"].take(kept),
        columns["source"].take(kept),
        rule=rule,
        given=None if given is None else given.take(kept),
    )
    return Decision(reasons, values, splits, unique_names(columns["instance_id"]), groups)


def _leave_out(reasons: list[str | None], rows: Bool[np.ndarray, "N"], reason: str) -> None:
    for row in np.flatnonzero(rows).tolist():
        if reasons[row] is None:
            reasons[row] = reason


def repeated(
    keys: pa.ChunkedArray, boxes: Float[np.ndarray, "N 4"], among: Bool[np.ndarray, "N"]
) -> Bool[np.ndarray, "N"]:
    """Which rows have the key and box of an earlier one, among some rows; a null key repeats nothing."""
    codes = keys.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(among & (codes >= 0))
    columns = [codes[rows], *np.ascontiguousarray(boxes[rows].T)]
    order = np.lexsort(columns)
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for column in columns:
        same &= column[order[1:]] == column[order[:-1]]
    result = np.zeros(len(among), dtype=bool)
    result[rows[order[1:][same]]] = True
    return result


def unique_names(names: pa.Array) -> pa.Array:
    """The names, with ~2, ~3, ... appended where inputs share them."""
    if pc.count_distinct(names).as_py() == len(names):
        return names
    count: Counter[str] = Counter()
    plain: Sequence[str] = names.to_pylist()
    taken, result = set(plain), []
    for name in plain:
        count[name] += 1
        fresh = name
        while count[name] > 1 and (fresh := f"{name}~{count[name]}") in taken:
            count[name] += 1
        taken.add(fresh)
        result.append(fresh)
    return pa.array(result, pa.string())


def reject_table(index: Index, decision: Decision) -> pa.Table:
    """The rows that are left out, with their reason and the value that decided."""
    rows = pa.array(np.flatnonzero(~decision.kept))
    values = pa.array(decision.values[rows.to_numpy()])
    columns = {
        "instance_id": decision.names.take(rows),
        "image_id": index.table.column("image_id").combine_chunks().take(rows),
        "reason": pa.array([decision.reasons[row] for row in rows.to_pylist()], pa.string()),
        "value": pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values),
    }
    return pa.Table.from_arrays(list(columns.values()), schema=REJECT_SCHEMA)


# Raw bytes of a row group, where shards are large enough; a reader holds one at a time.
GROUP_BYTES = 16 << 20
# Bytes of a file besides its pages: once, and for each row group.
_FILE_BYTES, _GROUP_BYTES = 20_000, 8_000


@dataclass(frozen=True)
class PlannedShard:
    """One shard to come: its file, its split, its first row group and the rows of each of its row groups."""

    name: str
    split: str
    first: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The place of each instance.

    Attributes:
        group: [N] row group over all shards, -1 where left out.
        position: [N] row within the group.
        shards: in order of split and number; their row groups follow each other.
    """

    group: Int[np.ndarray, "N"]
    position: Int[np.ndarray, "N"]
    shards: tuple[PlannedShard, ...]


def lay_out(
    splits: Int[np.ndarray, "N"], sizes: Int[np.ndarray, "N"], *, ratio: float, shard_bytes: int, seed: int
) -> Layout:
    """Shuffle each split and cut it into row groups and shards.

    Args:
        splits: number in SPLITS of each instance, -1 where it is left out.
        sizes: raw bytes of each instance.
        ratio: encoded bytes per raw byte.
        shard_bytes: size on disk that a shard should not exceed; a single row group may.
    """
    group, position = np.full(len(splits), -1, dtype=np.int32), np.full(len(splits), -1, dtype=np.int32)
    shards: list[PlannedShard] = []
    first = 0
    for split in sorted(range(len(SPLITS)), key=lambda code: SPLITS[code]):
        rows = np.flatnonzero(splits == split)
        if not len(rows):
            continue
        order = rows[np.random.default_rng(np.random.SeedSequence([seed, split])).permutation(len(rows))]
        found, counts, raw = _row_groups(sizes[order], min(GROUP_BYTES, max(int(shard_bytes / ratio) // 4, 1)))
        group[order] = first + found
        position[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        for number, (start, stop) in enumerate(_shard_bounds(raw * ratio + _GROUP_BYTES, shard_bytes)):
            name = f"{SPLITS[split]}-{number:05d}.parquet"
            shards.append(PlannedShard(name, SPLITS[split], first + start, tuple(counts[start:stop].tolist())))
        first += len(counts)
    return Layout(group, position, tuple(shards))


def _row_groups(sizes: Int[np.ndarray, "n"], group_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The row group of each row, and the rows and raw bytes of each group: a group ends where it passes its share."""
    ends = np.cumsum(sizes)
    _, group = np.unique((ends - sizes) // group_bytes, return_inverse=True)
    return group, np.bincount(group), np.bincount(group, weights=sizes)


def _shard_bounds(encoded: np.ndarray, shard_bytes: int) -> list[tuple[int, int]]:
    """Runs of row groups of about equal bytes, as few as stay below the limit."""
    room = max(shard_bytes - _FILE_BYTES, 1)
    count = min(max(int(np.ceil(encoded.sum() / room)), 1), len(encoded))
    middle = np.cumsum(encoded) - encoded / 2
    shard = np.minimum((middle * count / encoded.sum()).astype(int), count - 1)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(shard) > 0]))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(encoded)], strict=True))
