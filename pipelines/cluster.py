"""Dask workers, here or on a cluster: each holds one part maker on one device for its life, and only counts leave it."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

import dask
from distributed import Client, KilledWorker, Nanny, Scheduler, SpecCluster, WorkerPlugin, as_completed, get_worker
from distributed.worker import Worker

from dp3d_data.errors import UsageError, WorkerLost
from pipelines.clusters import start_cluster
from pipelines.parts import Advance, Job, PartMaker, Parts, Place, visible_gpus

# One thread in each process. Dask's own list also trims memory after each array, which costs renderers half of their time.
# What torch has to say of detectron2's own calls is no news to the user.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore::FutureWarning"}
# Native threads do not survive a fork, so processes are spawned.
# A part that ended its process ends the next one too, so it is not tried again.
# Dask's profiler looks at every thread a hundred times a second and keeps an hour of what it saw.
SETTINGS = {
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.scheduler.allowed-failures": 0,
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
    "distributed.worker.profile.enabled": False,
}
CONNECT_SECONDS = 20
Counts = tuple[int, int, int]


class Resident(WorkerPlugin):
    """One part maker per worker process, started when the worker joins; it makes one part at a time.

    Args:
        name: tells this run from others that use the same workers.
    """

    maker: PartMaker

    def __init__(self, name: str, job: Job) -> None:
        self.name, self.job = name, job

    def setup(self, worker: Worker) -> None:
        """Load the network."""
        self.maker, self.lock = self.job.start(), threading.Lock()

    def make(self, index: int, part: Sequence[Any]) -> Counts:
        """Make a part; its rows are written here, only the counts go back."""
        seen: list[Counts] = []
        with self.lock:
            self.maker.make(index, part, lambda *counts: seen.append(counts))
        inputs, instances, failures = (sum(column) for column in zip(*seen, strict=True))
        return inputs, instances, failures


@contextmanager
def connected(place: Place) -> Iterator[Client]:
    """A client of the workers: of a running scheduler, of a cluster that is started, or of processes on this machine.

    What is started here ends with the block. Nothing here touches a GPU.

    Raises:
        UsageError: no scheduler answers at the address.
    """
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if place.scheduler:
            cluster: Any = place.scheduler
        elif place.cluster:
            cluster = stack.enter_context(start_cluster(place.cluster, place.workers))
        else:
            cluster = stack.enter_context(local_cluster(place))
        yield stack.enter_context(_client(cluster))


def _client(cluster: Any) -> Client:
    try:
        return Client(cluster, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        hint = "start one: dask scheduler, and on each machine: dask worker ADDRESS --nthreads 1"
        raise UsageError("no Dask scheduler answers", got=f"{cluster}: {error}", expected="tcp://HOST:8786", hint=hint) from error


def local_cluster(place: Place) -> SpecCluster:
    """Worker processes on this machine, each with its own GPU where the device is "cuda".

    Workers log next to nothing: one that takes seconds to unload torch is ended, which is no news, and errors come back.
    """
    gpus = visible_gpus() if place.device == "cuda" else []
    workers = {number: {"cls": Nanny, "options": worker_options(number, gpus)} for number in range(place.workers)}
    options = {"host": "127.0.0.1", "port": 0, "dashboard": True, "dashboard_address": "127.0.0.1:0"}
    return SpecCluster(workers=workers, scheduler={"cls": Scheduler, "options": options}, silence_logs=logging.ERROR)


def worker_options(number: int, gpus: Sequence[str]) -> dict[str, Any]:
    """What a worker process is started with: one thread, no limit of memory, and one GPU of those there are."""
    own = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
    return {"host": "127.0.0.1", "nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL, "env": own}


def dashboard(client: Client) -> str:
    """A line that says where Dask's dashboard is, or what it lacks."""
    if importlib.util.find_spec("bokeh"):
        return f"dashboard {client.dashboard_link}"
    return "no dashboard: it needs bokeh (pip install 'dp3d[dashboard]')"


def make_on(client: Client, job: Job, parts: Parts, advance: Advance) -> None:
    """Make the parts on the workers, a few of them handed out at a time; the first error of a part is raised here."""
    if not parts:
        return
    name = f"dp3d-{uuid.uuid4().hex}"
    client.register_plugin(Resident(name, job))
    todo = iter(parts.items())
    tasks = as_completed((), with_results=True)
    try:
        _hand_out(client, tasks, name, todo)
        for _, counts in tasks:
            advance(*counts)
            _hand_out(client, tasks, name, todo)
    except KilledWorker as error:
        raise WorkerLost("a worker process was ended from outside", got=error.task, expected=f"{len(parts)} parts made") from error
    finally:
        with suppress(OSError):  # a worker that is gone cannot be told
            client.unregister_worker_plugin(name)


def _hand_out(client: Client, tasks: as_completed, name: str, todo: Iterator[tuple[int, Sequence[Any]]]) -> None:
    """Keep two parts for each worker on the way, so that neither the scheduler nor the workers hold the whole run."""
    wanted = 2 * max(len(client.nthreads()), 1) - tasks.count()
    for index, part in itertools.islice(todo, max(wanted, 0)):
        tasks.add(client.submit(_make, name, index, part, pure=False))


def _make(name: str, index: int, part: Sequence[Any]) -> Counts:
    """Make one part on a worker."""
    return cast(Resident, get_worker().plugins[name]).make(index, part)
