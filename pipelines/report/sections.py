"""The sections of a report, and the facts that they show."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from markupsafe import Markup
from PIL import Image, ImageDraw

from dp3d_data.datasets.images import local_pixels
from dp3d_data.errors import InputCorrupt, InputMissing
from dp3d_data.files import read_text
from dp3d_data.geometry.renderer import colour_by_vertex
from dp3d_data.geometry.template import Template
from dp3d_data.shards.files import read_table
from dp3d_data.shards.index import COLUMNS, measure
from dp3d_data.shards.runs import Run
from dp3d_data.shards.table import KEYPOINT_COLUMNS, InstanceTable, list_values
from dp3d_model.export.gallery import square_in
from pipelines.overlays import draw_circle
from pipelines.report import page
from pipelines.report.page import Body, Layer, joined, viewer

NAMES = {"extract": "photographs", "synth": "synthetic", "project": "model fits"}
SHOWN = ["instance_id", "image_path", "box_x0", "box_y0", "box_x1", "box_y1", "score", *KEYPOINT_COLUMNS]
_READ = list(dict.fromkeys([*COLUMNS, "instance_id", "image_path", *KEYPOINT_COLUMNS]))
_CHUNK, _LEAST_VERTICES = 2048, 4


@dataclass(frozen=True)
class Facts:
    """N instances under one name, a run or a split, and what is measured of them.

    Attributes:
        name: as the page shows it.
        is_run: a run; else a split of shards.
        files: the instance tables.
        ids: N names.
        columns: [N] each. pictured: whether an image path is known. score, visible_vertices, visible_area, spread: see
            `Measures`. azimuth, elevation: degrees, where the closed-form camera stands; residual: what the rigid
            template leaves of the keypoints, template units; NaN where no camera can be fitted.
        seen: [K] number of instances in which each vertex is visible; empty where the ids are of another template.
    """

    name: str
    is_run: bool
    files: Sequence[Path]
    ids: list[str]
    columns: Mapping[str, np.ndarray]
    seen: Int[np.ndarray, "K"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    def rows(self, wanted: Sequence[int]) -> list[dict[str, Any]]:
        """Some instances as plain rows, in the order asked for; only the files that hold them are read."""
        found: dict[int, dict[str, Any]] = {}
        start = 0
        for path in self.files:
            count = pq.read_metadata(path).num_rows
            inside = [index for index in wanted if start <= index < start + count]
            if inside:
                rows = read_table(path, SHOWN).take(pa.array([index - start for index in inside]))
                found |= dict(zip(inside, rows.to_pylist(), strict=True))
            start += count
        return [found[index] for index in wanted]


def all_facts(
    runs: Sequence[Run], shards: Path | None, manifest: Mapping[str, Any] | None, template: Template | None
) -> list[Facts]:
    """The facts of each run, then of each split of the shards.

    Raises:
        InputMissing, ShardError: a file is gone or damaged; names it.
    """
    found, known = [], {} if template is None else {template.content_hash: template}
    for run in runs:
        own = known.get((run.marker["template"] or {}).get("hash", ""))
        found.append(_facts(_name(run), True, run.instance_files, run.instances(_READ), own))
    if shards is not None and manifest is not None:
        for split in sorted({entry["split"] for entry in manifest["shards"]}):
            files = [shards / entry["name"] for entry in manifest["shards"] if entry["split"] == split]
            tables = (read_table(path, _READ) for path in files)
            found.append(_facts(f"{split} split", False, files, tables, known.get(manifest["template"]["hash"])))
    return found


def _facts(
    name: str, is_run: bool, files: Sequence[Path], tables: Iterator[pa.Table], template: Template | None
) -> Facts:
    """Measure all instances; cameras and visibility only where the ids are the template's."""
    ids: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    seen = np.zeros(template.num_vertices if template else 0, dtype=np.int64)
    for table in tables:
        ids += table.column("instance_id").to_pylist()
        parts.append(measured(table, template))
        if template:
            seen += np.bincount(list_values(table.column("vertex_ids"))[1], minlength=len(seen))[: len(seen)]
    columns = {column: np.concatenate([part[column] for part in parts]) for column in (parts[0] if parts else ())}
    return Facts(name, is_run, files, ids, columns, seen)


def measured(table: pa.Table, template: Template | None) -> dict[str, np.ndarray]:
    """What is measured of each instance of a table; the closed-form cameras a few thousand at a time."""
    measures = measure(table.select(COLUMNS))
    found = {name: measures[name] for name in ("score", "visible_vertices", "visible_area", "spread")}
    found["pictured"] = table.column("image_path").is_valid().to_numpy()
    found |= {name: np.full(table.num_rows, np.nan) for name in ("azimuth", "elevation", "residual")}
    if template is None:
        return found
    for start in range(0, table.num_rows, _CHUNK):
        keypoints, visible, _ = InstanceTable.of(table.slice(start, _CHUNK), template.num_vertices).dense()
        enough = np.flatnonzero(visible.sum(axis=1) >= _LEAST_VERTICES)
        if len(enough):
            for name, values in _cameras(template, keypoints[enough], visible[enough]).items():
                found[name][start + enough] = values
    return found


def _cameras(template: Template, keypoints: np.ndarray, visible: np.ndarray) -> dict[str, Float[np.ndarray, "N"]]:
    import torch

    from dp3d_data.geometry.rigid_camera import fit_camera, fit_residual, view_angles

    observed = [torch.from_numpy(values) for values in (template.vertices, keypoints, visible)]
    camera = fit_camera(*observed)
    azimuth, elevation = view_angles(camera.rotation)
    residual = fit_residual(camera, *observed)
    return {"azimuth": azimuth.numpy(), "elevation": elevation.numpy(), "residual": residual.numpy()}


KEPT, FAILED = "#059669", "#dc2626"
_SPLITS = (KEPT, "#34d399", "#6ee7b7")
# Reasons for leaving an instance out, in the order of their colours.
_SHADES = ("#d97706", "#f59e0b", "#b45309", "#fbbf24", "#92400e", "#fcd34d", "#78350f", "#fde68a")
_GROUND = (241, 245, 249)
# Column of the facts, whether large is bad, title, words.
WORST = (
    ("residual", True, "Farthest from the template under any camera", "rigid fit leaves {} of the extent"),
    ("spread", True, "Largest spread of a vertex's pixels", "spread {} of the box"),
    ("visible_area", False, "Least of the surface visible", "visible area {}"),
    ("score", False, "Lowest score", "score {}"),
)
TITLES = {"model": "Parts", "predictions": "Lifted instances", "evaluation": "Evaluation"}
FIRST = 100  # failures and rejects that are listed of each run
MOST_SHOWN = 50_000  # bytes of a JSON file that is shown
_PICTURES = (".png", ".jpg", ".jpeg", ".gif")
SHEETS = ("sheet", "lifted")  # pictures that lie beside them one by one
KEY = "Colours of the vertices"
_ELSEWHERE = Markup('<p class="none">their keypoints are not among the folders shown here</p>')


def overview(runs: Sequence[Run], manifest: Mapping[str, Any] | None) -> Markup:
    """What came out, and what became of every instance on the way."""
    numbers = {name: sum(run.counts[name] for run in runs) for name in ("inputs", "instances", "rejects", "failures")}
    bars = []
    for run in runs:
        counts, unit = run.counts, "images" if run.kind == "extract" else "samples"
        bar = {"instances": (counts["instances"], KEPT)} | _shaded(Counter(run.rejects()["reason"].to_pylist()))
        title = f"{_name(run).capitalize()}: {counts['inputs']:,} {unit}"
        bars.append(page.titled(title, page.flow(bar | {"failed": (counts["failures"], FAILED)})))
    if manifest is not None:
        tally, splits, colours = manifest["account"], manifest["splits"], itertools.cycle(_SPLITS)
        kept = {f"in {name}": split["instances"] for name, split in splits.items()}
        groups = sum(split["groups"] for split in splits.values())
        numbers = {"instances": tally["inputs"], "left out": sum(tally["rejected"].values()), **kept, "groups": groups}
        bar = {name: (count, next(colours)) for name, count in kept.items()} | _shaded(tally["rejected"])
        bars.append(page.titled(f"Shards: {tally['inputs']:,} instances", page.flow(bar)))
    return joined([page.cards(numbers), *bars], "\n") if bars else Markup("")


def _name(run: Run) -> str:
    return NAMES.get(run.kind, run.kind)


def _shaded(reasons: Mapping[str, int]) -> dict[str, tuple[int, str]]:
    """The most frequent reason first, then by name, each with a colour."""
    ranked = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return {name: (count, colour) for (name, count), colour in zip(ranked, itertools.cycle(_SHADES), strict=False)}


def template_view(template: Template, facts: Sequence[Facts]) -> Markup:
    """The key to the colours of all keypoints, and how often each vertex is visible."""
    layers = [Layer(KEY, "Each vertex has one colour, wherever its keypoints appear on this page.")]
    arrays = {KEY: colour_by_vertex(template)}
    for one in facts:
        if len(one.seen) and len(one):
            title, words = f"Visible: {one.name}", f"Share of {one.name} in which each vertex is visible."
            arrays[title] = one.seen / len(one)
            layers.append(Layer(title, words, max(float(arrays[title].max()), 1e-9), 100.0, f"% of {one.name}"))
    return viewer(template.faces, layers, [Body(template.vertices, template.name, arrays)])


def left_out(facts: Sequence[Facts], rejects: pa.Table, template: Template, limit: int) -> Markup:
    """What build-shards left out, reason by reason, drawn from the runs that have it."""
    reasons: dict[str, dict[str, str]] = {}
    for row in rejects.to_pylist():
        reasons.setdefault(row["reason"], {})[row["instance_id"]] = f"{row['reason']} {_value(row)}".strip()
    parts = []
    for reason, words in sorted(reasons.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        figures: list[Markup] = []
        for one in facts:
            chosen = [index for index, name in enumerate(one.ids) if name in words][: limit - len(figures)]
            figures += _figures(one, {index: words[one.ids[index]] for index in chosen}, template)
        parts.append(page.titled(f"{reason.capitalize()}: {len(words):,}", page.grid(figures, 150) or _ELSEWHERE))
    return joined(parts, "\n")


def contact_sheet(facts: Facts, template: Template, limit: int) -> Markup:
    """Instances evenly over the range of scores, best first; those with an image before the others."""
    order = np.lexsort((np.arange(len(facts)), -facts["score"], ~facts["pictured"]))
    order = order[: int(facts["pictured"].sum()) or None]
    places = np.linspace(0, max(len(order) - 1, 0), min(limit, len(order))).round().astype(int)
    chosen = [int(order[place]) for place in dict.fromkeys(places.tolist())]
    words = {i: f"score {facts['score'][i]:.2f} · {facts['visible_vertices'][i]:,} vertices" for i in chosen}
    return page.grid(_figures(facts, words, template), 150)


def worst(facts: Facts, template: Template, limit: int) -> Markup:
    """The worst instances by each measure that tells them apart."""
    parts = []
    for column, large, title, text in WORST:
        values = facts[column]
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite) and np.ptp(values[finite]) > 0:
            order = finite[np.argsort(-values[finite] if large else values[finite], kind="stable")][:limit]
            words = {int(i): text.format(page.number(float(values[i]))) for i in order}
            parts.append(page.titled(title, page.grid(_figures(facts, words, template), 150), level=4))
    return joined(parts, "\n")


def _value(reject: Mapping[str, Any]) -> str:
    return "" if reject["value"] is None else page.number(reject["value"])


def _figures(facts: Facts, words: Mapping[int, str], template: Template) -> list[Markup]:
    """The crops of some instances, each with its name and words."""
    colours, figures = colour_by_vertex(template), []
    for row, text in zip(facts.rows(list(words)), words.values(), strict=True):
        crop = instance_crop(local_pixels(row["image_path"]), row, colours)
        figures.append(page.figure(page.jpeg_address(crop), row["instance_id"], text))
    return figures


def instance_crop(
    pixels: np.ndarray | None, row: Mapping[str, Any], colours: np.ndarray, side: int = 300, pale: float = 0.25
) -> Image.Image:
    """A square around the box of an instance, side x side, paled, with keypoints in their vertices' colours.

    Args:
        pixels: [H, W, 3] RGB of the whole image; None: a plain ground.
        row: a row of the instance table.
        colours: [K, 3] RGB of the template's vertices.
        pale: how much of white is mixed in.
    """
    x0, y0, x1, y1 = (float(row[name]) for name in ("box_x0", "box_y0", "box_x1", "box_y1"))
    extent = 1.1 * max(x1 - x0, y1 - y0, 1)
    left, top, scale = (x0 + x1 - extent) / 2, (y0 + y1 - extent) / 2, side / extent
    part = Image.new("RGB", (side, side), _GROUND)
    if pixels is not None:
        part = Image.blend(square_in(pixels, (left, top, extent), side), Image.new("RGB", part.size, "white"), pale)
    draw, radius = ImageDraw.Draw(part), max(side / 200, 1.2)
    for vertex, x, y in zip(row["vertex_ids"], row["keypoints_x"], row["keypoints_y"], strict=True):
        centre = (x - left) * scale, (y - top) * scale
        draw_circle(draw, centre, radius, fill=tuple(colours[vertex].tolist()))
    return part


def overlays(runs: Sequence[Run], limit: int) -> Markup:
    """Whole photographs with their keypoints, as extract has drawn them."""
    figures = []
    for path in [path for run in runs for path in run.overlays][:limit]:
        figures.append(page.figure(page.shown_file(path, 900)[0], "" if path.stem.isdigit() else path.stem))
    return page.grid(figures, 340)


def problems(runs: Sequence[Run]) -> Markup:
    """The first images that failed, with the reason, and the first instances that were rejected."""
    parts = []
    for run in runs:
        failures, rejects = run.failures().to_pylist(), run.rejects().to_pylist()
        if failures:
            columns = ("image_id", "stage", "error", "message")
            table = page.table(columns, ([row[name] for name in columns] for row in failures[:FIRST]))
            parts.append(page.titled(f"Failed {_name(run)}: {len(failures):,}", table))
        if rejects:
            rows = ((row["instance_id"], row["reason"], _value(row)) for row in rejects[:FIRST])
            table = page.table(["instance", "reason", "value"], rows)
            first = f", the first {FIRST} shown" if len(rejects) > FIRST else ""
            parts.append(page.folded(f"Rejected {_name(run)}: {len(rejects):,}{first}", table))
    return joined(parts, "\n") or Markup("<p>Nothing failed, nothing was rejected.</p>")


def origin(manifest: Mapping[str, Any]) -> Markup:
    """What the shards were made of and with, and every file with its hash."""
    template = manifest["template"]
    unit = f"{template['factor']:.4g} {template['unit']}" if template["unit"] != "unknown" else "unknown"
    facts = [
        ("fingerprint", manifest["recipe"]),
        ("schema version", manifest["schema_version"]),
        ("template", f"{template['name']} · {template['num_vertices']:,} vertices · {template['hash']}"),
        ("template unit", unit),
    ]
    settings = page.folded("Settings", page.written(json.dumps(manifest["settings"], indent=2, ensure_ascii=False)))
    entries = [
        [e["name"], f"{e['instances']:,}", f"{e['bytes'] / 1e6:,.1f} MB", e["sha256"][:16]] for e in manifest["shards"]
    ]
    files = page.folded(f"Files: {len(entries)}", page.table(["file", "instances", "size", "SHA-256"], entries))
    return page.table(["", ""], facts) + settings + files


def extras(folders: Sequence[Path], limit: int) -> Markup:
    """Pictures, Markdown and small JSON that other programs left in the folders, folder by folder, as they are."""
    return joined((_extra(folder, limit) for folder in folders if folder.is_dir()), "\n")


def _extra(folder: Path, limit: int) -> Markup:
    texts = [page.markdown(read_text(path, errors="replace")) for path in _files(folder, (".md",))]
    pictures = _files(folder, _PICTURES)
    pictures = [path for path in pictures if path.stem not in SHEETS or len(pictures) == 1][:limit]
    figures: dict[bool, list[Markup]] = {False: [], True: []}
    for path in pictures:
        try:
            address, wide = page.shown_file(path)
        except (InputCorrupt, InputMissing):
            continue
        figures[wide].append(page.figure(address, path.stem.replace("_", " ")))
    grids = [page.grid(some, 1000 if wide else 480) for wide, some in figures.items()]
    small = [path for path in _files(folder, (".json",)) if path.stat().st_size <= MOST_SHOWN]
    data = [path for path in small if not path.with_suffix(".md").exists()]
    folded = [page.folded(path.name, page.written(read_text(path, errors="replace"))) for path in data]
    parts = [part for part in (*texts, *grids, *folded) if part]
    heading = page.titled(TITLES.get(folder.name, folder.name.capitalize()))
    return joined(parts if texts or not parts else [heading, *parts], "\n")


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in suffixes]
