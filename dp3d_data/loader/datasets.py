"""The same batches for torch's own DataLoader: a stream over worker processes, and a dataset with a length and an
index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from dp3d_data.errors import UsageError
from dp3d_data.loader.loader import Epoch, Loader
from dp3d_data.loader.source import CachedSource, Source, open_source
from dp3d_data.shards.batch import Given, KeypointBatch
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.table import InstanceTable

HELD = 16


class InstanceStream(IterableDataset):
    """Batches for DataLoader(stream, batch_size=None, num_workers=...), the same and in the same order for any number
    of workers.

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
        plan = Epoch(self.loader.order, self.loader.epoch)
        return self.loader.batches((plan, number) for number in range(first, len(self.loader), step))

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
        self.source, self.sparse = CachedSource(source, None if memory else held), sparse
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
