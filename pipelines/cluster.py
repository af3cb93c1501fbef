"""Dask workers on this machine: each holds one part maker for its life, and only counts leave it."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import dask
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, as_completed, get_worker
from distributed.worker import Worker

from dp3d_data.errors import WorkerLost
from pipelines.parts import Advance, Job, PartMaker

# One thread in each process. Dask's own list also trims memory after each array, which costs renderers half of their time.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Native threads do not survive a fork, so processes are spawned.
# A part that ended its process ends the next one too, so it is not tried again.
SETTINGS = {
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.scheduler.allowed-failures": 0,
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
}


class Resident(WorkerPlugin):
    """One part maker per worker process, started when the worker joins."""

    name = "dp3d-resident"
    maker: PartMaker

    def __init__(self, job: Job) -> None:
        self.job = job

    def setup(self, worker: Worker) -> None:
        """Load the network."""
        self.maker = self.job.start()


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """Worker processes on this machine, ended with the block.

    Only errors are logged: a worker that takes seconds to unload torch is ended, and that is no news.
    """
    settings: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "memory_limit": 0}
    settings |= {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
    with dask.config.set(SETTINGS), LocalCluster(**settings) as cluster, Client(cluster) as client:
        yield client


def dashboard(client: Client) -> str | None:
    """Address of Dask's dashboard; None where bokeh, which draws it, is not installed."""
    return client.dashboard_link if importlib.util.find_spec("bokeh") else None


def make_on(client: Client, job: Job, indices: list[int], advance: Advance) -> None:
    """Make the parts on the workers; the first error of a part is raised here."""
    client.register_plugin(Resident(job))
    tasks = [client.submit(_make, index, pure=False) for index in indices]
    try:
        for _, counts in as_completed(tasks, with_results=True):
            advance(*counts)
    except KilledWorker as error:
        raise WorkerLost("a worker process was ended from outside", got=error.task, expected=f"{len(indices)} parts made") from error


def _make(index: int) -> tuple[int, int, int]:
    """Make one part on a worker; its rows are written there, only the counts come back."""
    seen: list[tuple[int, int, int]] = []
    resident = cast(Resident, get_worker().plugins[Resident.name])
    resident.maker.make(index, lambda *counts: seen.append(counts))
    inputs, instances, failures = (sum(column) for column in zip(*seen, strict=True))
    return inputs, instances, failures
