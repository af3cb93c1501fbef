"""The order of an epoch: which rows make which batch, on every rank, from seed and epoch alone; no data is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from dp3d_data.errors import UsageError


@dataclass(frozen=True)
class Part:
    """Rows of one window, in the order in which a batch takes them.

    Attributes:
        window: its number in the epoch.
        rows: places inside the window.
    """

    window: int
    rows: Int[np.ndarray, "m"]


@dataclass(frozen=True)
class Order:
    """What decides on the order of every epoch.

    Groups are the units that are read at once (row groups of shards). An epoch puts them in a random order, takes as many
    at a time as make a window, shuffles the rows inside each window, and cuts the whole into batches. Rank r of R takes the
    batches r, r + R, r + 2 R, ...

    Attributes:
        sizes: rows of each group.
        batch: rows of a batch; the last one of an epoch may be smaller.
        window: rows that are shuffled together, at least; 0 takes everything as one window.
        shuffle: rows stay in their order without it.
        seed: of every random number.
        drop_last: leave out the batches that do not fill up all ranks, so that every rank has equally many.
        rank, ranks: whose batches.

    Raises:
        UsageError: a number that makes no sense.
    """

    sizes: tuple[int, ...]
    batch: int
    window: int = 0
    shuffle: bool = True
    seed: int = 0
    drop_last: bool = False
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1 or self.ranks < 1 or not 0 <= self.rank < self.ranks or self.window < 0:
            got = f"batch {self.batch}, window {self.window}, rank {self.rank} of {self.ranks}"
            raise UsageError("no such batches", got=got, expected="batch >= 1, window >= 0, 0 <= rank < ranks")

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
        windows: the groups of each window, in order.
    """

    def __init__(self, order: Order, number: int) -> None:
        self.order, self.number = order, number
        groups = self._generator(0).permutation(len(order.sizes)) if order.shuffle else np.arange(len(order.sizes))
        self.windows = cut([int(group) for group in groups if order.sizes[group]], order.sizes, order.window)
        self.edges = np.cumsum([0, *(sum(order.sizes[group] for group in window) for window in self.windows)])
        self._shuffled: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.order)

    def parts(self, index: int) -> list[Part]:
        """The rows of this rank's batch `index`."""
        first = (index * self.order.ranks + self.order.rank) * self.order.batch
        last = min(first + self.order.batch, int(self.edges[-1]))
        found = []
        for window in range(int(np.searchsorted(self.edges, first, "right")) - 1, int(np.searchsorted(self.edges, last, "left"))):
            start = int(self.edges[window])
            found.append(Part(window, self._rows(window)[max(first - start, 0) : last - start]))
        return found

    def _rows(self, window: int) -> Int[np.ndarray, "n"]:
        """The order of the rows inside a window; those of the last few windows are remembered."""
        if window not in self._shuffled:
            count = int(self.edges[window + 1] - self.edges[window])
            rows = self._generator(1 + window).permutation(count) if self.order.shuffle else np.arange(count)
            self._shuffled = dict(list(self._shuffled.items())[-1:]) | {window: rows}
        return self._shuffled[window]

    def _generator(self, stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([self.order.seed, self.number, stream]))


def cut(groups: list[int], sizes: tuple[int, ...], window: int) -> list[tuple[int, ...]]:
    """Consecutive groups that together have at least `window` rows; all of them for 0."""
    found: list[tuple[int, ...]] = []
    held: list[int] = []
    rows = 0
    for group in groups:
        held.append(group)
        rows += sizes[group]
        if window and rows >= window:
            found.append(tuple(held))
            held, rows = [], 0
    return [*found, tuple(held)] if held else found
