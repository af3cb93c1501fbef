"""What the documents say is so: commands parse or run, links lead somewhere, tables agree with the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import dp3d_data.errors as errors
from dp3d_data.errors import ConfigError
from scripts.write_command_line_docs import PAGE, page
from tests.end_to_end.programs import succeeds
from tests.house.documents import blocks, documents, fenced_commands, inline_commands, pages_to_run, runnable
from tests.house.program_words import find, options, parse
from tests.house.source_tree import short
from tests.shared import ROOT


@pytest.mark.parametrize("path", documents(), ids=short)
def test_fenced_commands_parse(path):
    wrong = []
    for block in blocks(path):
        for line in fenced_commands(block):
            try:
                parse(line.replace("[", "").replace("]", ""))
            except (LookupError, click.UsageError, ConfigError) as error:
                wrong.append(f"{block}: {line}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", documents(), ids=short)
def test_inline_commands_exist(path):
    wrong = []
    for line in inline_commands(path):
        try:
            command, rest = find(line.split())
        except LookupError as error:
            wrong.append(f"{line}: {error}")
            continue
        unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - options(command)
        wrong += [f"{line}: no option {word}" for word in sorted(unknown)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", pages_to_run(slow=False), ids=short)
def test_page_runs(path, tmp_path, monkeypatch):
    """The commands of a page one after the other, in this process."""
    monkeypatch.chdir(tmp_path)
    for block in runnable(path, slow=False):
        lines = fenced_commands(block)
        assert lines == block.text.splitlines(), f"{block}: what is quick is our commands, one a line"
        for line in lines:
            succeeds(line)


@pytest.mark.slow
@pytest.mark.parametrize("path", pages_to_run(slow=True), ids=short)
def test_slow_page_runs(path, tmp_path):
    """All blocks of a page as a user runs them: in a shell, in an empty folder, with the programs of this
    environment."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"DP3D_WORKSPACE": str(tmp_path / "dp3d-out"), "PYTHONPATH": str(ROOT)}
    for block in runnable(path, slow=True):
        script = "set -e\n" + block.text.replace("$ ", "")
        run = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, f"{block}\n{run.stdout}{run.stderr}"


@pytest.mark.parametrize("path", documents(), ids=short)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http://", "https://", "mailto:"))]
    assert not [link for link in local if not (path.parent / link).exists()]


FILE = re.compile(r"`((?:\.ci|dp3d_data|dp3d_model|pipelines|tests|scripts|docs)/[\w./]*)`")
MODULE = re.compile(r"`((?:dp3d_data|dp3d_model|pipelines)(?:\.\w+)+)`")
NAME = re.compile(r"`(\w+)(?:\([^`]*\))?` (?:of|in) `((?:dp3d_data|dp3d_model|pipelines)[\w./]*)`")


def source_of(place):
    """The file of a module that is named by its path, or by dots with or without one of its names at the end."""
    path = ROOT / (place if "/" in place else place.replace(".", "/"))
    places = [path, path.with_suffix(".py"), path / "__init__.py", path.parent.with_suffix(".py")]
    return next((one for one in places if one.is_file()), None)


@pytest.mark.parametrize("path", documents(), ids=short)
def test_files_modules_and_their_names_exist(path):
    text = path.read_text(encoding="utf-8")
    missing = [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    missing += [name for name in MODULE.findall(text) if source_of(name) is None]
    missing += [
        f"{name} of {place}"
        for name, place in NAME.findall(text)
        if source_of(place) is None or not re.search(rf"\b{name}\b", source_of(place).read_text(encoding="utf-8"))
    ]
    assert not missing


def test_command_line_page_is_in_step_with_the_programs():
    assert PAGE.read_text(encoding="utf-8") == page(), "out of date: python scripts/write_command_line_docs.py"


def test_every_page_is_reachable_from_the_readme():
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")}
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        path = todo.pop()
        links = re.findall(r"\]\(([^)#\s]+\.md)", path.read_text(encoding="utf-8"))
        targets = {(path.parent / link).resolve() for link in links if not link.startswith("http")}
        todo += [target for target in targets - seen if target.exists()]
        seen |= targets
    assert not [short(path) for path in pages - seen]


def test_exit_codes_of_the_documents_are_those_of_the_errors():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    told = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)`", text, re.MULTILINE)}
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.Dp3dError)
    }
    families = {name: kind.exit_code for name, kind in kinds.items() if errors.Dp3dError in kind.__bases__}
    assert told == families | {"Dp3dError": 1}
