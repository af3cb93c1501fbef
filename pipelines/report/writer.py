"""Gathers what there is to report and writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dp3d_data.errors import NothingToDo
from dp3d_data.files import write_whole
from dp3d_data.geometry.template import Template
from dp3d_data.shards.files import MANIFEST, REJECTS, read_manifest, read_table
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.runs import TEMPLATE, Run
from pipelines.report import content, page
from pipelines.report.distributions import distributions, template_view
from pipelines.report.extras import extras
from pipelines.report.facts import Facts, collections, facts_of
from pipelines.report.markup import joined
from pipelines.report.sheets import contact_sheet, left_out, worst
from pipelines.report.viewer import viewer_script


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
        InputMissing, ShardError: a run or shard is unfinished or damaged.
    """
    runs = [Run.open(folder) for folder in plan.runs]
    manifest = read_manifest(plan.shards) if plan.shards and (plan.shards / MANIFEST).is_file() else None
    _check_files(runs, plan.shards if manifest is not None else None)
    others = extras(plan.extras, (plan.pictures + 1) // 2)
    if not runs and manifest is None and not others:
        raise NothingToDo("nothing to report", hint=f"dp3d-data extract --category {plan.category}")
    template = _template(runs, plan.shards)
    facts = [facts_of(one, template) for one in collections(runs, plan.shards, manifest)]
    sections = [("Overview", content.overview(runs, manifest)), *_surfaces(facts, template)]
    sections += _pictures(plan, facts, template)
    if manifest is not None and template is not None and (plan.shards / REJECTS).is_file():
        sections.append(("Left out", left_out(facts[: len(runs)], read_table(plan.shards / REJECTS), template, max(plan.pictures // 4, 1))))
    if photographs := [run for run in runs if run.overlays]:
        sections.append(("Photographs", content.overlays(photographs, plan.pictures)))
    if others:
        sections.append(("Learned model", others))
    if runs:
        sections.append(("Failures", content.problems(runs)))
    if manifest is not None:
        sections.append(("Origin", content.origin(manifest)))
    sections = [(title, inner) for title, inner in sections if inner]
    title, script = f"{plan.category.capitalize()}: keypoints and shapes", viewer_script() if template is not None else ""
    text = page.page(title, _subtitle(runs, template), sections, _footer(runs, manifest), script)
    return write_whole(out, lambda stream: _put(stream, text))


def _check_files(runs: Sequence[Run], shards: Path | None) -> None:
    """Refuse what is damaged before anything is drawn of it."""
    for run in runs:
        for name in run.marker["files"]:
            run.check(name)
    if shards is not None:
        reader = ShardReader(shards)
        for name in reader.manifest["files"]:
            reader.path(name)


def _put(stream, text: bytes) -> None:
    stream.write(text)


def _template(runs: Sequence[Run], shards: Path | None) -> Template | None:
    """The template of the shards, or of the first run that has one."""
    found = ([shards] if shards else []) + [run.folder for run in runs]
    return next((Template.load(folder / TEMPLATE) for folder in found if (folder / TEMPLATE).is_file()), None)


def _surfaces(facts: Sequence[Facts], template: Template | None) -> list[tuple[str, Markup]]:
    """The template that turns, and the distributions."""
    sections = [("Template", template_view(template, facts))] if template is not None else []
    some = [one for one in facts if len(one)]
    return sections + ([("Distributions", distributions(some))] if some else [])


def _pictures(plan: ReportPlan, facts: Sequence[Facts], template: Template | None) -> list[tuple[str, Markup]]:
    """Contact sheets of each run, or of each split where only shards are there."""
    if template is None:
        return []
    some = [one for one in facts if len(one) and one.collection.template_hash == template.content_hash]
    some = [one for one in some if one.collection.is_run] or some
    sheets = [page.titled(one.name.capitalize(), contact_sheet(one, template, plan.pictures)) for one in some]
    worsts = [page.titled(one.name.capitalize(), worst(one, template, max(plan.pictures // 4, 1))) for one in some]
    return [("Instances", joined(sheets)), ("Worst", joined(worsts))]


def _subtitle(runs: Sequence[Run], template: Template | None) -> str:
    models = sorted({str(run.marker["config"].get("model")) for run in runs if run.marker["config"].get("model")})
    parts = [f"template {template.name}, {template.num_vertices:,} vertices" if template else "no template"]
    return " · ".join(parts + [f"model {name}" for name in models])


def _footer(runs: Sequence[Run], manifest: dict[str, Any] | None) -> str:
    recipes = [f"{run.kind} {run.marker['recipe']}" for run in runs] + ([f"shards {manifest['recipe']}"] if manifest else [])
    return "Recipes: " + " · ".join(recipes)
