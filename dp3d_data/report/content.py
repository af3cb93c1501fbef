"""The sections of the page, each from what lies in a workspace: runs, shards, and the pictures of a trained model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dp3d_data.bodies.colours import colour_by_vertex
from dp3d_data.bodies.template import Template
from dp3d_data.errors import InputCorrupt
from dp3d_data.report import charts, page
from dp3d_data.report.pictures import crops, file_address, is_wide, jpeg_address
from dp3d_data.report.surface import VIEWS, heat, paint
from dp3d_data.shards.index import COLUMNS, measure
from dp3d_data.shards.runs import Run
from dp3d_data.shards.schema import PER_VERTEX

TITLES = {"model": "Parts", "predictions": "Lifted instances", "evaluation": "Evaluation"}
NAMES = {"extract": "photographs", "synth": "synthetic", "project": "model fits"}
SHEET_COLUMNS = ["instance_id", "image_path", "box_x0", "box_y0", "box_x1", "box_y1", "score", *PER_VERTEX[:3]]
_PICTURES = (".png", ".jpg", ".jpeg", ".gif")
_FIRST = ("parts", "turntable", "lift", "predict", "evaluation")
# Sheets of pictures that lie beside them one by one.
SHEETS = ("sheet", "lifted")


def name_of(run: Run) -> str:
    return NAMES.get(run.kind, run.kind)


def overview(runs: Sequence[Run], manifest: Mapping[str, Any] | None) -> str:
    """Counts of each run and of the shards, and the reasons why anything was left out."""
    parts, reasons = [], {}
    for run in runs:
        counts = run.counts
        unit = "images" if run.kind == "extract" else "samples"
        numbers = {unit: counts["inputs"], "instances": counts["instances"], "rejected": counts["rejects"], "failed": counts["failures"]}
        parts.append(f"<h3>{name_of(run).capitalize()}</h3>" + page.cards(numbers))
        reasons[f"Rejected {name_of(run)}, by reason"] = Counter(run.rejects().column("reason").to_pylist())
    if manifest is not None:
        account = manifest["account"]
        numbers = {"instances": account["inputs"], "kept": account["kept"], "left out": sum(account["rejected"].values())}
        sides = {f"in {name}": split["instances"] for name, split in manifest["splits"].items()}
        parts.append("<h3>Shards</h3>" + page.cards(numbers | sides))
        reasons["Left out of the shards, by reason"] = Counter(account["rejected"])
    figures = [page.figure(charts.bars(_ranked(counts)), title) for title, counts in reasons.items() if counts]
    return "\n".join(parts) + (page.grid(figures, 340) if figures else "")


def _ranked(counts: Counter[str]) -> dict[str, int]:
    """The most frequent first, then by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def template_views(template: Template) -> str:
    """The key to the colours of all keypoints on this page."""
    colours = colour_by_vertex(template)
    text = f"{template.name}: {template.num_vertices:,} vertices. Each vertex has one colour, wherever it appears on this page."
    views = (page.figure(jpeg_address(paint(template, colours, view)), title.capitalize()) for title, view in VIEWS.items())
    return f"<p>{text}</p>" + page.grid(views, 380)


def overlays(runs: Sequence[Run], limit: int) -> str:
    """Whole photographs with their keypoints, as extract has drawn them."""
    shown = [path for run in runs for path in run.overlays][:limit]
    return page.grid((page.figure(file_address(path, 900), "" if path.stem.isdigit() else path.stem) for path in shown), 340)


def contact_sheet(run: Run, template: Template, limit: int) -> str:
    """Instances evenly over the range of scores, best first."""
    rows = sample_rows(run, limit)
    figures = []
    for row, image in crops(rows, colour_by_vertex(template)):
        text = f"{row['instance_id']} · score {row['score']:.2f} · {len(row['vertex_ids'])} vertices"
        figures.append(page.figure(jpeg_address(image, 300), text))
    return page.grid(figures, 170) if figures else ""


def sample_rows(run: Run, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` instances that have an image, evenly over the ranking by score."""
    light = list(run.instances(["score", "image_path"]))
    scores = np.concatenate([np.zeros(0), *(table.column("score").to_numpy() for table in light)])
    pictured = [path is not None for table in light for path in table.column("image_path").to_pylist()]
    order = [index for index in np.argsort(-scores, kind="stable") if pictured[index]]
    wanted = [order[round(place)] for place in np.linspace(0, len(order) - 1, min(limit, len(order)))] if order else []
    found: dict[int, dict[str, Any]] = {}
    start = 0
    for table in run.instances(SHEET_COLUMNS):
        for index in (i for i in wanted if start <= i < start + table.num_rows):
            found[index] = table.slice(index - start, 1).to_pylist()[0]
        start += table.num_rows
    return [found[index] for index in dict.fromkeys(wanted)]


def distributions(runs: Sequence[Run]) -> str:
    """Histograms of what the filters look at, one series for each run."""
    measures = {name_of(run): [measure(table.select(COLUMNS)) for table in run.instances(COLUMNS)] for run in runs}
    colours = dict(zip(measures, charts.SERIES, strict=False))
    titles = {
        "score": ("Score of the detection", 0.0, 1.0),
        "visible_vertices": ("Visible vertices", 0.0, None),
        "visible_area": ("Visible share of the template's area", 0.0, 1.0),
        "spread": ("Mean spread of a vertex's pixels, share of the box", 0.0, None),
    }
    figures = []
    for field, (title, low, high) in titles.items():
        series = {name: np.concatenate([np.zeros(0), *(getattr(m, field) for m in parts)]) for name, parts in measures.items()}
        figures.append(page.figure(charts.histogram(series, low=low, high=high), title))
    note = "<p>Shares of each series; the dashed lines are medians.</p>"
    return note + page.legend(colours) + page.grid(figures, 240)


def visibility(runs: Sequence[Run], template: Template) -> str:
    """How often each vertex is visible, painted on the template."""
    figures = []
    for run in runs:
        share = visible_share(run, template.num_vertices)
        if share is not None:
            colours = heat(share / max(share.max(), 1e-9))
            for title, view in VIEWS.items():
                caption = f"{name_of(run).capitalize()}, {title}: 0 (dark) to {100 * share.max():.0f} % of instances (yellow)"
                figures.append(page.figure(jpeg_address(paint(template, colours, view)), caption))
    return page.grid(figures, 380)


def visible_share(run: Run, num_vertices: int) -> np.ndarray | None:
    """Share of instances [K] in which each vertex is visible; None without instances."""
    counts, rows = np.zeros(num_vertices), 0
    for table in run.instances(["vertex_ids"]):
        ids = table.column("vertex_ids").combine_chunks().flatten().to_numpy()
        counts += np.bincount(ids, minlength=num_vertices)[:num_vertices]
        rows += table.num_rows
    return counts / rows if rows else None


def problems(runs: Sequence[Run], limit: int = 100) -> str:
    """Images that failed, with the reason, and instances that were rejected."""
    parts = []
    for run in runs:
        failures, rejects = run.failures().to_pylist(), run.rejects().to_pylist()
        if failures:
            rows = [[row["image_id"], row["stage"], row["error"], row["message"]] for row in failures[:limit]]
            parts.append(f"<h3>Failed {name_of(run)}: {len(failures)}</h3>" + page.table(["image", "stage", "error", "message"], rows))
        if rejects:
            values = ("" if row["value"] is None else charts.number(row["value"]) for row in rejects[:limit])
            rows = [[row["instance_id"], row["reason"], value] for row, value in zip(rejects, values, strict=False)]
            title = f"Rejected {name_of(run)}: {len(rejects)}" + (f", the first {limit} shown" if len(rejects) > limit else "")
            parts.append(page.folded(title, page.table(["instance", "reason", "value"], rows)))
    return "\n".join(parts) or "<p>Nothing failed, nothing was rejected.</p>"


def extras(folders: Sequence[Path], limit: int) -> str:
    """Pictures, tables and measures that other programs left in the folders, folder by folder, as they are."""
    return "\n".join(_extra(folder, limit) for folder in folders if folder.is_dir())


def _extra(folder: Path, limit: int) -> str:
    texts = [page.markdown(path.read_text(encoding="utf-8", errors="replace")) for path in _files(folder, (".md",))]
    pictures = sorted(_files(folder, _PICTURES), key=lambda path: (_rank(path), str(path)))
    pictures = [path for path in pictures if path.stem not in SHEETS or len(pictures) == 1][:limit]
    wide: list[str] = []
    narrow: list[str] = []
    for path in pictures:
        try:
            figure = page.figure(file_address(path), path.stem.replace("_", " "))
        except InputCorrupt:
            continue
        (wide if is_wide(path) else narrow).append(figure)
    grids = [page.grid(figures, cell) for figures, cell in ((narrow, 480), (wide, 1000)) if figures]
    tables = []
    for path in _files(folder, (".json",)):
        if not path.with_suffix(".md").exists() and (rows := _measures(path)):
            tables.append(page.folded(path.name, page.table(["measure", "value"], rows)))
    parts = [*texts, *grids, *tables]
    heading = TITLES.get(folder.name, folder.name.capitalize())
    return "\n".join([*([] if texts else [f"<h3>{heading}</h3>"]), *parts]) if parts else ""


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in suffixes]


def _rank(path: Path) -> int:
    return next((rank for rank, word in enumerate(_FIRST) if word in path.name.lower()), len(_FIRST))


def _measures(path: Path) -> list[tuple[str, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return []
    return list(_leaves(content, ""))[:200]


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Single values inside nested dictionaries, with their path; lists of many values are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, float):
        yield name, charts.number(value)
    elif not isinstance(value, list):
        yield name, str(value)
