"""Worker processes: a lost one ends the run with a clear error, the choice of their number, and clusters by address or
fingerprint."""

import gc
import os
import subprocess
import sys
import types
from contextlib import nullcontext
from functools import partial

import dask
import pytest
from distributed import Client

import pipelines.cluster as cluster
from dp3d_data.errors import ConfigError, DependencyMissing, InputMissing, TemplateError, UsageError, WorkerLost
from pipelines.chunks import Executor, submitting, visible_gpus, worker_count
from pipelines.cluster import KINDS, SHIPPED, read_recipe, start_cluster
from tests.shared import ROOT


def make_chunks(load, chunks, executor, advance, say):
    with submitting(executor, len(chunks), say) as make:
        make(load, chunks, advance)


def fatal():
    """Makes chunks; its process ends without a word, as the kernel ends one that asks for too much memory."""

    def make(index, chunk, advance, lost):
        if index is not None:
            os._exit(9)

    return make


def refused():
    raise TemplateError("template and network do not belong together", got="42 vertices", hint="name it: --template")


@pytest.mark.slow
def test_an_error_of_a_worker_process_arrives_whole():
    with pytest.raises(TemplateError, match="do not belong together\n  got: 42 vertices\n  hint: name it"):
        make_chunks(refused, {0: [1], 1: [2]}, Executor(2), lambda *_: None, lambda _: None)


def never_starts():
    os._exit(9)


@pytest.mark.slow  # processes are started anew
@pytest.mark.parametrize(("load", "words"), [(never_starts, "while it loaded"), (fatal, "chunk 0")])
def test_workers_that_die_whatever_they_do_end_the_run_with_a_way_out(load, words):
    with pytest.raises(WorkerLost, match=rf"ended from outside(.|\n)*{words}(.|\n)*--workers 1"):
        make_chunks(load, {0: [1]}, Executor(2), lambda *_: None, lambda _: None)


class Restarting:
    """A cluster one of whose dead workers is being started again as it is to end."""

    def close(self):
        raise AssertionError("can only join a started process")


def test_a_worker_that_is_started_again_at_the_end_hides_no_error(monkeypatch):
    monkeypatch.setattr(cluster, "local_cluster", lambda _: Restarting())
    monkeypatch.setattr(cluster, "_client", nullcontext)
    with pytest.raises(WorkerLost), cluster.connected(Executor(2)):
        raise WorkerLost("worker processes were ended from outside")


def deadly(folder):
    """Inputs are numbers: 13 ends the process; 7 does so where nobody has died of it before, as a machine that is lost
    once."""

    def make(index, chunk, advance, lost):
        for place, one in enumerate(chunk):
            if place not in lost and (one == 13 or (one == 7 and not (folder / "died").exists())):
                (folder / "died").touch()
                os._exit(9)
            advance(1, place not in lost, place in lost)
        if index is not None:
            (folder / f"{index}-{'-'.join(map(str, lost))}").touch()

    return make


@pytest.mark.slow  # processes are started anew
def test_a_worker_that_dies_costs_the_input_that_ended_it_and_no_other(tmp_path):
    told, parts = [], {0: [1, 2], 1: [12, 13, 14], 2: [6, 7, 8], 3: [3, 4]}
    make_chunks(partial(deadly, tmp_path), parts, Executor(2), lambda *counts: told.append(counts), lambda _: None)
    assert {path.name for path in tmp_path.iterdir()} == {"died", "0-", "1-1", "2-", "3-"}
    assert [sum(column) for column in zip(*told, strict=True)] == [10, 9, 1]


def test_there_are_never_more_workers_than_parts():
    assert worker_count(8, 3, "cpu") == 3 and worker_count(2, 9, "cpu") == 2
    assert worker_count(0, 1, "cpu") == 1 and worker_count(0, 9, "cuda:0") == 1
    assert worker_count(0, 0, "cpu") == worker_count(0, 3, "cpu") == 1
    assert 1 <= worker_count(0, 1000, "cpu") <= 8


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7f")
    assert worker_count(0, 9, "cuda") == 2 and worker_count(3, 9, "cuda") == 3
    given = [cluster.worker_options(number, visible_gpus())["env"] for number in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in given] == ["4", "GPU-7f", "4"]
    assert cluster.worker_options(0, [])["env"] == {}


def counting(folder):
    """Chunks that are their own result: the processes that loaded and made them are written into a folder."""
    loaded = os.getpid()

    def make(index, chunk, advance, lost):
        (folder / f"{index}-{loaded}-{os.getpid()}-{'-'.join(map(str, chunk))}").touch()
        advance(len(chunk), 1, 0)

    return make


@pytest.mark.slow
def test_a_scheduler_that_runs_already_is_used_and_left_alone(tmp_path):
    said, told, parts = [], [], {index: [index, index + 1] for index in range(7)}
    with cluster.connected(Executor(2)) as client:
        address = client.scheduler.address
        for folder in (tmp_path / "a", tmp_path / "b"):
            folder.mkdir()
            make_chunks(
                partial(counting, folder),
                parts,
                Executor(0, scheduler=address),
                lambda *counts: told.append(counts),
                said.append,
            )
        assert len(client.nthreads()) == 2
    names = [path.name.split("-") for path in (tmp_path / "a").iterdir()]
    assert sorted(int(name[0]) for name in names) == list(range(7)) and len(list((tmp_path / "b").iterdir())) == 7
    assert all(name[1] == name[2] != str(os.getpid()) for name in names) and len({name[2] for name in names}) == 2
    assert told == [(2, 1, 0)] * 14 and "dashboard" in said[0]


def test_an_address_where_nobody_answers(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.2)
    for address in ("tcp://127.0.0.1:1", "nonsense"):
        with pytest.raises(UsageError, match=r"no Dask scheduler answers(.|\n)*dask worker ADDRESS"):
            make_chunks(fatal, {0: [1]}, Executor(0, scheduler=address), lambda *_: None, lambda _: None)
    clients = [one for one in gc.get_objects() if type(one) is Client]
    assert {client.status for client in clients} <= {"closed"}  # an open one closes itself at any time, and may hang


def test_shipped_recipes_are_read_and_name_their_kind():
    assert SHIPPED == ("cuda", "slurm")
    assert read_recipe("cuda")[0] == "cuda" and read_recipe("slurm")[1] == 4
    assert set(SHIPPED) <= set(KINDS)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("kind = 'slrum'", ConfigError, "did you mean 'slurm'"),
        ("kind = 'slurm'\njobs = 3", ConfigError, "unknown setting 'jobs'"),
        ("kind = 'slurm'\nworkers = 'all'", ConfigError, "a number of workers and a table of options"),
        ("kind = 'slurm'\n[options]\ncoars = 3", ConfigError, "cannot be started with these options"),
        (None, InputMissing, "no such cluster recipe"),
    ],
)
def test_recipes_that_cannot_be(tmp_path, monkeypatch, text, error, message):
    def refusing(cores=1):
        return cores

    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=refusing))
    path = tmp_path / "my.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        start_cluster(str(path))


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with pytest.raises(DependencyMissing, match=r"cuda clusters need dask_cuda(.|\n)*dp3d\[cluster\]"):
        start_cluster("cuda")


def test_clusters_start_with_the_options_of_their_recipe(monkeypatch):
    class Fake:
        def __init__(self, **options):
            self.options, self.jobs = options, None

        def scale(self, jobs):
            self.jobs = jobs

    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=Fake))
    monkeypatch.setitem(sys.modules, "dask_cuda", types.SimpleNamespace(LocalCUDACluster=Fake))
    assert start_cluster("slurm").jobs == 4 and start_cluster("slurm", 9).jobs == 9
    assert start_cluster("slurm").options == read_recipe("slurm")[2]
    assert "n_workers" not in start_cluster("cuda").options and start_cluster("cuda", 2).options["n_workers"] == 2


def test_the_job_script_of_the_slurm_recipe_asks_for_a_gpu_a_job():
    jobqueue = pytest.importorskip(
        "dask_jobqueue", reason="dask-jobqueue is not installed: pip install 'dp3d[cluster]'"
    )
    with jobqueue.SLURMCluster(**read_recipe("slurm")[2]) as started:
        script = started.job_script()
    for line in (
        "#SBATCH -p gpu",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --gres=gpu:1",
        "#SBATCH -t 24:00:00",
        "--lifetime 23h",
    ):
        assert line in script
    assert "--nthreads 1" in script


@pytest.mark.slow
def test_the_process_that_only_hands_out_work_imports_no_network():
    code = """
import sys
from pipelines.extract import make_plan
from pipelines.settings import ExtractConfig
import pipelines.cluster
assert make_plan(ExtractConfig(workers=2)).executor.workers == 1  # the embedded samples are one chunk
print(*sorted({"torch", "torchvision", "detectron2", "faiss"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.split() == []


def test_workers_are_not_profiled():
    with cluster.connected(Executor(1)) as client:
        assert client.run(lambda: dask.config.get("distributed.worker.profile.enabled")) == dict.fromkeys(
            client.nthreads(), False
        )
