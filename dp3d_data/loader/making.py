"""Batches from a source in the order of its epochs: in this thread, or ahead of it in threads of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from dp3d_data.loader.batch import Batch, batch_of
from dp3d_data.loader.block import Block, join
from dp3d_data.loader.order import Epoch
from dp3d_data.loader.source import Source

Job = tuple[Epoch, int]
# Windows read ahead of the one in use, and batches made ahead for each thread.
WINDOWS_AHEAD, BATCHES_AHEAD = 1, 3


def read_window(source: Source, epoch: Epoch, window: int) -> Block:
    """The groups of a window, one after the other."""
    return join([source.read(group) for group in epoch.windows[window]])


class Window:
    """A window whose groups are read by a pool of threads, and joined by whoever needs it first."""

    def __init__(self, pool: ThreadPoolExecutor, source: Source, epoch: Epoch, window: int) -> None:
        self._groups: list[Future[Block]] = [pool.submit(source.read, group) for group in epoch.windows[window]]
        self._lock = Lock()
        self._block: Block | None = None

    def block(self) -> Block:
        """All instances of the window.

        Raises:
            ShardError: a shard is missing, damaged or foreign.
        """
        with self._lock:
            if self._block is None:
                self._block = join([group.result() for group in self._groups])
                self._groups = []
            return self._block


class Maker:
    """Makes batches of one shape from a source.

    Args:
        source: the instances.
        sparse: leave the keypoints as they are stored.
    """

    def __init__(self, source: Source, sparse: bool = False) -> None:
        self.source, self.sparse = source, sparse

    def assemble(self, blocks: list[Block], rows: list) -> Batch:
        """A batch from rows of one window or of several."""
        chosen = join([block.take(some) for block, some in zip(blocks, rows, strict=True)])
        return batch_of(chosen, self.source.num_vertices, self.sparse)

    def here(self, jobs: Iterable[Job]) -> Generator[Batch, None, None]:
        """One after the other in this thread; the windows that a batch needs stay until the next needs others."""
        held: dict[tuple[int, int], Block] = {}
        for epoch, number in jobs:
            parts = epoch.parts(number)
            keys = [(epoch.number, part.window) for part in parts]
            held = {key: held[key] if key in held else read_window(self.source, epoch, key[1]) for key in keys}
            yield self.assemble(list(held.values()), [part.rows for part in parts])

    def ahead(self, jobs: Iterable[Job], threads: int) -> Generator[Batch, None, None]:
        """The same batches in the same order; windows and batches are made ahead in threads.

        Decoding and scattering run outside Python's lock, so threads are as fast as processes and copy nothing.
        """
        windows: dict[tuple[int, int], Window] = {}
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(threads) as makers:
            try:
                for epoch, number in jobs:
                    parts = epoch.parts(number)
                    first, last = parts[0].window, parts[-1].window
                    for window in range(first, min(last + WINDOWS_AHEAD + 1, len(epoch.windows))):
                        if (epoch.number, window) not in windows:
                            windows[epoch.number, window] = Window(readers, self.source, epoch, window)
                    windows = {key: window for key, window in windows.items() if key >= (epoch.number, first)}
                    needed = [windows[epoch.number, part.window] for part in parts]
                    waiting.append(makers.submit(self._assemble_read, needed, [part.rows for part in parts]))
                    if len(waiting) > threads * BATCHES_AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for pool in (makers, readers):
                    pool.shutdown(wait=False, cancel_futures=True)

    def _assemble_read(self, windows: list[Window], rows: list) -> Batch:
        return self.assemble([window.block() for window in windows], rows)

    def batches(self, jobs: Iterable[Job], threads: int) -> Generator[Batch, None, None]:
        """Ahead in threads, or here for 0."""
        return self.ahead(jobs, threads) if threads else self.here(jobs)
