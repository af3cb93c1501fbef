"""Gathers what there is to report and writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from dp3d_data.errors import NothingToDo
from dp3d_data.files import write_whole
from dp3d_data.geometry.template import Template
from dp3d_data.shards.files import MANIFEST, REJECTS, read_manifest, read_table
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.runs import TEMPLATE, Run
from pipelines.report import page, sections
from pipelines.report.facts import Facts, all_facts
from pipelines.report.plots import distributions
from pipelines.report.viewer import SCRIPT


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
    learned = sections.extras(plan.extras, (plan.pictures + 1) // 2)
    if not runs and manifest is None and not learned:
        raise NothingToDo("nothing to report", hint=f"dp3d-data extract --category {plan.category}")
    template = _template(runs, plan.shards)
    facts = all_facts(runs, plan.shards, manifest, template)
    parts = {
        "Overview": sections.overview(runs, manifest),
        "Template": "" if template is None else sections.template_view(template, facts),
        "Distributions": distributions([one for one in facts if len(one)]),
        **({} if template is None else _instances(plan, facts, template)),
        "Photographs": sections.overlays(runs, plan.pictures),
        "Learned model": learned,
        "Failures": sections.problems(runs) if runs else "",
        "Origin": "" if manifest is None else sections.origin(manifest),
    }
    models = sorted({f"model {run.marker['config']['model']}" for run in runs if run.marker["config"].get("model")})
    known = "no template" if template is None else f"template {template.name}, {template.num_vertices:,} vertices"
    recipes = [f"{run.kind} {run.marker['recipe']}" for run in runs] + (
        [f"shards {manifest['recipe']}"] if manifest else []
    )
    title = f"{plan.category.capitalize()}: keypoints and shapes"
    shown = [(name, inner) for name, inner in parts.items() if inner]
    text = page.page(
        title, " · ".join([known, *models]), shown, f"Recipes: {' · '.join(recipes)}", SCRIPT if template else ""
    )
    return write_whole(out, lambda stream: stream.write(text))


def _check_files(runs: Sequence[Run], shards: Path | None) -> None:
    """Refuse what is damaged before anything is drawn of it."""
    for run in runs:
        for name in run.marker["files"]:
            run.check(name)
    if shards is not None:
        reader = ShardReader(shards)
        for name in reader.manifest["files"]:
            reader.path(name)


def _template(runs: Sequence[Run], shards: Path | None) -> Template | None:
    """The template of the shards, or of the first run that has one."""
    found = ([shards] if shards else []) + [run.folder for run in runs]
    return next((Template.load(folder / TEMPLATE) for folder in found if (folder / TEMPLATE).is_file()), None)


def _instances(plan: ReportPlan, facts: Sequence[Facts], template: Template) -> dict[str, Markup]:
    """Pictures of each run, or of each split where only shards are there."""
    few = max(plan.pictures // 4, 1)
    some = [one for one in facts if len(one) and len(one.seen)]
    some = [one for one in some if one.is_run] or some
    parts = {}
    for section, draw, limit in (("Instances", sections.contact_sheet, plan.pictures), ("Worst", sections.worst, few)):
        parts[section] = page.joined(page.titled(one.name.capitalize(), draw(one, template, limit)) for one in some)
    if plan.shards is not None and (plan.shards / MANIFEST).is_file() and (plan.shards / REJECTS).is_file():
        runs = [one for one in facts if one.is_run]
        parts["Left out"] = sections.left_out(runs, read_table(plan.shards / REJECTS), template, few)
    return parts
