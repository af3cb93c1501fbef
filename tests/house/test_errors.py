"""Errors are product: what, got, expected, how to mend; each class is raised in a test of its room."""

import pickle
import re

import pytest

import dp3d_data.errors as errors
from dp3d_data.errors import CheckpointError, Dp3dError, InputMissing, UnsafePickle
from tests.house.program_words import find, options
from tests.house.source_tree import modules, short
from tests.shared import ROOT

CLASSES = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Dp3dError)}
CONCRETE = [name for name in CLASSES if name != "Dp3dError"]


def mentions(folder: str, pattern: str, skip: str = "") -> bool:
    return any(
        re.search(pattern, path.read_text(encoding="utf-8"), re.DOTALL)
        for path in modules(folder)
        if not skip or skip not in short(path)
    )


@pytest.mark.parametrize("name", CONCRETE)
def test_a_test_raises_it_and_reads_its_text(name):
    direct = rf"raises\(\s*(\w+\.)?{name}\b[^)]*(match|\) as )"
    row_of_a_table = rf"\b{name}, *r?[\"']"
    found = mentions("tests", f"{direct}|{row_of_a_table}", skip="tests/house/")
    assert found, f"no test has pytest.raises({name}, match=...)"


@pytest.mark.parametrize("name", CONCRETE)
def test_the_project_raises_it(name):
    pattern = rf"(raise|return|partial\() *{name}\b|= {name}\b|\({name}, |{name} if |else {name}\b"
    packages = ("dp3d_data", "dp3d_model", "pipelines")
    parent = any(name in {base.__name__ for base in kind.__mro__[1:]} for kind in CLASSES.values())
    assert parent or any(mentions(package, pattern, skip="dp3d_data/errors.py") for package in packages), (
        f"nothing raises {name}"
    )


def test_exit_codes_tell_the_families_apart():
    families = [kind for kind in CLASSES.values() if Dp3dError in kind.__bases__]
    codes = [kind.exit_code for kind in families]
    assert sorted(codes) == sorted(set(codes)) and all(1 < code < 64 for code in codes)


def test_subclasses_keep_the_exit_code_of_their_family():
    assert UnsafePickle.exit_code == CheckpointError.exit_code
    for kind in CLASSES.values():
        for parent in kind.__bases__:
            if issubclass(parent, Dp3dError) and parent is not Dp3dError:
                assert kind.exit_code == parent.exit_code


def test_message_has_path_what_got_expected_and_mend():
    error = CheckpointError("not a checkpoint", got="a JPEG", expected="a .pkl or .pth file", path="weights.pth")
    assert str(error).splitlines()[:3] == [
        "weights.pth: not a checkpoint",
        "  got: a JPEG",
        "  expected: a .pkl or .pth file",
    ]
    assert str(error).splitlines()[3].startswith("  hint: ")


def test_errors_survive_the_way_between_processes():
    error = InputMissing("no such file", got="nothing", hint="look elsewhere", path="a.jpg")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is InputMissing and str(again) == str(error)


def test_every_class_says_when_it_is_raised():
    assert not [name for name, kind in CLASSES.items() if not (kind.__doc__ or "").strip()]


def commands_in_hints():
    """Every `dp3d-...` command that a message, hint or docstring of the packages names."""
    for path in modules():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for found in re.finditer(
                r"\b(dp3d-(?:data|model)) ([a-z][a-z0-9-]*(?: [a-z][a-z-]*)?)((?: --[a-z-]+| [A-Z]+\b)*)", line
            ):
                yield f"{path.relative_to(ROOT)}:{number}", found[0]


def test_commands_named_in_messages_exist():
    wrong = []
    for place, text in commands_in_hints():
        try:
            command, rest = find(text.split())
        except LookupError as error:
            wrong.append(f"{place}: {error}")
            continue
        unknown = {word for word in rest if word.startswith("--")} - options(command)
        wrong += [f"{place}: {text!r} has no option {word}" for word in sorted(unknown)]
    assert not wrong, "\n".join(wrong)
