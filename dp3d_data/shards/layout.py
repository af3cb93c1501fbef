"""Where each instance goes: a seeded shuffle, row groups by bytes, shards by bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from dp3d_data.shards.splits import SIDES

# Raw bytes of a row group, where shards are large enough; a reader holds one at a time.
GROUP_BYTES = 16 << 20
# Bytes of a file besides its pages: once, and for each row group.
_FILE_BYTES, _GROUP_BYTES = 20_000, 8_000


@dataclass(frozen=True)
class PlannedShard:
    """One shard to come: its file, its side, its first row group and the rows of each of its row groups."""

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
        shards: in order of side and number; their row groups follow each other.
    """

    group: Int[np.ndarray, "N"]
    position: Int[np.ndarray, "N"]
    shards: tuple[PlannedShard, ...]


def lay_out(sides: Int[np.ndarray, "N"], sizes: Int[np.ndarray, "N"], *, ratio: float, shard_bytes: int, seed: int) -> Layout:
    """Shuffle each side and cut it into row groups and shards.

    Args:
        sides: number in SIDES of each instance, -1 where it is left out.
        sizes: raw bytes of each instance.
        ratio: encoded bytes per raw byte.
        shard_bytes: size on disk that a shard should not exceed; a single row group may.
    """
    group, position = np.full(len(sides), -1, dtype=np.int32), np.full(len(sides), -1, dtype=np.int32)
    shards: list[PlannedShard] = []
    first = 0
    for side in sorted(range(len(SIDES)), key=lambda code: SIDES[code]):
        rows = np.flatnonzero(sides == side)
        if not len(rows):
            continue
        order = rows[np.random.default_rng(np.random.SeedSequence([seed, side])).permutation(len(rows))]
        found, counts, raw = _row_groups(sizes[order], min(GROUP_BYTES, max(int(shard_bytes / ratio) // 4, 1)))
        group[order] = first + found
        position[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        for number, (start, stop) in enumerate(_shard_bounds(raw * ratio + _GROUP_BYTES, shard_bytes)):
            name = f"{SIDES[side]}-{number:05d}.parquet"
            shards.append(PlannedShard(name, SIDES[side], first + start, tuple(counts[start:stop].tolist())))
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
