"""Every command that writes a folder, killed at renames, taken up by two writers at once: the bytes of an undisturbed
run."""

import multiprocessing

import pytest

from dp3d_data.errors import FolderBusy
from tests.data.campaign import COMMANDS, killed, prepare, serve

RENAMES = (1, 2, 4, 7, 11, 16)
# Times differ from run to run; the state and the log of a build are gone at the end.
# Of state.pt, the numbers are what is resumed (tests of the trainer); how torch packs those that were read differs from
# those made.
LEFT_OUT = ("speed.jsonl", "state.pt")


@pytest.fixture(scope="module")
def together():
    """The exit codes of commands that run at once, each in a process forked from one that has imported everything."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    host = context.Process(target=serve, args=(there,))
    host.start()
    there.close()

    def codes(*jobs):
        here.send(jobs)
        return here.recv()

    yield codes
    here.send(())
    host.join(timeout=600)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    prepare(folder)
    return folder


def content(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in LEFT_OUT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def two_at_once(together, command, root, out):
    """Two writers: one or both come to the end, nobody writes beside the other, and a third has nothing left to do."""
    codes = together((command, root, out), (command, root, out))
    assert 0 in codes and set(codes) <= {0, FolderBusy.exit_code}, codes


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_and_taken_up_by_two_it_gives_the_same_bytes(together, root, tmp_path, command):
    out = tmp_path / "out"
    assert together((command, root, out)) == [0]
    expected, deaths = content(out), 0
    assert expected
    for rename in RENAMES:
        out.rename(tmp_path / f"done-{rename}")
        [code] = together((command, root, out, rename))
        assert killed(code) or code == 0, (rename, code)
        deaths += killed(code)
        two_at_once(together, command, root, out)
        assert content(out) == expected, f"killed at rename {rename}"
    assert deaths >= 4
    out.rename(tmp_path / "done")
    two_at_once(together, command, root, out)
    assert content(out) == expected, "two at once in an empty folder"
