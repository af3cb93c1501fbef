"""--help answers without loading a heavy library."""

import json
import subprocess
import sys

import pytest

from tests.shared import ROOT

HEAVY = (
    "torch torchvision dask distributed detectron2 trimesh scipy pyarrow numpy faiss PIL matplotlib embreex mujoco"
    " pandas".split()
)

PROBE = """
import json, sys
from click.testing import CliRunner
from tests.house.program_words import all_commands
heavy, seen, blame, codes = set(sys.argv[1:]), set(), {}, {}
for name, command in all_commands().items():
    codes[name] = CliRunner().invoke(command, ["--help"]).exit_code
    blame[name] = sorted((heavy & set(sys.modules)) - seen)
    seen |= set(blame[name])
print(json.dumps([codes, {name: loaded for name, loaded in blame.items() if loaded}]))
"""

LIGHT = (
    "dp3d_data.errors dp3d_data.config pipelines.cli.commandline dp3d_data.categories pipelines.cli.data"
    " pipelines.cli.model".split()
)


def python(code: str, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_help_of_every_command_is_light():
    codes, blame = json.loads(python(PROBE, *HEAVY))
    assert set(codes.values()) == {0}, codes
    assert not blame, blame


@pytest.mark.parametrize("module", LIGHT)
def test_module_is_light(module):
    code = f"import sys, {module}; print(*sorted(set(sys.argv[1:]) & set(sys.modules)))"
    assert python(code, *HEAVY).split() == []
