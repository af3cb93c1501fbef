"""Packages import in one direction, also inside functions: the contracts of import-linter in pyproject.toml."""

from importlinter.api import read_configuration
from importlinter.cli import lint_imports

from tests.house.source_tree import imports, module_name, modules
from tests.shared import ROOT


def test_contracts_hold(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert read_configuration()["contracts_options"]
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out


def test_only_detection_imports_detectron2():
    seen = {module_name(path) for path in modules() for _, name in imports(path) if name.split(".")[0] == "detectron2"}
    assert all(name.startswith("dp3d_data.detection.") for name in seen), sorted(seen)
