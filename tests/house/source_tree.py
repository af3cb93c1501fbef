"""The files of the repository and their syntax trees."""

import ast
from functools import cache
from pathlib import Path

from tests.shared import ROOT

PACKAGES = ("dp3d_data", "dp3d_model", "pipelines")
TEXT = {".py", ".md", ".toml", ".sh", ".html", ".txt", ".json", ""}


def modules(*folders: str) -> list[Path]:
    """Every Python file of the packages, or of the given folders."""
    return sorted(path for folder in folders or PACKAGES for path in (ROOT / folder).rglob("*.py"))


def texts() -> list[Path]:
    """Every text file that is written by hand."""
    folders = [path for name in (*PACKAGES, "tests", "docs", "scripts", ".ci") for path in (ROOT / name).rglob("*")]
    files = [path for path in [*folders, *ROOT.iterdir()] if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path for path in files if path.suffix in TEXT and path.name != ".git")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def short(path: Path) -> str:
    """The path as a reader of the repository writes it."""
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """dp3d_data/geometry/__init__.py -> dp3d_data.geometry."""
    return short(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and full name of everything a file imports, also inside functions: `from a import b` gives a.b."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
            parts = package.split(".")
            prefix = ".".join(parts[: len(parts) - node.level + 1]) + "." if node.level else ""
            start = (prefix + (node.module or "")).rstrip(".")
            found += [(node.lineno, f"{start}.{alias.name}") for alias in node.names]
    return found


def calls(path: Path, dotted: str) -> list[ast.Call]:
    """The calls of a function by its dotted name as written: torch.load."""
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and ast.unparse(node.func) == dotted]
