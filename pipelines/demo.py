"""The whole product on the embedded default, command by command: photographs to lifted dogs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click

from dp3d_data.config import workspace
from pipelines.cli.commandline import command, say


def steps(short: bool, place: Path) -> list[str]:
    """The commands of the demo, as a user would type them; the short form makes and trains less."""
    instances, training = (300, 40) if short else (1500, 300)
    extracted, own = (shlex.quote(str(place / name)) for name in ("extract", "own-predictions"))
    return [
        "dp3d-data doctor",
        "dp3d-model predict --category dog",
        "dp3d-data extract --category dog",
        f"dp3d-data synth --category dog --count {instances} --no-images",
        "dp3d-data build-shards --category dog",
        f"dp3d-model train --category dog --init embedded --preset photographs --steps {training}",
        "dp3d-model evaluate --category dog",
        f"dp3d-model predict --category dog --shards {extracted} --out {own}",
        "dp3d-data report --category dog",
    ]


def run_step(line: str) -> None:
    """Run one command in this interpreter's environment; the demo ends where a command fails."""
    program, *arguments = shlex.split(line)
    module = {"dp3d-data": "pipelines.cli.data", "dp3d-model": "pipelines.cli.model"}[program]
    click.secho(f"\n$ {line}", bold=True)
    began = time.perf_counter()
    code = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if code:
        say(f"the demo stopped: `{line}` ended with exit code {code}", err=True)
        sys.exit(code)
    say(f"  ({time.perf_counter() - began:.0f} s)")


@command("demo", example="python -m pipelines.demo --short")
@click.option("--short", is_flag=True, help="Make and train less; for a quick check that everything works.")
def demo(short: bool) -> None:
    """Lift the sample photographs; then extract, build shards, train and evaluate on the embedded default; say where to
    look."""
    os.environ.setdefault("DP3D_WORKSPACE", str(Path("dp3d-out").resolve()))
    began = time.perf_counter()
    place = workspace("dog")
    for line in steps(short, place):
        run_step(line)
    click.secho(f"\ndemo done in {(time.perf_counter() - began) / 60:.1f} minutes", bold=True)
    lifted = place / "predictions"
    say(f"look at: {lifted / 'lifted.png'}, {lifted / 'view.html'} and {place / 'report.html'}")


if __name__ == "__main__":
    demo()
