"""Small pieces: functions mostly under 40 lines and never over 60, files mostly under 300 lines and never over 450."""

import ast

from tests.house.source_tree import modules, short, tree

FUNCTION, FUNCTION_MOSTLY = 60, 40
FILE, FILE_MOSTLY = 450, 300


def function_lengths():
    for path in modules("dp3d_data", "dp3d_model", "pipelines", "scripts", "tests"):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{short(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def file_lengths():
    for path in modules("dp3d_data", "dp3d_model", "pipelines", "scripts", "tests"):
        yield short(path), len(path.read_text(encoding="utf-8").splitlines())


def test_no_function_is_long():
    assert not [f"{name}: {lines} lines" for name, lines in function_lengths() if lines > FUNCTION]


def test_most_functions_are_short():
    lengths = [lines for _, lines in function_lengths()]
    assert sum(lines <= FUNCTION_MOSTLY for lines in lengths) > 0.95 * len(lengths)


def test_no_file_is_long():
    assert not [f"{name}: {lines} lines" for name, lines in file_lengths() if lines > FILE]


def test_most_files_are_short():
    lengths = [lines for _, lines in file_lengths()]
    assert sum(lines <= FILE_MOSTLY for lines in lengths) > 0.85 * len(lengths)
