"""Gathers what there is to report and writes the page and the dataset card."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dp3d_data.errors import NothingToDo
from dp3d_data.files import write_whole
from dp3d_data.geometry.template import Template
from dp3d_data.shards.files import MANIFEST, REJECTS, read_manifest, read_table
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.runs import TEMPLATE, Run
from dp3d_data.shards.schema import INSTANCE_COLUMNS
from pipelines.report import page, sections
from pipelines.report.page import asset, number
from pipelines.report.plots import distributions
from pipelines.report.sections import Facts, all_facts
from pipelines.report.viewer import SCRIPT

CARD = "README.md"
# Names of the hub for a number of rows below each power of ten.
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
_HUB_NAMES = {"val": "validation"}
_SHOWN = ("score", "visible_area", "spread", "pixel_counts", "keypoints_x", "keypoints_y", "true_scale")


def write_card(folder: Path, manifest: Mapping[str, Any], title: str, licence: str) -> Path:
    """Write the card beside the shards."""
    text = card(manifest, title, licence).encode("utf-8", "replace")
    return write_whole(folder / CARD, lambda stream: stream.write(text))


def card(manifest: Mapping[str, Any], title: str, licence: str) -> str:
    """The card's text: `card.md` filled; a function of the manifest alone."""
    template, tally, splits = manifest["template"], manifest["account"], manifest["splits"]
    unit, together = template["unit"], manifest["settings"].get("together", "group") == "group"
    total = sum(split["instances"] for split in splits.values())
    names = {name: _word(_HUB_NAMES.get(name, name)) for name in splits}
    groups = "No group (video, breed, subject) and no image lies in two splits."
    reasons = ", ".join(f"{_plain(reason)} {count:,}" for reason, count in tally["rejected"].items())
    told = {
        "pretty_name": _quoted(title),
        "license": _quoted(licence),
        "category": _quoted(manifest["category"]),
        "size": _SIZES[min(max(len(str(total)) - 3, 0), len(_SIZES) - 1)],
        "data_files": _lines(f"  - split: {names[name]}\n    path: {_word(name + '-*.parquet')}" for name in splits),
        "split_rows": _lines(
            f"  - name: {names[name]}\n    num_examples: {splits[name]['instances']}" for name in splits
        ),
        "title": _plain(title),
        "template": _plain(template["name"]),
        "vertices": f"{template['num_vertices']:,}",
        "hash": _plain(template["hash"]),
        "unit": "" if unit == "unknown" else f" One template unit is {template['factor']:.4g} {_plain(unit)}.",
        "inputs": f"{tally['inputs']:,}",
        "kept": f"{tally['kept']:,}",
        "reasons": reasons or "none",
        "splits": _lines(_split(manifest, name) for name in splits),
        "apart": groups if together else "No image lies in two splits; groups may.",
        "first": _plain(next(iter(splits))).replace('"', " "),
        "columns": _lines(f"| `{c.name}` | {c.text} | {c.unit} |" for c in INSTANCE_COLUMNS),
        "statistics": _lines(_statistics(manifest)),
        "schema_version": manifest["schema_version"],
        "recipe": _plain(manifest["recipe"]),
        "runs": _lines(map(_run, manifest["inputs"])),
    }
    return asset("card.md").format_map(told)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A YAML string in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _word(text: str) -> str:
    """A name in YAML: in quotes where it is more than a word."""
    return text if re.fullmatch(r"[A-Za-z][\w-]*", text) else _quoted(text)


def _plain(text: object) -> str:
    """A name in Markdown: nothing in it is a tag, a cell, code or a line."""
    return re.sub(r"[<>&|`\\\s]+", " ", str(text))


def _split(manifest: Mapping[str, Any], name: str) -> str:
    split, size = manifest["splits"][name], sum(e["bytes"] for e in manifest["shards"] if e["split"] == name)
    return (
        f"| {_plain(name)} | {split['instances']:,} | {split['groups']:,} | {split['shards']:,} | {size / 1e6:,.1f} |"
    )


def _statistics(manifest: Mapping[str, Any]) -> Iterable[str]:
    found = {name: manifest["statistics"].get(name, {}) for name in _SHOWN}
    for name, row in found.items():
        if "mean" in row:
            yield f"| `{name}` | " + " | ".join(number(row[key]) for key in ("min", "mean", "max", "std")) + " |"


def _run(run: Mapping[str, Any]) -> str:
    counts = " | ".join(
        f"{run.get('counts', {}).get(name, 0):,}" for name in ("inputs", "instances", "rejects", "failures")
    )
    return f"| {_plain(run['kind'])} | `{_plain(run['recipe'])}` | {counts} |"


def write_report(
    out: Path,
    category: str,
    runs: Sequence[Path],
    shards: Path | None = None,
    extras: Sequence[Path] = (),
    pictures: int = 24,
) -> Path:
    """Write the page.

    Args:
        category: named in the title.
        runs: folders of extract and synth.
        shards: folder of build-shards; used where it holds a manifest.
        extras: folders whose pictures, Markdown and JSON are shown as they are.
        pictures: most pictures of each section; half of it of each folder of extras, whose pictures are large.

    Raises:
        NothingToDo: no run, no shards, nothing else to show.
        InputMissing, ShardError: a run or shard is unfinished or damaged.
    """
    opened = [Run.open(folder) for folder in runs]
    manifest = read_manifest(shards) if shards and (shards / MANIFEST).is_file() else None
    _check_files(opened, shards if manifest is not None else None)
    learned = sections.extras(extras, (pictures + 1) // 2)
    if not opened and manifest is None and not learned:
        raise NothingToDo("nothing to report", hint=f"dp3d-data extract --category {category}")
    template = _template(opened, shards)
    facts = all_facts(opened, shards, manifest, template)
    parts = {
        "Overview": sections.overview(opened, manifest),
        "Template": "" if template is None else sections.template_view(template, facts),
        "Distributions": distributions([one for one in facts if len(one)]),
        **({} if template is None else _instances(facts, template, pictures, None if manifest is None else shards)),
        "Photographs": sections.overlays(opened, pictures),
        "Learned model": learned,
        "Failures": sections.problems(opened) if opened else "",
        "Origin": "" if manifest is None else sections.origin(manifest),
    }
    models = sorted({f"model {run.marker['config']['model']}" for run in opened if run.marker["config"].get("model")})
    known = "no template" if template is None else f"template {template.name}, {template.num_vertices:,} vertices"
    recipes = [f"{run.kind} {run.marker['recipe']}" for run in opened] + (
        [f"shards {manifest['recipe']}"] if manifest else []
    )
    title = f"{category.capitalize()}: keypoints and shapes"
    shown = [(name, Markup(inner)) for name, inner in parts.items() if inner]
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


def _instances(facts: Sequence[Facts], template: Template, pictures: int, shards: Path | None) -> dict[str, Markup]:
    """Pictures of each run, or of each split where only shards are there."""
    few = max(pictures // 4, 1)
    some = [one for one in facts if len(one) and len(one.seen)]
    some = [one for one in some if one.is_run] or some
    parts = {}
    for section, draw, limit in (("Instances", sections.contact_sheet, pictures), ("Worst", sections.worst, few)):
        parts[section] = page.joined(page.titled(one.name.capitalize(), draw(one, template, limit)) for one in some)
    if shards is not None and (shards / REJECTS).is_file():
        runs = [one for one in facts if one.is_run]
        parts["Left out"] = sections.left_out(runs, read_table(shards / REJECTS), template, few)
    return parts
