"""Dask workers on this machine: each holds one part maker for its life, and only counts leave it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster, WorkerPlugin, as_completed, get_worker
from distributed.worker import Worker

from pipelines.parts import Advance, Job, PartMaker

# Native threads do not survive a fork, so processes are spawned.
SETTINGS = {"distributed.worker.multiprocessing-method": "spawn", "distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": None}


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
    """Worker processes on this machine, ended with the block; the dashboard is served where bokeh is installed."""
    address = "127.0.0.1:0" if importlib.util.find_spec("bokeh") else None
    with (
        dask.config.set(SETTINGS),
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0, dashboard_address=address) as cluster,
        Client(cluster) as client,
    ):
        yield client


def make_on(client: Client, job: Job, indices: list[int], advance: Advance) -> None:
    """Make the parts on the workers; the first error of a part is raised here."""
    client.register_plugin(Resident(job))
    tasks = [client.submit(_make, index, pure=False) for index in indices]
    for _, counts in as_completed(tasks, with_results=True):
        advance(*counts)


def _make(index: int) -> tuple[int, int, int]:
    """Make one part on a worker; its rows are written there, only the counts come back."""
    seen: list[tuple[int, int, int]] = []
    get_worker().plugins[Resident.name].maker.make(index, lambda *counts: seen.append(counts))
    inputs, instances, failures = (sum(column) for column in zip(*seen, strict=True))
    return inputs, instances, failures
