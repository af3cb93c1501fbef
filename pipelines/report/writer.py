"""Gathers what there is to report, plots the distributions, and writes the page and the dataset card."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from dp3d_data.errors import NothingToDo
from dp3d_data.files import write_whole
from dp3d_data.geometry.template import Template
from dp3d_data.shards.files import MANIFEST, REJECTS, read_manifest, read_table
from dp3d_data.shards.reader import ShardReader
from dp3d_data.shards.runs import TEMPLATE, Run
from dp3d_data.shards.schema import INSTANCE_COLUMNS
from pipelines.report import page, sections
from pipelines.report.page import SCRIPT, asset, number
from pipelines.report.sections import Facts, all_facts

SERIES = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#0891b2")
BINS, WEDGES = 24, 24
Series = Mapping[str, Float[np.ndarray, "N"]]


# Column of the facts: title, and the ends of the axis, None for the largest value.
MEASURES = {
    "visible_area": ("Visible share of the template's area", 0.0, 1.0),
    "visible_vertices": ("Visible vertices", 0.0, None),
    "score": ("Score of the detection", 0.0, 1.0),
    "spread": ("Mean spread of a vertex's pixels, share of the box", 0.0, None),
    "azimuth": ("Azimuth of the viewer about the template's z axis, degrees, 0 along x", -180.0, 180.0),
    "elevation": ("Elevation of the viewer, degrees", -90.0, 90.0),
    "residual": ("What the rigid template leaves of the keypoints, share of its extent", 0.0, None),
}
_WORDS = Markup(
    "<p>Shares of each series; the triangles are medians. The viewer is that of the closed-form camera: the affine map "
    "that fits the visible template vertices to their keypoints best, and the orthonormal rows nearest to it.</p>"
)
_WEDGES = "the area of a wedge is its share"


def distributions(facts: Sequence[Facts]) -> Markup:
    """Plots of the runs, and folded those of the splits; the splits alone where there is no run; nothing of nothing."""
    runs, splits = [one for one in facts if one.is_run], [one for one in facts if not one.is_run]
    if not runs or not splits:
        return _WORDS + _plots(facts) if facts else Markup("")
    return _WORDS + _plots(runs) + page.folded("The same by split of the shards", _plots(splits))


def _plots(facts: Sequence[Facts]) -> Markup:
    """A plot for each measure, with one series for each run or split: those of its values that are numbers."""
    found = []
    for column, (title, low, high) in MEASURES.items():
        series = {one.name: one[column][np.isfinite(one[column])] for one in facts}
        if any(map(len, series.values())):
            medians = (f"{name} {page.number(float(np.median(v)))}" for name, v in series.items() if len(v))
            figure = rose(series) if column == "azimuth" else histogram(series, low, high)
            found.append(page.plot(figure, title, _WEDGES if column == "azimuth" else f"median: {' · '.join(medians)}"))
    colours = dict(zip([one.name for one in facts], itertools.cycle(SERIES), strict=False))
    return page.legend(colours) + page.grid(found)


def histogram(series: Series, low: float, high: float | None = None) -> Figure:
    """Histograms over one another: shares of each series in percent, with a triangle at each median.

    Args:
        series: name -> finite values; those beyond the axis count in its first or last bin.
        low, high: ends of the axis; by default the largest value is the end.
    """
    if high is None:
        high = max(float(values.max(initial=low)) for values in series.values())
    edges = np.linspace(low, max(high, low + 1e-9), BINS + 1)
    figure = Figure(figsize=(3.4, 1.9), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(series.items(), itertools.cycle(SERIES), strict=False):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        if len(values):
            axes.stairs(100 * counts / len(values), edges, label=name, **_look(colour))
            above = axes.get_xaxis_transform()
            axes.plot(np.median(values), 1.03, "v", color=colour, markersize=5, transform=above, clip_on=False)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    axes.locator_params(nbins=5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter("{x:g} %")
    _grey(axes)
    return figure


def rose(series: Series) -> Figure:
    """Directions around a circle, 0 up and 90 to the left: the area of a wedge is its share, wedge 0 is centred on 0.

    Args:
        series: name -> azimuths, degrees.
    """
    figure = Figure(figsize=(3.4, 2.7), layout="constrained")
    axes = figure.subplots(subplot_kw={"projection": "polar", "theta_offset": np.pi / 2})
    width, angles = 2 * np.pi / WEDGES, 2 * np.pi * np.arange(WEDGES) / WEDGES
    for (name, values), colour in zip(series.items(), itertools.cycle(SERIES), strict=False):
        wedges = np.floor(values * WEDGES / 360 + 0.5).astype(np.int64) % WEDGES
        shares = np.bincount(wedges, minlength=WEDGES) / max(len(values), 1)
        axes.bar(angles, np.sqrt(shares), width, label=name, **_look(colour))
    axes.set_xticks(np.deg2rad([0, 90, 180, 270]), ["0° front", "90° left", "180° back", "-90° right"])
    axes.set_yticks([])
    _grey(axes)
    axes.tick_params(axis="x", pad=8)
    return figure


def _look(colour: str) -> dict[str, Any]:
    return {"facecolor": to_rgba(colour, 0.16), "edgecolor": colour, "linewidth": 1.0, "fill": True}


def _grey(axes: Axes) -> None:
    """Grey lines and numbers."""
    axes.spines[:].set_color("#cbd5e1")
    axes.tick_params(colors="#64748b", width=0.6, labelsize=8)
    axes.grid(True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)


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
        "data_files": "\n".join(f"  - split: {names[name]}\n    path: {_word(name + '-*.parquet')}" for name in splits),
        "split_rows": "\n".join(
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
        "splits": "\n".join(_split(manifest, name) for name in splits),
        "apart": groups if together else "No image lies in two splits; groups may.",
        "first": _plain(next(iter(splits))).replace('"', " "),
        "columns": "\n".join(f"| `{c.name}` | {c.text} | {c.unit} |" for c in INSTANCE_COLUMNS),
        "statistics": "\n".join(_statistics(manifest)),
        "schema_version": manifest["schema_version"],
        "recipe": _plain(manifest["recipe"]),
        "runs": "\n".join(map(_run, manifest["inputs"])),
    }
    return asset("card.md").format_map(told)


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
    names, counts = ("inputs", "instances", "rejects", "failures"), run.get("counts", {})
    cells = " | ".join(f"{counts.get(name, 0):,}" for name in names)
    return f"| {_plain(run['kind'])} | `{_plain(run['recipe'])}` | {cells} |"


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
    fingerprints = [f"{run.kind} {run.marker['recipe']}" for run in opened]
    fingerprints += [f"shards {manifest['recipe']}"] if manifest else []
    title = f"{category.capitalize()}: keypoints and shapes"
    shown = [(name, Markup(inner)) for name, inner in parts.items() if inner]
    words, footer = " · ".join([known, *models]), f"Fingerprints: {' · '.join(fingerprints)}"
    text = page.page(title, words, shown, footer, SCRIPT if template else "")
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
