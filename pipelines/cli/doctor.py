"""dp3d-data doctor and install-detectron2: what is installed, found and missing, with the command that mends each."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from dp3d_data.errors import DependencyMissing
from pipelines.cli.commandline import command, say

if TYPE_CHECKING:
    from pipelines.doctor import Finding


MARKS = {"ok": "ok     ", "missing": "MISSING", "absent": "absent "}


@command("doctor", example="dp3d-data doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--brief", is_flag=True, help="Print only what is missing, and one line of summary.")
def doctor(as_json: bool, brief: bool) -> None:
    """Say what is installed, what is found, what is missing, and the command that mends each.

    Libraries with compiled parts are loaded and shipped templates and models are read. Exits with code 10 where
    something needed is missing; what is optional never fails.
    """
    from pipelines.doctor import examine

    findings = examine()
    missing = [finding for finding in findings if finding.state == "missing"]
    if as_json:
        say(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        show(missing if brief else findings)
    if missing:
        names = ", ".join(finding.name for finding in missing)
        raise DependencyMissing(
            f"{len(missing)} of {len(findings)} things are missing", got=names, hint=missing[0].hint
        )
    if not as_json:
        say(f"doctor: {len(findings)} things looked at, nothing needed is missing")


def show(findings: list[Finding]) -> None:
    """Print findings under their headings."""
    width = max((len(finding.name) for finding in findings), default=0)
    heading = ""
    for finding in findings:
        if finding.group != heading:
            heading = finding.group
            click.secho(heading, bold=True)
        say(f"  {MARKS[finding.state]} {finding.name:<{width}}  {finding.detail}")
        if finding.hint:
            say(f"          hint: {finding.hint}")


@command("install-detectron2", example="dp3d-data install-detectron2")
def install_detectron2() -> None:
    """Install detectron2's Python code into the Python that runs this command, without a compiler, pinned by hash.

    One that is there is left alone. Needs pip and the package registry.
    """
    from dp3d_data.detection.install_detectron2 import install

    say(f"detectron2 is {install()}")
