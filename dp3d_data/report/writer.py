"""Gathers what there is to report and writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dp3d_data.bodies.template import Template
from dp3d_data.errors import NothingToDo
from dp3d_data.report import content, page
from dp3d_data.shards.files import write_whole
from dp3d_data.shards.manifest import MANIFEST, read_manifest
from dp3d_data.shards.runs import TEMPLATE, Run


@dataclass(frozen=True)
class ReportPlan:
    """What goes into a report.

    Attributes:
        category: named in the title.
        runs: folders of extract and synth.
        shards: folder of build-shards; used where it holds a manifest.
        extras: folders whose pictures, Markdown and JSON are shown as they are.
        pictures: most pictures of each section; half of it of each folder of extras, whose pictures are large.
    """

    category: str
    runs: Sequence[Path]
    shards: Path | None = None
    extras: Sequence[Path] = ()
    pictures: int = 24


def write_report(plan: ReportPlan, out: Path) -> Path:
    """Write the page.

    Raises:
        NothingToDo: no run, no shards, nothing else to show.
        InputMissing, ShardError: a run is unfinished or damaged.
    """
    runs = [Run.open(folder) for folder in plan.runs]
    manifest = read_manifest(plan.shards) if plan.shards and (plan.shards / MANIFEST).is_file() else None
    extras = content.extras(plan.extras, (plan.pictures + 1) // 2)
    if not runs and manifest is None and not extras:
        raise NothingToDo("nothing to report", hint=f"dp3d-data extract --category {plan.category}")
    template = _template(runs, plan.shards)
    sections = [("Overview", content.overview(runs, manifest)), *_pictures(runs, template, plan.pictures)]
    if extras:
        sections.append(("Learned model", extras))
    sections += _instances(runs, template, plan.pictures)
    if any(run.counts["instances"] for run in runs):
        sections.append(("Distributions", content.distributions(runs)))
    if template is not None and (painted := content.visibility(_with(runs, template), template)):
        sections.append(("Visibility", painted))
    if runs:
        sections.append(("Failures and rejects", content.problems(runs)))
    recipes = [f"{run.kind} {run.marker['recipe']}" for run in runs] + ([f"shards {manifest['recipe']}"] if manifest else [])
    title, footer = f"{plan.category.capitalize()}: keypoints and shapes", "Recipes: " + " · ".join(recipes)
    text = page.page(title, _subtitle(runs, template), sections, footer)
    return write_whole(out, lambda stream: _put(stream, text))


def _put(stream, text: str) -> None:
    stream.write(text.encode())


def _template(runs: Sequence[Run], shards: Path | None) -> Template | None:
    """The template of the first run that has one, or of the shards."""
    found = [run.folder for run in runs] + ([shards] if shards else [])
    return next((Template.load(folder / TEMPLATE) for folder in found if (folder / TEMPLATE).is_file()), None)


def _with(runs: Sequence[Run], template: Template) -> list[Run]:
    """The runs whose ids are this template's."""
    return [run for run in runs if (run.marker["template"] or {}).get("hash") == template.content_hash]


def _pictures(runs: Sequence[Run], template: Template | None, limit: int) -> list[tuple[str, str]]:
    """The key to the colours, and whole photographs."""
    sections = [("Template", content.template_views(template))] if template is not None else []
    photographs = [run for run in runs if run.overlays]
    return sections + ([("Photographs", content.overlays(photographs, limit))] if photographs else [])


def _instances(runs: Sequence[Run], template: Template | None, limit: int) -> list[tuple[str, str]]:
    """A contact sheet of each run whose images can be read."""
    if template is None:
        return []
    sheets = [(f"Instances: {content.name_of(run)}", content.contact_sheet(run, template, limit)) for run in _with(runs, template)]
    return [(title, sheet) for title, sheet in sheets if sheet]


def _subtitle(runs: Sequence[Run], template: Template | None) -> str:
    models = sorted({str(run.marker["config"].get("model")) for run in runs if run.marker["config"].get("model")})
    parts = [f"template {template.name}, {template.num_vertices:,} vertices" if template else "no template"]
    return " · ".join(parts + [f"model {name}" for name in models])
