"""The doctor: every finding has a state and a mend, and the exit code tells what is needed."""

import json
import re

import pytest
from click.testing import CliRunner

import pipelines.doctor as doctor
from dp3d_data.errors import DependencyMissing
from pipelines.cli.data import main
from pipelines.doctor import Finding


def run(*arguments: str):
    return CliRunner().invoke(main, ["doctor", *arguments])


@pytest.fixture
def findings(monkeypatch):
    """Replace what the doctor finds."""

    def put(*found: Finding) -> None:
        monkeypatch.setattr(doctor, "examine", lambda: list(found))

    return put


@pytest.mark.slow
def test_this_environment_is_complete():
    result = run("--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0, [row for row in found if row["state"] == "missing"]
    assert {"Python", "Libraries", "Loaded", "Shipped", "Machine", "Folders"} <= {row["group"] for row in found}


def test_something_needed_is_missing(findings):
    findings(Finding("Loaded", "embreex", "missing", "No module named 'embreex'", "pip install embreex"))
    result = run()
    assert result.exit_code == 10
    assert re.search(r"MISSING embreex\s+No module named 'embreex'\n\s+hint: pip install embreex", result.output)
    assert "1 of 1 things are missing" in result.stderr


def test_something_optional_is_absent(findings):
    findings(Finding("Optional", "cluster", "absent", "lacks dask-cuda", "pip install -e '.[cluster]'"))
    result = run()
    assert result.exit_code == 0 and "absent  cluster" in result.output


def test_json_carries_the_whole_finding(findings):
    findings(Finding("Loaded", "faiss", "ok", "1.8"))
    assert json.loads(run("--json").stdout) == [
        {"group": "Loaded", "name": "faiss", "state": "ok", "detail": "1.8", "hint": ""}
    ]


@pytest.mark.parametrize(
    ("requirement", "complaint"),
    [("click>=8", ""), ("click>=1000", "needs >=1000"), ("no-such-library>=1", "not installed")],
)
def test_a_requirement_is_checked_against_what_is_installed(requirement, complaint):
    name, _, got = doctor.state_of(requirement)
    assert name == requirement.partition(">")[0] and (complaint in got if complaint else got == "")


def test_a_workspace_that_cannot_be_written(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("DP3D_WORKSPACE", str(blocked / "dp3d"))
    row = next(finding for finding in doctor.folders() if finding.name == "workspace")
    assert row.state == "missing" and "DP3D_WORKSPACE" in row.hint


def test_the_error_names_what_is_missing(findings):
    findings(Finding("Libraries", "roma", "missing", "not installed", "pip install 'roma>=1.5'"))
    with pytest.raises(DependencyMissing, match="1 of 1 things are missing") as caught:
        main.get_command(None, "doctor").callback(as_json=False, brief=True)
    assert caught.value.got == "roma" and caught.value.hint == "pip install 'roma>=1.5'"


def test_mends_fit_a_checkout_and_an_installed_wheel(monkeypatch):
    monkeypatch.setattr(doctor, "declared", list)
    for checkout, words in ((True, "make setup"), (False, "dp3d-data install-detectron2")):
        monkeypatch.setattr(doctor, "CHECKOUT", checkout)
        (found,) = doctor.libraries()
        assert words in found.hint and (checkout or "make" not in found.hint)
        assert ("git checkout" in doctor.shipped_again("geometry")) is checkout
        monkeypatch.setattr(doctor.sys, "version_info", (3, 10))
        assert doctor.python()[0].hint.startswith("make setup" if checkout else "with Python 3.11 or later")
