"""The order of an epoch: which rows make which batch, on every rank, from seed and epoch alone; no data is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from dp3d_data.errors import UsageError


@dataclass(frozen=True)
class Order:
    """What decides on the order of every epoch.

    Groups are the units that are read at once (row groups of shards). An epoch puts them in a random order, takes as
    many at a time as fill a shuffle buffer, shuffles the rows inside each buffer, and cuts the whole into batches. Rank
    r of R takes the batches r, r + R, r + 2 R, ...

    Attributes:
        sizes: rows of each group.
        batch: rows of a batch; the last one of an epoch may be smaller.
        shuffle_buffer: rows that are shuffled together, at least; 0 takes everything as one buffer.
        shuffle: rows stay in their order without it.
        seed: of every random number.
        drop_last: leave out the batches that do not fill up all ranks, so that every rank has equally many.
        rank, ranks: whose batches.

    Raises:
        UsageError: a number that makes no sense.
    """

    sizes: tuple[int, ...]
    batch: int
    shuffle_buffer: int = 0
    shuffle: bool = True
    seed: int = 0
    drop_last: bool = False
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1 or self.ranks < 1 or not 0 <= self.rank < self.ranks or self.shuffle_buffer < 0:
            got = f"batch {self.batch}, shuffle buffer {self.shuffle_buffer}, rank {self.rank} of {self.ranks}"
            raise UsageError("no such batches", got=got, expected="batch >= 1, shuffle buffer >= 0, 0 <= rank < ranks")

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        total = sum(self.sizes)
        if self.drop_last:
            return total // self.batch // self.ranks
        return max(-(-(-(-total // self.batch) - self.rank) // self.ranks), 0)

    def epoch(self, number: int) -> Epoch:
        return Epoch(self, number)

    def of_rank(self, rank: int, ranks: int) -> Order:
        return replace(self, rank=rank, ranks=ranks)


class Epoch:
    """One epoch of an order.

    Attributes:
        buffers: the groups of each shuffle buffer, in order.
    """

    def __init__(self, order: Order, number: int) -> None:
        self.order, self.number = order, number
        groups = self._generator(0).permutation(len(order.sizes)) if order.shuffle else np.arange(len(order.sizes))
        self.buffers = cut([int(group) for group in groups if order.sizes[group]], order.sizes, order.shuffle_buffer)
        self.edges = np.cumsum([0, *(sum(order.sizes[group] for group in buffer) for buffer in self.buffers)])
        self._shuffled: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.order)

    def rows(self, index: int) -> list[tuple[int, np.ndarray]]:
        """What this rank's batch `index` takes: shuffle buffers by number, and rows of each in their order."""
        first = (index * self.order.ranks + self.order.rank) * self.order.batch
        last = min(first + self.order.batch, int(self.edges[-1]))
        found = []
        for buffer in range(
            int(np.searchsorted(self.edges, first, "right")) - 1, int(np.searchsorted(self.edges, last, "left"))
        ):
            start = int(self.edges[buffer])
            found.append((buffer, self._shuffle(buffer)[max(first - start, 0) : last - start]))
        return found

    def _shuffle(self, buffer: int) -> Int[np.ndarray, "n"]:
        """The order of the rows inside a shuffle buffer; those of the last few are remembered."""
        if buffer not in self._shuffled:
            count = int(self.edges[buffer + 1] - self.edges[buffer])
            rows = self._generator(1 + buffer).permutation(count) if self.order.shuffle else np.arange(count)
            self._shuffled = dict(list(self._shuffled.items())[-1:]) | {buffer: rows}
        return self._shuffled[buffer]

    def _generator(self, stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.order.seed, self.number, stream]))


def cut(groups: list[int], sizes: tuple[int, ...], least: int) -> list[tuple[int, ...]]:
    """Consecutive groups that together have at least `least` rows; all of them for 0."""
    found: list[tuple[int, ...]] = []
    held: list[int] = []
    rows = 0
    for group in groups:
        held.append(group)
        rows += sizes[group]
        if least and rows >= least:
            found.append(tuple(held))
            held, rows = [], 0
    return [*found, tuple(held)] if held else found
