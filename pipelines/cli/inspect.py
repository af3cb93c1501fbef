"""dp3d-data inspect, failures, report and explore: what runs and shards hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click

from dp3d_data.config import rare, setting, workspace
from dp3d_data.errors import UsageError
from pipelines.cli.commandline import command, config_options, runs_in, say, shards_folder
from pipelines.settings import place_of


@command("inspect", example="dp3d-data inspect dp3d-out/dog/shards --row 0")
@click.argument("path", required=False)
@click.option("--category", default="dog", help="Category whose shards are shown where no path is given.")
@click.option("--instance", help="Show the row of this instance id.")
@click.option("--row", type=click.IntRange(min=0), help="Show the row of this number, counted from 0 over all files.")
@click.option("--statistics", is_flag=True, help="Show count, range, mean and deviation of each column.")
def inspect(path: str | None, category: str, instance: str | None, row: int | None, statistics: bool) -> None:
    """Show what PATH holds, a folder of build-shards, extract, synth or project; by default the shards in the
    workspace.

    Without an option: where it comes from, what was kept and left out, its splits, files and template.
    """
    from dp3d_data.shards.inputs import open_input
    from pipelines.inspection import find_row, row_lines, statistics_lines, summary_lines

    folder = shards_folder(path, category)
    if instance is not None and row is not None:
        raise UsageError("two rows at once", got="--instance and --row", expected="one of them")
    found = open_input(folder)
    wanted = instance if row is None else row
    lines = [] if wanted is None else row_lines(find_row(found, wanted))
    lines += statistics_lines(found) if statistics else []
    for line in lines or summary_lines(found):
        say(line)


@command("failures", example="dp3d-data failures dp3d-out/dog/extract")
@click.argument("folder", required=False)
@click.option("--category", default="dog", help="Look into this category's last extraction, where no folder is given.")
@click.option("--rejects", is_flag=True, help="Show what was left out on purpose too, with the reason.")
@click.option("--limit", default=50, type=click.IntRange(min=0), help="Rows shown of each table; 0 for all.")
def failures(folder: str | None, category: str, rejects: bool, limit: int) -> None:
    """Print the failures table of a finished run: image, step, error.

    FOLDER is the --out of extract; the tables themselves are failures.parquet and rejects.parquet in it.
    """
    from dp3d_data.shards import Run

    run = Run.open(folder or workspace(category) / "extract")
    rows = run.failures().to_pylist()
    _table([(row["image_id"], f"{row['stage']}: {row['error']}", row["message"]) for row in rows], "failed", limit)
    if rejects:
        rows = run.rejects().to_pylist()
        values = ["" if row["value"] is None else f"{row['value']:g}" for row in rows]
        entries = [(row["instance_id"], row["reason"], value) for row, value in zip(rows, values, strict=True)]
        _table(entries, "rejected", limit)
    failed, images = run.counts["failures"], len({row["image_id"] for row in run.failures().to_pylist()})
    of = "" if failed == images else f" failures in {images}"
    say(f"{failed}{of or ' failed'} of {run.counts['inputs']} images in {run.folder}")


def _table(entries: list[tuple[str, str, str]], word: str, limit: int) -> None:
    """Entries as name, kind and detail, after a count of each kind."""
    for kind, count in Counter(kind for _, kind, _ in entries).most_common():
        say(f"{count} {word} · {kind}")
    shown = entries[:limit] if limit else entries
    for name, kind, detail in shown:
        say("  " + f"{name} · {kind}".replace("\n", "\\n"))
        for line in detail.splitlines():
            say(f"      {line.strip()}")
    if len(shown) < len(entries):
        say(f"  and {len(entries) - len(shown)} more: --limit 0")


EXTRAS = ("model", "predictions", "evaluation")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What the page shows and where it goes."""

    category: str = setting("dog", "Category whose part of the workspace is shown.", group="Input and output")
    input: tuple[str, ...] = setting(
        (), "Run folder; again for more. None: all in the workspace.", group="Input and output"
    )
    shards: str | None = setting(
        None, "Folder of build-shards. None: shards in the workspace.", group="Input and output"
    )
    extra: tuple[str, ...] = rare(
        (),
        "Folder whose pictures and texts are shown; again for more. None: model, predictions, evaluation.",
        group="Input and output",
    )
    out: str | None = setting(None, "The HTML file. None: report.html in the workspace.", group="Input and output")
    title: str | None = rare(None, "Name of the dataset in its card. None: of the category.", group="Dataset card")
    licence: str = rare("unknown", "Licence in the card, as the Hugging Face hub names it.", group="Dataset card")
    pictures: int = rare(24, "Most pictures of each section; large ones count twice.", minimum=0)


@command("report", writes="file", example="dp3d-data report --category dog")
@config_options(ReportConfig)
def report(config: ReportConfig) -> None:
    """Write one HTML page that needs no network: counts, reasons, distributions, the template to be turned, photographs
    with their keypoints, the worst and the rejected, and what the model has learned.

    Shards get a dataset card beside them: README.md, as the Hugging Face hub reads it.
    """
    from dp3d_data.shards.files import MANIFEST, read_manifest
    from pipelines.report.writer import write_card, write_report

    root = workspace(config.category)
    runs = [Path(name) for name in config.input] or runs_in(root)
    extras = [Path(name) for name in config.extra] or [root / name for name in EXTRAS]
    shards = Path(config.shards) if config.shards else root / "shards"
    out = place_of(config.out, config.category, "report.html")
    write_report(out, config.category, runs, shards, extras, config.pictures)
    say(f"report: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if (shards / MANIFEST).is_file():
        title = config.title or f"{config.category.capitalize()}: keypoints on a template mesh"
        say(f"dataset card: {write_card(shards, read_manifest(shards), title, config.licence)}")


@command(
    "explore", example="dp3d-data explore dp3d-out/dog/shards\ndp3d-data explore dp3d-out/dog/extract --no-browser"
)
@click.argument("shards", required=False)
@click.option("--category", default="dog", help="Category whose shards are shown where no folder is given.")
@click.option("--out", help="Folder of the lists that the page saves. None: lists in the category's workspace.")
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="Port on this machine that the page is served at; 0: any."
)
@click.option("--browser/--no-browser", default=True, help="Open the page in a browser.")
def explore(shards: str | None, category: str, out: str | None, port: int, browser: bool) -> None:
    """Look through SHARDS, a folder of build-shards, extract, synth or project, on a page of this machine.

    Photographs with their keypoints in a grid: filter and sort by any column, see what is like an instance and what is
    nearly the same, choose, and save the choice as a list for build-shards --split-list. Nothing leaves
    this machine; Ctrl-C ends it.
    """
    from pipelines.explore import Catalogue, Explorer
    from pipelines.local_page import local_page, serve

    folder = shards_folder(shards, category)
    catalogue = Catalogue.read(folder)
    say(f"{folder}: {len(catalogue)} instances")
    lists = place_of(out, catalogue.kinds["category"][0].as_py(), "lists")
    explorer = Explorer(catalogue, lists)
    server, address = local_page(explorer.gets, explorer.posts, port)
    say(f"  open {address}\n  lists go to {lists} · Ctrl-C ends this")
    serve(server, address, browser)
