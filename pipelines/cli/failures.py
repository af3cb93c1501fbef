"""dp3d-data failures: the images that a run could not process, and why."""

from __future__ import annotations

from collections import Counter

import click

from pipelines.cli.commandline import command, say


@command("failures", example="dp3d-data failures dp3d-out/dog/extract")
@click.argument("folder", required=False)
@click.option("--category", default="dog", help="Look into this category's last extraction, where no folder is given.")
@click.option("--rejects", is_flag=True, help="Show what was left out on purpose too, with the reason.")
@click.option("--limit", default=50, type=click.IntRange(min=0), help="Rows shown of each table; 0 for all.")
def failures(folder: str | None, category: str, rejects: bool, limit: int) -> None:
    """Print the failures table of a finished run: image, step, error.

    FOLDER is the --out of extract; the tables themselves are failures.parquet and rejects.parquet in it.
    """
    from dp3d_data.config import workspace
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
