"""One version: what the programs print, the citation, the changelog and the tag of a release agree with the package."""

import re
import subprocess

import pytest
from click.testing import CliRunner

from dp3d_data import __version__
from pipelines.cli import data, model
from tests.shared import ROOT


@pytest.mark.parametrize("program", [data.main, model.main])
def test_the_programs_print_the_version(program):
    assert CliRunner().invoke(program, ["--version"], prog_name="dp3d").output == f"dp3d, version {__version__}\n"


def test_citation_and_changelog_name_the_version():
    assert re.search(
        rf"^version: {re.escape(__version__)}$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )
    newest = re.search(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert __version__ == newest[1] or __version__.startswith(f"{newest[1]}.")


def test_a_tagged_commit_has_the_version_of_its_tag():
    found = subprocess.run(["git", "tag", "--points-at", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    tags = [tag for tag in found.stdout.split() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]
    if not tags:
        pytest.skip("this commit carries no tag of a release")
    assert tags == [f"v{__version__}"]
