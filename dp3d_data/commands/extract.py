"""dp3d-data extract: photographs to visible template keypoints."""

from __future__ import annotations

from dataclasses import replace

import click

from dp3d_data.commandline import command, config_options
from pipelines.extract_settings import ExtractConfig

EXAMPLE = """
dp3d-data extract --category dog
dp3d-data extract --category dog --images photos/ --images more/*.png --out dogs/
dp3d-data extract --category dog --images photos/ --boxes boxes.csv
dp3d-data extract --category dog --source coco --path instances_val2017.json --images val2017/
"""


@command("extract", example=EXAMPLE)
@click.argument("more", nargs=-1, metavar="[MORE_IMAGES]...")
@config_options(ExtractConfig)
def extract(config: ExtractConfig, more: tuple[str, ...]) -> None:
    """Find the animals of photographs and the template vertices that each shows.

    Every image is detected, matched pixel by pixel to the template, and averaged per vertex. Without --images the
    embedded samples are used; --source names another kind of input (docs/datasets.md). A run that was stopped goes on
    where it stopped when the same command is given again.
    """
    from pipelines.extract import extract as run
    from pipelines.extract import make_plan

    plan = make_plan(replace(config, images=config.images + more))
    images, workers = len(plan.records), plan.workers
    words = [f"{config.category}: {images} image{'s' * (images != 1)}", f"model {plan.model}"]
    click.echo(" · ".join([*words, f"{workers} worker{'s' * (workers != 1)}", f"recipe {plan.recipe}"]))
    if strangers := plan.inputs.strangers:
        click.echo(f"  {len(strangers)} names in {config.boxes} are none of these images, for example {strangers[0]!r}")
    with _progress(images) as advance:
        outcome = run(plan, advance, click.echo)
    _summary(outcome, config.category)


def _progress(total: int):
    """A bar with count, rate, failures and remaining time; in a file or pipe only its last state."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    @contextmanager
    def bar():
        columns = (TextColumn("extract"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        last = TextColumn("failed {task.fields[failed]}"), TimeElapsedColumn(), TimeRemainingColumn()
        with Progress(*columns, *last, console=Console()) as progress:
            task = progress.add_task("extract", total=total, rate="", failed=0)

            def advance(inputs: int, instances: int, failures: int) -> None:
                row = progress.tasks[0]
                progress.update(task, advance=inputs, failed=row.fields["failed"] + failures)
                rate = row.completed / max(row.elapsed or 0.0, 1e-9)
                progress.update(task, rate=f"{rate:.1f} images/s")

            yield advance

    return bar()


def _summary(outcome, category: str) -> None:
    """What became of every image, where the result lies and what comes next."""
    images, folder = outcome.images, outcome.run.folder
    if not outcome.fresh:
        click.echo("  this run was finished before; nothing to do (--overwrite makes it anew)")
    reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.rejects.items())
    rejected = f"rejected {sum(outcome.rejects.values())}" + (f" ({reasons})" if reasons else "")
    failed = f"failed {images.failed}" + (" (dp3d-data failures)" if images.failed else "")
    click.echo(f"  kept {outcome.instances} instances of {images.kept} images · {rejected} · {failed}")
    without = sum(images.rejected.values())
    click.echo(f"  {images.inputs} images = {images.kept} with instances + {without} without + {images.failed} failed")
    click.echo(f"  written to {folder} · next: dp3d-data build-shards --category {category}")
