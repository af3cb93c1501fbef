"""Dask workers, here or on a cluster: each loads what makes chunks on one device, and only counts leave it."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import signal
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, cast

import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, WorkerPlugin, get_worker, wait
from distributed.client import FuturesCancelledError
from distributed.worker import Worker

from dp3d_data.config import read_toml
from dp3d_data.errors import ConfigError, DependencyMissing, InputMissing, UsageError, WorkerLost, did_you_mean
from dp3d_data.records import present
from pipelines.chunks import Advance, Chunks, Executor, Load, MakeChunk, Say, visible_gpus

# One thread in each process. Dask's own list also trims memory after each array, which costs renderers half of their
# time. What torch has to say of detectron2's own calls is no news to the user.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore::FutureWarning",
}
# Native threads do not survive a fork, so processes are spawned.
# Dask gives a task whose worker died to another, `allowed-failures` times; a worker may need long to come back on a
# busy machine. Dask's profiler looks at every thread a hundred times a second and keeps an hour of what it saw.
SETTINGS = {
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.scheduler.allowed-failures": 3,
    "distributed.deploy.lost-worker-timeout": "10 minutes",
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
    "distributed.worker.profile.enabled": False,
}
CONNECT_SECONDS = 20
PATIENCE_SECONDS = 10
START = "dask worker ADDRESS --nthreads 1"
Counts = tuple[int, int, int]
Call = tuple[int | None, Sequence[Any], Collection[int]]  # index, inputs and lost places; see `MakeChunk`
Answers = Callable[[Iterable[Call]], Iterator[tuple[int | None, Counts | None]]]


class WorkerState(WorkerPlugin):
    """What makes chunks in a worker process, loaded once; it works on one chunk at a time.

    Args:
        name: tells this run from others that use the same workers.
    """

    def __init__(self, name: str, load: Load) -> None:
        self.name, self.load = name, load

    def setup(self, worker: Worker) -> None:
        """The worker has joined."""
        self.lock = threading.Lock()
        self.make: MakeChunk | None = None

    def work(self, index: int | None, chunk: Sequence[Any], lost: Collection[int]) -> Counts:
        """Make a chunk, or work on inputs in vain; rows are written here, only the counts go back."""
        told: list[Counts] = [(0, 0, 0)]
        with self.lock:
            self.make = self.make or self.load()
            self.make(index, chunk, lambda *counts: told.append(counts), lost)
        inputs, instances, failures = (sum(column) for column in zip(*told, strict=True))
        return inputs, instances, failures


@contextmanager
def connected(executor: Executor) -> Iterator[Client]:
    """A client of the workers: of a running scheduler, of a cluster that is started, or of processes on this machine.

    What is started here ends with the block. Nothing here touches a GPU.

    Raises:
        UsageError: no scheduler answers at the address.
    """
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is an error of ours
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        if executor.scheduler:
            cluster: Any = executor.scheduler
        elif executor.cluster:
            cluster = stack.enter_context(start_cluster(executor.cluster, executor.workers))
        else:
            cluster = stack.enter_context(_ended(local_cluster(executor)))
        yield stack.enter_context(_client(cluster))


@contextmanager
def _ended(cluster: SpecCluster) -> Iterator[SpecCluster]:
    """The cluster, which ends with the block."""
    try:
        yield cluster
    finally:
        # a worker that died and is being started again cannot be joined; it ends with this process
        with suppress(AssertionError):
            cluster.close()


def _client(cluster: Any) -> Client:
    # At hand also where it cannot start: left to the garbage collector it closes itself at any time, and waits for ever
    # where that is within Dask's own lock.
    client = Client.__new__(Client)
    try:
        client.__init__(cluster, timeout=CONNECT_SECONDS)  # type: ignore[misc]
        return client
    except (OSError, ValueError) as error:
        client.close()
        got, hint = f"{cluster}: {error}", f"start one: dask scheduler, and on each machine: {START}"
        raise UsageError("no Dask scheduler answers", got=got, expected="tcp://HOST:8786", hint=hint) from error


def local_cluster(executor: Executor) -> SpecCluster:
    """Worker processes on this machine, each with its own GPU where the device is "cuda".

    Workers log next to nothing: one that takes seconds to unload torch is ended, which is no news, and errors come
    back. Ctrl-C is for this process alone, which ends them: they inherit a mask that holds it back.
    """
    gpus = visible_gpus() if executor.device == "cuda" else []
    workers = {number: {"cls": Nanny, "options": worker_options(number, gpus)} for number in range(executor.workers)}
    options = {"host": "127.0.0.1", "port": 0, "dashboard": True, "dashboard_address": "127.0.0.1:0"}
    resource_tracker.ensure_running()  # the first process of a thread would start it, and lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        scheduler = {"cls": Scheduler, "options": options}
        return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def worker_options(number: int, gpus: Sequence[str]) -> dict[str, Any]:
    """What a worker process is started with: one thread, no limit of memory, and one GPU of those there are."""
    own = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
    return {"host": "127.0.0.1", "nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL, "env": own}


def dashboard(client: Client) -> str:
    """A line that says where Dask's dashboard is, or what it lacks."""
    if importlib.util.find_spec("bokeh"):
        return f"dashboard {client.dashboard_link}"
    return "no dashboard: it needs bokeh (pip install 'dp3d[dashboard]')"


def make_on(client: Client, load: Load, chunks: Chunks, advance: Advance, say: Say) -> None:
    """Make the chunks on the workers; the first error of a chunk is raised here.

    A chunk whose workers die is made at the end, when nothing else is at work: its inputs are tried one by one, and
    those whose workers die again are rows of failures.

    Raises:
        WorkerLost: workers die whatever they work on, or the scheduler is gone.
    """
    if not chunks:
        return
    name = f"dp3d-{uuid.uuid4().hex}"
    with _scheduler_needed(client):
        client.register_plugin(WorkerState(name, load))
    answers, killed, made = partial(_answers, client, name, say), list[int](), False
    try:
        for index, counts in answers((index, chunk, ()) for index, chunk in chunks.items()):
            if counts is not None:
                made = True
                advance(*counts)
            elif made or _alone(answers, None, ()):
                killed.append(present(index))
            else:
                raise WorkerLost("each worker process was ended from outside while it loaded the network")
        for index in killed:
            advance(*_spared(answers, index, chunks[index]))
    finally:
        with suppress(OSError, CancelledError, RuntimeError):  # a worker or a scheduler that is gone cannot be told
            client.unregister_worker_plugin(name)


def _spared(answers: Answers, index: int, chunk: Sequence[Any]) -> Counts:
    """Make a chunk that ended its workers, without the inputs that do so."""
    lost = [place for place, one in enumerate(chunk) if _alone(answers, None, [one]) is None]
    counts = _alone(answers, index, chunk, lost)
    if counts is None:
        raise WorkerLost("worker processes were ended from outside", got=f"chunk {index}, each time that it was made")
    return counts


def _alone(answers: Answers, index: int | None, chunk: Sequence[Any], lost: Collection[int] = ()) -> Counts | None:
    """The counts of one call; None where its workers died each time."""
    return next(answers([(index, chunk, lost)]))[1]


def _answers(client: Client, name: str, say: Say, calls: Iterable[Call]) -> Iterator[tuple[int | None, Counts | None]]:
    """The counts of each call of the run's worker states, as they come; None where its workers died each time.

    Two calls for each worker are on the way, so that neither the scheduler nor the workers hold the whole run.

    Args:
        say: told where no worker comes.
    """
    calls, waiting = iter(calls), dict[Future, int | None]()
    while True:
        with _scheduler_needed(client):
            wanted = 2 * max(len(client.nthreads()), 1) - len(waiting)
            for call in itertools.islice(calls, max(wanted, 0)):
                waiting[client.submit(_work, name, *call, pure=False)] = call[0]
            if not waiting:
                return
            found = []
            for future in _finished(client, list(waiting), say):
                try:
                    counts = future.result()
                except KilledWorker:
                    counts = None
                found.append((waiting.pop(future), counts))
        yield from found


def _finished(client: Client, futures: Sequence[Future], say: Say) -> Sequence[Future]:
    """Those that have ended, when one has."""
    said = False
    while True:
        try:
            done = wait(futures, timeout=PATIENCE_SECONDS, return_when="FIRST_COMPLETED").done
            return [future for future in futures if future in done]
        except TimeoutError:
            if not said and not client.nthreads():
                said = True
                say(f"waiting: no workers are up; jobs may be queued, or start some: {START}")


@contextmanager
def _scheduler_needed(client: Client) -> Iterator[None]:
    """Turn what a lost scheduler does to its client into one error; those of the workers' calls pass."""
    try:
        yield
    except (FuturesCancelledError, CancelledError, OSError) as error:
        if isinstance(error, OSError) and client.status == "running":
            raise
        hint = "start a scheduler and workers, then run the same command again: it goes on where it stopped"
        raise WorkerLost("the Dask scheduler is gone", hint=hint) from error


def _work(name: str, index: int | None, chunk: Sequence[Any], lost: Collection[int]) -> Counts:
    """Work on a worker with what the run has loaded there."""
    return cast(WorkerState, get_worker().plugins[name]).work(index, chunk, lost)


# Clusters that can be started: a TOML file says which kind, how many workers, and the options of its Dask class.
FOLDER = Path(__file__).with_name("recipes")
# kind -> module, class
KINDS = {
    "cuda": ("dask_cuda", "LocalCUDACluster"),
    "slurm": ("dask_jobqueue", "SLURMCluster"),
    "pbs": ("dask_jobqueue", "PBSCluster"),
    "lsf": ("dask_jobqueue", "LSFCluster"),
    "sge": ("dask_jobqueue", "SGECluster"),
    "htcondor": ("dask_jobqueue", "HTCondorCluster"),
}
# Recipes that come with the project, by name.
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem in KINDS))


def read_recipe(name: str) -> tuple[str, int, dict[str, Any]]:
    """A recipe by the name of a shipped one, or by its file.

    Returns:
        Its kind, one of KINDS; the workers (of a batch system: jobs) to start, 0 to leave it to the class; and the
        options of the class.

    Raises:
        InputMissing: neither.
        ConfigError: not TOML, an unknown kind or key.
    """
    path = FOLDER / f"{name}.toml" if name in SHIPPED else Path(name)
    if not path.is_file():
        expected, hint = f"a TOML file, or one of {', '.join(SHIPPED)}", f"copy {FOLDER / 'slurm.toml'} and fit it"
        raise InputMissing("no such cluster recipe", got=name, expected=expected, hint=f"{hint} to your cluster")
    values = read_toml(path)
    if unknown := sorted(set(values) - {"kind", "workers", "options"}):
        expected = "kind, workers and the table [options]"
        raise ConfigError(f"unknown setting {unknown[0]!r}", expected=expected, path=path)
    kind, workers, options = values.get("kind"), values.get("workers", 0), values.get("options", {})
    if kind not in KINDS:
        expected, hint = "one of " + ", ".join(KINDS), did_you_mean(str(kind), KINDS) or ""
        raise ConfigError("unknown kind of cluster", got=repr(kind), expected=expected, hint=hint, path=path)
    if type(workers) is not int or workers < 0 or not isinstance(options, dict):
        got = f"workers {workers!r}, options {options!r}"
        raise ConfigError("a cluster has a number of workers and a table of options", got=got, path=path)
    return kind, workers, options


def start_cluster(name: str, workers: int = 0) -> AbstractContextManager[Any]:
    """Start the cluster of a recipe; it ends with the block.

    Args:
        workers: instead of the recipe's number; 0 keeps it.

    Raises:
        InputMissing, ConfigError: see `read_recipe`; options that the class does not know.
        DependencyMissing: the class's package is not installed.
    """
    kind, count, options = read_recipe(name)
    module, attribute = KINDS[kind]
    try:
        make = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        hint = "pip install 'dp3d[cluster]'"
        raise DependencyMissing(f"{kind} clusters need {module}", got=error, hint=hint) from error
    count = workers or count
    own = {"n_workers": count} if count and kind == "cuda" else {}
    try:
        cluster = make(**(options | own))
    except (TypeError, ValueError) as error:
        what = "the cluster cannot be started with these options"
        hint = f"the options are those of {module}.{attribute}"
        raise ConfigError(what, got=error, hint=hint, path=name) from error
    if count and kind != "cuda":
        cluster.scale(jobs=count)
    return cluster
