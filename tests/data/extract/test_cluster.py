"""Worker processes: a lost one ends the run with a clear error, and the choice of their number."""

import os
from dataclasses import dataclass

import pytest

from dp3d_data.errors import TemplateError, WorkerLost
from pipelines.parts import Place, make_parts, worker_count


@dataclass
class Fatal:
    """A part maker whose process ends without a word, as the kernel ends one that asks for too much memory."""

    def make(self, index, part, advance):
        os._exit(9)


@dataclass
class FatalJob:
    def start(self):
        return Fatal()


@dataclass
class RefusedJob:
    def start(self):
        raise TemplateError("template and network do not belong together", got="42 vertices", hint="name it: --template")


def test_an_error_of_a_worker_process_arrives_whole():
    with pytest.raises(TemplateError, match="do not belong together\n  got: 42 vertices\n  mend: name it"):
        make_parts(RefusedJob(), {0: [1], 1: [2]}, Place(2), lambda *_: None, lambda _: None)


def test_a_lost_worker_ends_the_run_with_a_way_out():
    with pytest.raises(WorkerLost, match=r"ended from outside(.|\n)*--workers 1"):
        make_parts(FatalJob(), {0: [1], 1: [2]}, Place(2), lambda *_: None, lambda _: None)


def test_there_are_never_more_workers_than_parts():
    assert worker_count(8, 3, "cpu") == 3 and worker_count(2, 9, "cpu") == 2
    assert worker_count(0, 1, "cpu") == 1 and worker_count(0, 9, "cuda:0") == 1
    assert worker_count(0, 0, "cpu") == worker_count(0, 3, "cpu") == 1
    assert 1 <= worker_count(0, 1000, "cpu") <= 8
