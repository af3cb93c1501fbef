"""dp3d-data synth: a synthetic world with its truth."""

from __future__ import annotations

from pipelines.cli.commandline import command, config_options, say
from pipelines.synth_settings import SynthConfig

EXAMPLE = """
dp3d-data synth --category dog --count 1000
dp3d-data synth --category dog --count 20000 --no-images
dp3d-data synth --category dog --template husky.glb --count 200 --vertex-maps --out husky/
"""


@command("synth", example=EXAMPLE)
@config_options(SynthConfig)
def synth(config: SynthConfig) -> None:
    """Render animals of many shapes, coats and poses in many scenes, with keypoints, vertex maps and true 3D vertices.

    The same seed gives the same files, whatever the number of workers. A run that was stopped goes on where it stopped
    when the same command is given again.
    """
    from pipelines.synth import make_plan
    from pipelines.synth import synth as run

    plan = make_plan(config)
    what = "images" if config.images else "views without images"
    words = [f"{config.category}: {config.count} {what}", f"template {plan.template.name}", f"seed {config.seed}"]
    say(" · ".join([*words, f"{plan.workers} worker{'s' * (plan.workers != 1)}", f"recipe {plan.recipe}"]))
    with _progress(config.count) as advance:
        result, fresh = run(plan, advance, say)
    if not fresh:
        say("  this run was finished before; nothing to do (--overwrite makes it anew)")
    say(
        f"  kept {result.counts['instances']} instances of {result.counts['inputs']} · failed"
        f" {result.counts['failures']}"
    )
    say(f"  written to {result.folder} · next: dp3d-data build-shards --category {config.category}")


def _progress(total: int):
    """A bar with count, rate and remaining time; in a file or pipe only its last state."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    @contextmanager
    def bar():
        columns = (TextColumn("synth"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console()) as progress:
            task = progress.add_task("synth", total=total, rate="")

            def advance(inputs: int, instances: int, failures: int) -> None:
                progress.update(task, advance=inputs)
                row = progress.tasks[0]
                progress.update(task, rate=f"{row.completed / max(row.elapsed or 0.0, 1e-9):.1f} instances/s")

            yield advance

    return bar()
