"""dp3d-data report: statistics, overlays and learned shapes of a workspace on one HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dp3d_data.config import rare, setting, workspace
from pipelines.cli.commandline import command, config_options, say

RUNS = ("extract", "synth", "project")
EXTRAS = ("model", "predictions", "evaluation")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What the page shows and where it goes."""

    category: str = setting("dog", "Category whose part of the workspace is shown.", group="Input and output")
    input: tuple[str, ...] = setting(
        (), "Folder of extract or synth; again for more. Default: all in the workspace.", group="Input and output"
    )
    shards: str | None = setting(
        None, "Folder of build-shards. Default: <workspace>/<category>/shards.", group="Input and output"
    )
    extra: tuple[str, ...] = rare(
        (),
        "Folder whose pictures, Markdown and JSON are shown; again for more. Default: model, predictions, evaluation.",
        group="Input and output",
    )
    out: str | None = setting(
        None, "The HTML file. Default: <workspace>/<category>/report.html.", group="Input and output"
    )
    title: str | None = rare(None, "Name of the dataset in its card. Default: from the category.", group="Dataset card")
    licence: str = rare(
        "unknown", "Licence of the dataset in its card, as the Hugging Face hub names it.", group="Dataset card"
    )
    pictures: int = rare(24, "Most pictures of each section; large ones count twice.", minimum=0)


@command("report", writes="file", example="dp3d-data report --category dog")
@config_options(ReportConfig)
def report(config: ReportConfig) -> None:
    """Write one HTML page that needs no network: counts, reasons, distributions, the template to be turned, photographs
    with their keypoints, the worst and the rejected, and what the model has learned.

    Shards get a dataset card beside them: README.md, as the Hugging Face hub reads it.
    """
    from dp3d_data.shards.files import MANIFEST, read_manifest
    from pipelines.report.card import write_card
    from pipelines.report.writer import ReportPlan, write_report

    root = workspace(config.category)
    runs = [Path(name) for name in config.input] or [
        root / name for name in RUNS if (root / name / "run.json").is_file()
    ]
    extras = [Path(name) for name in config.extra] or [root / name for name in EXTRAS]
    shards = Path(config.shards) if config.shards else root / "shards"
    plan = ReportPlan(config.category, runs, shards, extras, config.pictures)
    out = write_report(plan, Path(config.out) if config.out else root / "report.html")
    say(f"report: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    if (shards / MANIFEST).is_file():
        title = config.title or f"{config.category.capitalize()}: keypoints on a template mesh"
        say(f"dataset card: {write_card(shards, read_manifest(shards), title, config.licence)}")
