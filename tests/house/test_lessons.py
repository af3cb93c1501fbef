"""Lessons that a linter cannot express."""

import ast
import builtins
import importlib
import re
import symtable

import pytest

from tests.house.source_tree import calls, modules, short, texts, tree
from tests.shared import ROOT

BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "core", "base", "misc", "tools", "stuff"}
THIS = "tests/house/test_lessons.py"


def test_every_file_is_named_for_what_it_is():
    files = modules("dp3d_data", "dp3d_model", "pipelines", "scripts", "tests")
    assert not [short(path) for path in files if BANNED_NAMES & {path.stem, path.parent.name}]


def test_every_module_says_what_it_is():
    wrong = []
    for path in modules("dp3d_data", "dp3d_model", "pipelines", "scripts", "tests"):
        first = (ast.get_docstring(tree(path)) or "").partition("\n\n")[0]
        if tree(path).body and not first.endswith((".", ":")):
            wrong.append(short(path))
    assert not wrong, wrong


def test_every_name_is_defined():
    """The linter cannot look: jaxtyping writes shapes as strings, in which it sees names."""
    always, wrong = {*dir(builtins), "__file__", "__name__", "__doc__"}, []
    for path in modules("dp3d_data", "dp3d_model", "pipelines", "scripts", "tests"):
        tables = [symtable.symtable(path.read_text(encoding="utf-8"), str(path), "exec")]
        for table in tables:
            tables += table.get_children()
        made = [one for table in tables for one in table.get_symbols() if table is tables[0] or one.is_global()]
        known = {one.get_name() for one in made if one.is_assigned() or one.is_imported() or one.is_namespace()}
        for table in tables:
            names = {one.get_name() for one in table.get_symbols() if one.is_referenced() and one.is_global()}
            wrong += [f"{short(path)}: {table.get_name()}: {name}" for name in names - known - always]
    assert not wrong, wrong


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "bench").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_can_be_loaded(path):
    """Nothing but this runs them where the code that they measure is changed."""
    assert importlib.import_module(f"tests.bench.{path.stem}").__doc__


def test_no_path_of_a_machine():
    pattern = re.compile(r"/(work|home|root|Users)/\w|/tmp/\w|[A-Z]:\\\\")
    found = []
    for path in texts():
        if short(path) == THIS or path.name == "LICENSE":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{short(path)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


def test_no_open_ends():
    pattern = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{short(path)}:{number}"
        for path in texts()
        if short(path) != THIS
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, found


def test_torch_load_reads_weights_only():
    wrong = [
        f"{short(path)}:{call.lineno}"
        for path in modules("dp3d_data", "dp3d_model", "pipelines", "scripts")
        for call in calls(path, "torch.load")
        if not any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in call.keywords)
    ]
    assert not wrong, f"a checkpoint can run code: torch.load(..., weights_only=True) at {wrong}"


def test_numpy_load_reads_no_pickles():
    wrong = [
        f"{short(path)}:{call.lineno}"
        for path in modules("dp3d_data", "dp3d_model", "pipelines", "scripts")
        for call in calls(path, "np.load")
        if "allow_pickle=True" in ast.unparse(call)
    ]
    assert not wrong, f"an object array can run code: store plain arrays instead, at {wrong}"


def test_files_are_written_by_the_one_writer():
    """Whole or not at all, with one error for a full disk: dp3d_data/files.py; buffers and its streams may be filled
    anywhere."""
    direct = (
        r"\.write_text\(",
        r"\.write_bytes\(",
        r"np\.savez(_compressed)?\((?!stream|s,|')",
        r"savefig\((?!stream)",
        r"open\([^)]*[\"'][wax]b?\+?b?[\"']",
        r"ParquetWriter\((?!stream)",
        r"\.export\((?!file_type|stream)",
        r"os\.replace\(|\.rename\(",
        r"pq\.write_table\([^\n]*?, (?!stream|buffer)\w*(path|folder|out)",
        r"torch\.save\((?!content, stream)",
    )
    words = re.compile("|".join(direct))
    pictures = re.compile(r"\.save\((?!stream|buffer)[^)]*(quality|\"PNG\"|\"JPEG\")")
    found = [
        f"{short(path)}:{number}"
        for path in modules()
        if short(path) != "dp3d_data/files.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line) or pictures.search(line)
    ]
    assert not found, "\n".join(found)


def test_pictures_of_others_are_opened_in_one_place():
    """With its formats and limits: dp3d_data/datasets/images.py; iuv.py knows PNG alone, effects.py what it has just
    written."""
    allowed = {f"dp3d_data/{name}.py" for name in ("datasets/images", "datasets/iuv", "synthesis/effects")}
    wrong = [
        f"{short(path)}:{call.lineno}"
        for path in modules()
        if short(path) not in allowed
        for name in ("Image.open", "pillow.open")
        for call in calls(path, name)
    ]
    assert not wrong, f"a picture may be a bomb: dp3d_data.datasets.images.open_image, not Image.open, at {wrong}"


def test_the_terminal_is_spoken_to_in_one_place():
    wrong = [
        short(path)
        for path in modules()
        if short(path) != "pipelines/cli/commandline.py"
        if calls(path, "click.echo") or "say=click.echo" in path.read_text(encoding="utf-8")
    ]
    assert not wrong, (
        f"a name may hold codes that a terminal obeys: pipelines.cli.commandline.say, not click.echo, in {wrong}"
    )


def test_html_is_filled_by_the_template_function():
    folders = [*modules("pipelines")]
    wrong = [
        f"{short(path)}:{node.lineno}"
        for path in folders
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr)
        if any(isinstance(part, ast.Constant) and re.search(r"</?[a-z]", part.value) for part in node.values)
    ]
    assert not wrong, f"a name may be a tag: pipelines.report.page.html escapes what it fills in, at {wrong}"


def test_there_is_one_broad_except():
    broad = [
        short(path)
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert len(broad) <= 1, f"one bad sample must not end a run; elsewhere name the error: {broad}"
    assert all(name.startswith("pipelines/") for name in broad)


def test_every_test_asserts_something():
    bare = []
    for path in modules("tests"):
        functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
        checkers = {node.name for node in functions if asserts(node, set())}
        bare += [
            f"{short(path)}:{node.lineno} {node.name}"
            for node in functions
            if node.name.startswith("test_") and not asserts(node, checkers)
        ]
    assert not bare, bare


def asserts(function: ast.FunctionDef, checkers: set[str]) -> bool:
    """Whether a test can fail by something other than an accident, itself or through a checker of its file."""
    words = ("raises", "warns", "assert", "check", "expect", "fail", "succeeds")
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name.lstrip("_").startswith(words) or name in checkers:
            return True
    return False
