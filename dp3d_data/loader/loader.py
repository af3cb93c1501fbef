"""The loader: batches of shards for training, on any number of threads and ranks, taken up again in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from dp3d_data.config import fingerprint
from dp3d_data.errors import RecipeMismatch, ShardError
from dp3d_data.loader.batch import Batch
from dp3d_data.loader.making import Job, Maker
from dp3d_data.loader.order import Order
from dp3d_data.loader.remote import ShardFolder
from dp3d_data.loader.source import Held, ShardSource, Source, bytes_held

WINDOW = 8192
MEMORY = 1 << 30


class Loader:
    """Batches of a split, epoch by epoch.

    Every instance comes once an epoch, in an order that seed and epoch decide, whatever the number of threads. Iterating
    gives what is left of the present epoch; after its last batch the next iteration gives the next one.

    Args:
        shards: folder or fsspec address of build-shards, or a Source.
        split: a split, or "all".
        batch_size: instances of a batch.
        shuffle, seed: a random order; see Order.
        drop_last: leave out the last batches that do not fill up every rank.
        threads: that read and decode ahead; 0 works in the caller's thread.
        memory: keep what was read, sparse; by default where that takes less than 1 GiB. It changes no batch.
        window: rows that are shuffled together, in whole row groups; 0 shuffles the split as one and needs memory for all of it.
        sparse: leave the keypoints as they are stored; Batch.dense makes them dense, on any device.
        fields: what else a batch carries: names, groups, boxes, truth, cameras, weights.
        rank, ranks: whose part of the batches; by default those of torch.distributed where it is in use.
        cache: where files of a remote address are kept.

    Raises:
        InputMissing: no finished shards here.
        UsageError: no such split or field, or impossible numbers.
        ShardError: a file is missing, damaged or foreign; names it. Also while iterating.
    """

    def __init__(
        self,
        shards: str | Path | Source,
        split: str = "train",
        *,
        batch_size: int = 512,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        threads: int = 2,
        memory: bool | None = None,
        window: int = WINDOW,
        sparse: bool = False,
        fields: Sequence[str] = (),
        rank: int | None = None,
        ranks: int | None = None,
        cache: str | Path | None = None,
    ) -> None:
        source = ShardSource(ShardFolder(shards, cache), split, fields) if isinstance(shards, (str, Path)) else shards
        if memory is None:
            memory = bytes_held(source, fields) <= MEMORY
        self.source: Source = Held(source) if memory else source
        here, all_ranks = ranks_in_use()
        self.order = Order(
            self.source.sizes,
            batch_size,
            window,
            shuffle,
            seed,
            drop_last,
            here if rank is None else rank,
            all_ranks if ranks is None else ranks,
        )
        self.threads, self._maker = threads, Maker(self.source, sparse)
        self.epoch, self.batch = 0, 0

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        return len(self.order)

    @property
    def instances(self) -> int:
        """Instances of the split."""
        return sum(self.source.sizes)

    @property
    def recipe(self) -> str:
        """Fingerprint of everything that decides on the batches, except rank and threads."""
        return fingerprint(self.source.identity, self.order.of_rank(0, self.order.ranks))

    def __iter__(self) -> Iterator[Batch]:
        """What is left of the present epoch."""
        plan = self.order.epoch(self.epoch)
        for batch in self._maker.batches(((plan, number) for number in range(self.batch, len(self))), self.threads):
            self.batch += 1
            yield batch
        self.set_epoch(self.epoch + 1)

    def from_step(self, step: int) -> Generator[Batch, None, None]:
        """Batches without end, from a step of a training on, reading ahead over the ends of epochs; the state stays as it is.

        Raises:
            ShardError: an epoch has no batch.
        """
        if not len(self):
            raise ShardError("too few instances for a batch", got=self.instances, expected=f"at least {self.order.batch}")
        return self._maker.batches(self._jobs(step), self.threads)

    def _jobs(self, step: int) -> Iterator[Job]:
        first, place = divmod(step, len(self))
        for epoch in count(first):
            plan = self.order.epoch(epoch)
            for number in range(place if epoch == first else 0, len(self)):
                yield plan, number

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self.epoch, self.batch = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: the batches that it has given, and what they were made by. The same for every rank."""
        return {"epoch": self.epoch, "batch": self.batch, "recipe": self.recipe}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where the state was taken.

        Raises:
            RecipeMismatch: other shards, split or settings, whose batches would not be those that are left.
        """
        if state["recipe"] != self.recipe:
            hint = "open the same shards with the same batch size, seed, window and number of ranks, or start at an epoch: set_epoch"
            raise RecipeMismatch("a state of other batches", got=state["recipe"], expected=self.recipe, hint=hint)
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])


def ranks_in_use() -> tuple[int, int]:
    """Rank and number of ranks of torch.distributed; 0 of 1 where it is not in use."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
