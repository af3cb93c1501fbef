"""The loader: batches of shards in an order that seed and epoch decide, on any threads and ranks; datasets of torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from dp3d_data.config import fingerprint_of, plain
from dp3d_data.errors import FingerprintMismatch, ShardError, UsageError
from dp3d_data.loader.source import Source, cached_source, open_source
from dp3d_data.shards.batch import Given, KeypointBatch
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.table import InstanceTable


@dataclass(frozen=True)
class Order:
    """The batches of an epoch, in the order that seed and epoch decide.

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
        epoch: which one.

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
    epoch: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.ranks < 1 or not 0 <= self.rank < self.ranks or self.shuffle_buffer < 0:
            got = f"batch {self.batch}, shuffle buffer {self.shuffle_buffer}, rank {self.rank} of {self.ranks}"
            raise UsageError("no such batches", got=got, expected="batch >= 1, shuffle buffer >= 0, 0 <= rank < ranks")

    def __len__(self) -> int:
        """Batches of this rank."""
        total = sum(self.sizes)
        if self.drop_last:
            return total // self.batch // self.ranks
        return max(-(-(-(-total // self.batch) - self.rank) // self.ranks), 0)

    @cached_property
    def buffers(self) -> list[tuple[int, ...]]:
        """The groups of each shuffle buffer, in order."""
        groups = self._permuted(0, len(self.sizes)).tolist()
        return cut([group for group in groups if self.sizes[group]], self.sizes, self.shuffle_buffer)

    @cached_property
    def _edges(self) -> Int[np.ndarray, "buffers_plus_1"]:
        return np.cumsum([0, *(sum(self.sizes[group] for group in buffer) for buffer in self.buffers)])

    @cached_property
    def _shuffled(self) -> dict[int, Int[np.ndarray, "n"]]:
        """The order of the rows inside the shuffle buffers used last."""
        return {}

    def rows(self, index: int) -> list[tuple[int, np.ndarray]]:
        """What this rank's batch `index` takes: shuffle buffers by number, and rows of each in their order."""
        first = (index * self.ranks + self.rank) * self.batch
        last = min(first + self.batch, int(self._edges[-1]))
        begin, end = np.searchsorted(self._edges, first, "right") - 1, np.searchsorted(self._edges, last, "left")
        found = []
        for buffer in range(int(begin), int(end)):
            start, stop = self._edges[buffer : buffer + 2].tolist()
            if buffer not in self._shuffled:
                for other in list(self._shuffled)[:-1]:
                    del self._shuffled[other]
                self._shuffled[buffer] = self._permuted(1 + buffer, stop - start)
            found.append((buffer, self._shuffled[buffer][max(first - start, 0) : last - start]))
        return found

    def _permuted(self, stream: int, count: int) -> Int[np.ndarray, "n"]:
        if not self.shuffle:
            return np.arange(count)
        return np.random.default_rng(np.random.SeedSequence([self.seed, self.epoch, stream])).permutation(count)


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


SHUFFLE_BUFFER = 8192
MEMORY = 1 << 30
# Shuffle buffers prefetched besides the one in use, and batches prefetched for each thread.
PREFETCHED_BUFFERS, PREFETCHED_BATCHES = 1, 3
# An epoch, and the number of a batch in it.
Job = tuple[Order, int]


class Loader:
    """Batches of a split, epoch by epoch.

    Every instance comes once an epoch, in an order that seed and epoch decide, whatever the number of threads.
    Iterating gives what is left of the present epoch; after its last batch the next iteration gives the next one.

    Args:
        shards: folder or fsspec address of build-shards, its reader, or a Source.
        split: a split, or "all".
        batch_size: instances of a batch.
        shuffle, seed: a random order; see Order.
        drop_last: leave out the last batches that do not fill up every rank.
        threads: that prefetch; 0 works in the caller's thread.
        memory: keep what was read, ragged; by default where that takes less than 1 GiB. It changes no batch.
        shuffle_buffer: instances that are shuffled together, in whole row groups; 0 shuffles the split as one, in
            memory.
        sparse: give InstanceTables, as stored; KeypointBatch.of makes them dense, on any device.
        fields: what else a batch carries; see FIELDS.
        rank, ranks: whose batches; by default those of torch.distributed where it is in use.
        cache: where files of a remote address are kept.

    Raises:
        InputMissing: no finished shards here.
        UsageError: no such split or field, or impossible numbers.
        ShardError: a file is missing, damaged or foreign; names it. Also while iterating.
    """

    def __init__(
        self,
        shards: str | Path | ShardReader | Source,
        split: str = "train",
        *,
        batch_size: int = 512,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        threads: int = 2,
        memory: bool | None = None,
        shuffle_buffer: int = SHUFFLE_BUFFER,
        sparse: bool = False,
        fields: Sequence[str] = (),
        rank: int | None = None,
        ranks: int | None = None,
        cache: str | Path | None = None,
    ) -> None:
        source = open_source(shards, split, fields, cache)
        if memory is None:
            number = 10 + 12 * ("truth" in fields) + 4 * ("weights" in fields)  # bytes of a vertex, if all are visible
            memory = sum(source.sizes) * source.num_vertices * number <= MEMORY
        self.source = cached_source(source) if memory else source
        here, all_ranks = ranks_in_use()
        rank, ranks = here if rank is None else rank, all_ranks if ranks is None else ranks
        self.order = Order(self.source.sizes, batch_size, shuffle_buffer, shuffle, seed, drop_last, rank, ranks)
        self.threads, self.sparse = threads, sparse
        self.epoch, self.batch = 0, 0

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        return len(self.order)

    @property
    def instances(self) -> int:
        """Instances of the split."""
        return sum(self.source.sizes)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of everything that decides on the batches, except rank and threads."""
        order = plain(replace(self.order, rank=0))
        del order["epoch"]
        order["window"] = order.pop("shuffle_buffer")  # as states of earlier versions have it
        return fingerprint_of(self.source.identity, order)

    def __iter__(self) -> Iterator[Given]:
        """What is left of the present epoch."""
        for batch in self.batches(self.jobs(self.epoch, self.batch)):
            self.batch += 1
            yield batch
        self.set_epoch(self.epoch + 1)

    def from_step(self, step: int) -> Generator[Given, None, None]:
        """Batches without end, from a step of a training on, over the ends of epochs; the state stays as it is.

        Raises:
            ShardError: an epoch has no batch.
        """
        if not len(self):
            expected = f"at least {self.order.batch}"
            raise ShardError("too few instances for a batch", got=self.instances, expected=expected)
        first, place = divmod(step, len(self))
        return self.batches(job for epoch in count(first) for job in self.jobs(epoch, place if epoch == first else 0))

    def jobs(self, epoch: int, first: int, step: int = 1) -> Iterator[Job]:
        """Every `step`-th batch of an epoch from the first one on."""
        order = replace(self.order, epoch=epoch)
        return ((order, number) for number in range(first, len(order), step))

    def batches(self, jobs: Iterable[Job]) -> Generator[Given, None, None]:
        """The batches of some jobs, in their order; shuffle buffers and batches are prefetched in threads.

        Decoding and scattering run outside Python's lock, so threads are as fast as processes and copy nothing.
        """
        buffers: dict[tuple[int, int], Future[InstanceTable]] = {}
        waiting: deque[Future[Given]] = deque()
        more = PREFETCHED_BUFFERS if self.threads else 0
        readers, makers = (ThreadPoolExecutor(self.threads) if self.threads else None for _ in range(2))
        try:
            for order, number in jobs:
                parts = order.rows(number)
                first, last = parts[0][0], parts[-1][0]
                for buffer in range(first, min(last + more + 1, len(order.buffers))):
                    if (order.epoch, buffer) not in buffers:
                        buffers[order.epoch, buffer] = self._read(readers, order.buffers[buffer])
                buffers = {key: found for key, found in buffers.items() if key >= (order.epoch, first)}
                needed = [(buffers[order.epoch, buffer], rows) for buffer, rows in parts]
                waiting.append(_submitted(makers, self._assemble, needed))
                if len(waiting) > self.threads * PREFETCHED_BATCHES:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for pool in filter(None, (makers, readers)):
                pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, readers: Executor | None, groups: Sequence[int]) -> Future[InstanceTable]:
        """The groups of a shuffle buffer, read by several threads at once and joined by the next one."""
        tables = [_submitted(readers, self.source.read, group) for group in groups]
        return _submitted(readers, lambda: InstanceTable.joined([table.result() for table in tables]))

    def _assemble(self, parts: list[tuple[Future[InstanceTable], Any]]) -> Given:
        """A batch from rows of one shuffle buffer or of several."""
        chosen = InstanceTable.joined([buffer.result().take(rows) for buffer, rows in parts])
        return chosen if self.sparse else KeypointBatch.of(chosen)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self.epoch, self.batch = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: the batches that it has given, and their fingerprint. The same for every rank."""
        return {"epoch": self.epoch, "batch": self.batch, "recipe": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where the state was taken.

        Raises:
            FingerprintMismatch: other shards, split or settings, whose batches would not be those that are left.
        """
        if state["recipe"] != self.fingerprint:
            got = state["recipe"]
            hint = "open the same shards with the same settings and ranks, or start at an epoch: set_epoch"
            raise FingerprintMismatch("a state of other batches", got=got, expected=self.fingerprint, hint=hint)
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])


def _submitted(pool: Executor | None, task: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """A task handed to a pool; without one it is done at once, in the caller's thread."""
    if pool is not None:
        return pool.submit(task, *arguments)
    done: Future[Any] = Future()
    done.set_result(task(*arguments))
    return done


def ranks_in_use() -> tuple[int, int]:
    """Rank and number of ranks of torch.distributed; 0 of 1 where it is not in use."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


HELD = 16


class InstanceStream(IterableDataset):
    """Batches for DataLoader(stream, batch_size=None, num_workers=...), the same for any number of workers.

    Worker w of W makes the batches w, w + W, ... of this rank. It is a Loader with its epochs, state and arguments; the
    state counts batches that the training has taken, so tell it: stream.load_state_dict(stream.state_after(batches)).

    A worker process begins where the stream stood when it was started; one that lives on (persistent_workers=True)
    begins each later epoch where the stream stands then, which it reads from memory that it shares with the training.

    Args:
        shards, split, settings: see Loader.
    """

    def __init__(self, shards: str | Path | ShardReader | Source, split: str = "train", **settings: Any) -> None:
        self.loader = Loader(shards, split, **({"memory": False} | settings | {"threads": 0}))
        self._stands = torch.zeros(2, dtype=torch.int64).share_memory_()
        self._lives_on = False

    def __len__(self) -> int:
        """Batches of this rank that are left of the epoch."""
        return len(self.loader) - self.loader.batch

    def __iter__(self) -> Iterator[Given]:
        worker = get_worker_info()
        if worker and self._lives_on:
            self.loader.epoch, self.loader.batch = self._stands.tolist()
        self._lives_on = worker is not None
        first, step = (self.loader.batch + worker.id, worker.num_workers) if worker else (self.loader.batch, 1)
        return self.loader.batches(self.loader.jobs(self.loader.epoch, first, step))

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; call it before each one."""
        self.loader.set_epoch(epoch)
        self._tell()

    def state_after(self, batches: int) -> dict[str, Any]:
        """The state once the training has taken so many batches since the epoch or the last state began."""
        return self.loader.state_dict() | {"batch": self.loader.batch + batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where the state was taken; see Loader.load_state_dict."""
        self.loader.load_state_dict(state)
        self._tell()

    def _tell(self) -> None:
        self._stands.copy_(torch.tensor([self.loader.epoch, self.loader.batch]))


class InstanceDataset(Dataset):
    """Instances by number, for samplers of any kind: dataset[3], or dataset[[5, 1, 2]] as one batch.

    DataLoader(dataset, batch_size=64, shuffle=True, collate_fn=collate) fetches whole batches at once.

    Args:
        shards, split, fields, sparse, cache: see Loader.
        memory: keep everything; otherwise the row groups read last are held.
        held: row groups kept, without memory.
    """

    def __init__(
        self,
        shards: str | Path | ShardReader | Source,
        split: str = "train",
        *,
        memory: bool = False,
        held: int = HELD,
        sparse: bool = False,
        fields: Sequence[str] = (),
        cache: str | Path | None = None,
    ) -> None:
        source = open_source(shards, split, fields, cache)
        self.source, self.sparse = cached_source(source, None if memory else held), sparse
        self._edges = np.cumsum([0, *self.source.sizes])

    def __len__(self) -> int:
        return int(self._edges[-1])

    def __getitem__(self, index: int | Sequence[int]) -> Given:
        """One instance as a batch of one, or several."""
        return self.__getitems__([index] if isinstance(index, (int, np.integer)) else list(index))

    def __getitems__(self, indices: Sequence[int]) -> Given:
        """Instances as one batch, in the order asked for.

        Raises:
            UsageError: a number outside the dataset.
        """
        rows = np.asarray(indices, dtype=np.int64)
        rows = np.where(rows < 0, rows + len(self), rows)
        if len(rows) == 0 or rows.min() < 0 or rows.max() >= len(self):
            raise UsageError("no such instance", got=list(indices)[:5], expected=f"0..{len(self) - 1}")
        groups = np.searchsorted(self._edges, rows, "right") - 1
        order = np.argsort(groups, kind="stable")
        owned = {int(group): rows[order[groups[order] == group]] - self._edges[group] for group in np.unique(groups)}
        tables = [self.source.read(group).take(own) for group, own in owned.items()]
        found = InstanceTable.joined(tables).take(np.argsort(order))
        return found if self.sparse else KeypointBatch.of(found)
