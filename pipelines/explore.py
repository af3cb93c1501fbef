"""All instances of shards or of a run in columns, and the page to look through them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Complex, Float, Int
from markupsafe import Markup

from dp3d_data.datasets.images import local_pixels
from dp3d_data.errors import NothingToDo, UsageError
from dp3d_data.files import write_text
from dp3d_data.filters import FilterConfig, judge
from dp3d_data.geometry.renderer import colour_by_vertex
from dp3d_data.geometry.template import Template
from dp3d_data.shards.index import COLUMNS, measure
from dp3d_data.shards.inputs import SHARDS, Partition, open_input, partitions
from dp3d_data.shards.likeness import distances, near_duplicates, patches_of, shapes_of
from dp3d_data.shards.plan import SPLITS
from dp3d_data.shards.runs import Run
from dp3d_data.shards.schema import COLUMNS as SCHEMA
from dp3d_data.shards.table import KEYPOINT_COLUMNS, list_values
from pipelines.local_page import HTML, Reply
from pipelines.report.page import asset, html, jpeg_bytes, page, safe_json
from pipelines.report.sections import SHOWN, instance_crop, measured

TEXTS = ("instance_id", "image_id", "group", "image_path")
KINDS = ("split", "category", "source", "model", "source_split", "source_dataset", "source_quality", "camera_kind")
STORED = ("score", "visible_area", "visible_area_posed", "mask_area", "image_width", "image_height", "true_scale")
# What is measured of an instance: column -> unit, and what it says.
MADE = {
    "view": ("", "Where the closed-form camera stands: front, left, right, rear, above or below."),
    "left_out": ("", "Why build-shards with its default filters would leave it out, or kept."),
    "visible_vertices": ("", "Number of visible vertices."),
    "confidence": ("0..1", "Mean confidence of its vertices; none where the network does not say."),
    "cycle": ("0..1", "Mean cycle weight of its vertices; none where no embeddings were compared."),
    "spread": ("of the box", "Mean spread of a vertex's pixels, share of the box's longer side."),
    "edges": ("", "Edges of the image that the box touches."),
    "box_side": ("pixels", "Longer side of the box."),
    "azimuth": ("degrees", "Azimuth of the viewer about the template's z axis, 0 along x, 90 along y."),
    "elevation": ("degrees", "Elevation of the viewer."),
    "residual": ("template units", "What the rigid template leaves of the keypoints."),
}
NOTHING, KEPT, STEEP, PALE = "-", "kept", 50.0, 0.15
DOTS = 2  # most of them, for each pixel of a picture's side
_READ = list(dict.fromkeys([*TEXTS, *KINDS, *STORED, *COLUMNS, *KEYPOINT_COLUMNS, "confidence"]))


@dataclass(eq=False)
class Catalogue:
    """N instances, in the order of their files.

    Attributes:
        found: the folder that they lie in.
        texts: names [N] for search; kinds: [N] of few values; numbers: [N], NaN where unknown.
        shapes: [N, P], see `likeness`.
        groups: the row groups, in order, each with its first instance.
    """

    found: Run
    template: Template
    texts: Mapping[str, pa.Array]
    kinds: Mapping[str, pa.Array]
    numbers: Mapping[str, Float[np.ndarray, "N"]]
    shapes: Complex[np.ndarray, "N P"]
    groups: Sequence[Partition]

    def __post_init__(self) -> None:
        self._table = lru_cache(12)(lambda group: next(self.groups[group].tables(SHOWN)))
        self._near = lru_cache(4)(lambda threshold: near_duplicates(self.shapes, threshold))
        self._one_at_a_time, self.colours = Lock(), colour_by_vertex(self.template)

    def __len__(self) -> int:
        return len(self.shapes)

    @staticmethod
    def read(folder: str | Path) -> Catalogue:
        """Read and measure all instances; keypoints are not kept.

        Raises:
            InputMissing, ShardError: no finished run or shards, or a file is gone or damaged; names it.
        """
        found = open_input(folder)
        template, groups = found.template(), partitions([found], partition_bytes=0)
        patches, stored, made, shapes = patches_of(template), [], [], []
        for group in groups:
            group.check_files()
            for table in group.tables(_READ):
                stored.append(table.select([*TEXTS, *KINDS, *STORED, "box_x0", "box_y0", "box_x1", "box_y1"]))
                made.append(_measured(table, template))
                shapes.append(shapes_of(table, patches))
        if not sum(map(len, stored)):
            raise NothingToDo("no instances to look at", path=found.folder)
        table = pa.concat_tables(stored).combine_chunks()
        columns = {name: np.concatenate([one[name] for one in made]) for name in made[0]}
        numbers = {name: _numbers(table.column(name)) for name in STORED} | columns
        x0, y0, x1, y1 = (_numbers(table.column(f"box_{corner}")) for corner in ("x0", "y0", "x1", "y1"))
        numbers["box_side"] = np.maximum(x1 - x0, y1 - y0)
        kinds = {name: table.column(name).combine_chunks().fill_null(NOTHING) for name in KINDS}
        for name in ("view", "left_out"):
            kinds[name] = pa.array(numbers.pop(name).tolist(), pa.string())
        texts = {name: table.column(name).combine_chunks().fill_null("") for name in TEXTS}
        # the columns that say something, those measured first
        order = [*(name for name in MADE if name in numbers), *(name for name in numbers if name not in MADE)]
        known = {name: numbers[name] for name in order if np.isfinite(numbers[name]).any()}
        rows = [group for group in groups if group.rows]
        return Catalogue(found, template, texts, kinds, known, np.concatenate(shapes), rows)

    def near(self, threshold: float) -> tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N"]]:
        """`near_duplicates` of all; remembered."""
        with self._one_at_a_time:
            return self._near(round(threshold, 4))

    def rows(self, query: Mapping[str, Any]) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "N"] | None]:
        """The instances that a query means, in its order, and the distances [N] by which they are alike, if it asks.

        Args:
            query: text: part of a name. kinds: column -> values. numbers: column -> [low, high], None for no end; an
                unknown value is in no range. only: rows. near: threshold; instances with near-duplicates, side by side.
                repeats: without the first of each. like: a row, from which the distance is that of likeness. sort,
                down: column and whether the largest is first.

        Raises:
            KeyError, ValueError, TypeError: no such column or value.
        """
        kept = self._kept(query)
        distance, order = None, np.arange(len(self))
        if query.get("near"):
            if not 0 < float(query["near"]) <= 2:
                raise ValueError("a distance from 0 to 2")
            first, distance = self.near(float(query["near"]))
            home = np.where(first < 0, order, first)
            several = np.bincount(home, minlength=len(self))[home] > 1
            kept &= several & (first >= 0) if query.get("repeats") else several
            order = np.lexsort([order, home])
        elif query.get("like") is not None:
            distance = distances(self.shapes[int(query["like"])], self.shapes)
            order = np.argsort(distance, kind="stable")
        if query.get("sort"):
            order = order[self._order(str(query["sort"]), bool(query.get("down")), order)]
        return order[kept[order]], distance

    def _kept(self, query: Mapping[str, Any]) -> np.ndarray:
        kept = np.ones(len(self), dtype=bool)
        if word := str(query.get("text") or "").strip():
            hits = [pc.match_substring(column, word, ignore_case=True) for column in self.texts.values()]
            kept &= np.any([hit.to_numpy(zero_copy_only=False) for hit in hits], axis=0)
        for name, values in (query.get("kinds") or {}).items():
            known = pc.is_in(self.kinds[name], value_set=pa.array(values, pa.string()))
            kept &= known.to_numpy(zero_copy_only=False)
        for name, (low, high) in (query.get("numbers") or {}).items():
            column = self.numbers[name]
            for end, holds in ((low, np.greater_equal), (high, np.less_equal)):
                if end is not None:
                    kept &= holds(column, float(end))
        if query.get("only") is not None:
            kept &= np.isin(np.arange(len(self)), query["only"])
        return kept

    def _order(self, name: str, down: bool, rows: Int[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
        """Places in `rows` in the order of a column, ties as they are; unknown values last."""
        if name in self.numbers:
            values = self.numbers[name][rows]
            return np.argsort(np.where(np.isnan(values), np.inf, -values if down else values), kind="stable")
        column = {**self.kinds, **self.texts}[name].take(pa.array(rows))
        ranks = pc.rank(column, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
        return np.argsort(-ranks if down else ranks, kind="stable")

    def similar(self, row: int, count: int) -> list[tuple[int, float]]:
        """The instances most like one, with their distances, nearest first, without itself."""
        distance = distances(self.shapes[row], self.shapes)
        distance[row] = np.inf
        nearest = np.argsort(distance, kind="stable")[:count]
        return [(int(other), float(distance[other])) for other in nearest if np.isfinite(distance[other])]

    def stored(self, row: int) -> dict[str, Any]:
        """The row as its file holds it: names, box and keypoints."""
        starts = [group.start for group in self.groups]
        group = int(np.searchsorted(starts, row, side="right")) - 1
        [found] = self._table(group).slice(row - starts[group], 1).to_pylist()
        return found

    def picture(self, row: int, side: int, dots: bool) -> bytes:
        """JPEG of the square around an instance; its keypoints alone where there is no photograph."""
        one = self.stored(row)
        pixels = _photograph(one["image_path"] or "")
        shown = dots or pixels is None
        thin = slice(None, None, -(-len(one["vertex_ids"]) // (side * DOTS)) or 1) if shown else slice(0)
        row_shown = one | {name: one[name][thin] for name in KEYPOINT_COLUMNS}
        return jpeg_bytes(instance_crop(pixels, row_shown, self.colours, side, PALE if shown else 0), side, 84)


@lru_cache(4)
def _photograph(path: str) -> np.ndarray | None:
    """Several instances of a photograph are asked for one after the other."""
    return local_pixels(path)


def _numbers(column: pa.ChunkedArray) -> Float[np.ndarray, "N"]:
    return column.cast(pa.float64()).combine_chunks().fill_null(float("nan")).to_numpy(zero_copy_only=False)


def _measured(table: pa.Table, template: Template) -> dict[str, np.ndarray]:
    """The columns of MADE but the box's side; `facts` and the filters know most of them."""
    measures, facts = measure(table), measured(table, template)
    reasons, _ = judge(FilterConfig(), measures)
    found = {name: np.asarray(facts[name], np.float64) for name in ("azimuth", "elevation", "residual")}
    found |= {name: np.asarray(measures[name], np.float64) for name in ("visible_vertices", "spread", "edges")}
    found["cycle"] = np.where(table.column("cycle").is_valid().to_numpy(), measures["cycle"], np.nan)
    offsets, values = list_values(table.column("confidence"))
    counts = np.diff(offsets)
    total = np.bincount(np.repeat(np.arange(len(counts)), counts), weights=values, minlength=len(counts))
    found["confidence"] = np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    found["view"] = views(found["azimuth"], found["elevation"])
    found["left_out"] = np.array([reason or KEPT for reason in reasons], dtype=object)
    return found


def views(azimuth: Float[np.ndarray, "N"], elevation: Float[np.ndarray, "N"]) -> np.ndarray:
    """Where the viewer stands, in words: within 45 degrees of front, left, right or rear, or steeply above or below."""
    turn = np.abs(azimuth)
    cases = [np.isnan(azimuth), elevation > STEEP, elevation < -STEEP, turn < 45, turn > 135, azimuth > 0]
    return np.select(cases, [NOTHING, "above", "below", "front", "rear", "left"], "right").astype(object)


def unit_and_text(name: str) -> tuple[str, str]:
    """The unit of a column, and what it says."""
    return MADE[name] if name in MADE else (SCHEMA[name].unit, SCHEMA[name].text)


BINS, MOST_KINDS, ALIKE = 24, 40, 12
SIDES = {"small": 176, "large": 720}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,80}")


class Explorer:
    """What the page asks of a catalogue.

    Args:
        lists: folder into which lists are written.
    """

    def __init__(self, catalogue: Catalogue, lists: Path) -> None:
        self.catalogue, self.lists = catalogue, lists
        self.gets = {"": self.page, "picture": self.picture, "one": self.one}
        self.posts = {"rows": self.rows, "save": self.save}

    def page(self, _: Mapping[str, Any]) -> Reply:
        """The whole page; instances come later, a screen at a time."""
        found = self.catalogue.found
        category = self.catalogue.kinds["category"].unique().to_pylist()
        title = f"{', '.join(category[:3])}: {len(self.catalogue):,} instances"
        words = f"{found.folder} · {found.kind} · template {self.catalogue.template.name}"
        body = html(asset("explore.html"), style=Markup(asset("explore.css")), facts=safe_json(self.facts()))
        text = page(title, words, [("Instances", body)], "dp3d", asset("explore.js"), served=True)
        return text, HTML, False

    def facts(self) -> dict[str, Any]:
        """The columns that vary: of few values with counts, of numbers with histogram; and the choice of splits."""
        kinds = {}
        for name, column in self.catalogue.kinds.items():
            counts = {one["values"]: one["counts"] for one in column.value_counts().to_pylist()}
            if 1 < len(counts) <= MOST_KINDS:
                kinds[name] = dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        numbers = {}
        for name, values in self.catalogue.numbers.items():
            known = values[np.isfinite(values)]
            if known.min() < known.max():
                heights, ends = np.histogram(known, BINS)
                numbers[name] = {"low": float(ends[0]), "high": float(ends[-1]), "counts": heights.tolist()}
        words = {name: unit_and_text(name) for name in (*self.catalogue.kinds, *numbers)}
        found = {"kinds": kinds, "numbers": numbers, "words": words}
        return {"count": len(self.catalogue), "splits": self.splits, **found}

    @property
    def splits(self) -> list[str]:
        """The splits that a list may put instances in."""
        own = self.catalogue.kinds["split"].unique().to_pylist() != [NOTHING]
        return [*(["as it is"] if own else []), *SPLITS]

    def rows(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """A screen of instances, from `start` on, with the value that they are sorted by; with `all` every row."""
        rows, distance = self.catalogue.rows(query)
        if query.get("all"):
            return {"rows": rows.tolist()}
        start = max(int(query.get("start", 0)), 0)
        some = rows[start : start + min(int(query.get("count", 60)), 500)]
        shown = []
        for row in map(int, some):
            value = ""
            if query.get("sort"):
                value = self._text(str(query["sort"]), row)
            elif distance is not None and np.isfinite(distance[row]):
                value = f"{distance[row]:.3f} away"
            elif distance is not None and query.get("near"):
                value = "first"
            shown.append({"row": row, "name": self.catalogue.texts["instance_id"][row].as_py(), "value": value})
        return {"total": len(rows), "rows": shown}

    def _text(self, name: str, row: int) -> str:
        if name in self.catalogue.numbers:
            value = float(self.catalogue.numbers[name][row])
            return NOTHING if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return {**self.catalogue.kinds, **self.catalogue.texts}[name][row].as_py() or NOTHING

    def picture(self, words: Mapping[str, Any]) -> Reply:
        """One instance, small or large, with or without its keypoints."""
        row = self._row(words)
        return self.catalogue.picture(row, SIDES[words["size"]], words.get("dots") == "1"), "image/jpeg", True

    def one(self, words: Mapping[str, Any]) -> dict[str, Any]:
        """All that is known of an instance, and those most like it."""
        row, found = self._row(words), self.catalogue
        names = [*found.texts, *found.kinds, *found.numbers]
        values = [(name, self._text(name, row), *unit_and_text(name)) for name in names]
        near = [{"row": other, "value": f"{apart:.3f} away"} for other, apart in found.similar(row, ALIKE)]
        return {"row": row, "values": [one for one in values if one[1] != NOTHING], "similar": near}

    def _row(self, words: Mapping[str, Any]) -> int:
        row = int(words["row"])
        if not 0 <= row < len(self.catalogue):
            raise UsageError("no such instance", got=row, expected=f"0..{len(self.catalogue) - 1}")
        return row

    def save(self, wanted: Mapping[str, Any]) -> dict[str, str]:
        """Write the chosen instances as a list that build-shards takes, and tell the command.

        Args:
            wanted: rows; name of the file; split: one of `splits`, or "out" to leave them out.

        Raises:
            UsageError: nothing chosen, no such instance, split or file name, or a name that no line of a list can hold.
        """
        rows, split = np.unique(np.asarray(wanted["rows"], dtype=np.int64)), str(wanted["split"])
        if not len(rows):
            raise UsageError("nothing is chosen", hint="choose instances by the boxes in their corners")
        for row in (rows[0], rows[-1]):
            self._row({"row": row})
        if not _NAME.fullmatch(str(wanted["name"])):
            raise UsageError("no name of a file", got=wanted["name"], expected="letters, digits, - _ . and spaces")
        if split not in ("out", *self.splits):
            raise UsageError("no such split", got=split, expected=", ".join(("out", *self.splits)))
        self.lists.mkdir(parents=True, exist_ok=True)
        path = write_text(_free(self.lists / str(wanted["name"])), self._list(rows, split))
        return {"path": str(path), "command": self._command(path, split), "count": str(len(rows))}

    def _list(self, rows: np.ndarray, split: str) -> str:
        lines = [f"# {len(rows)} instances of {str(self.catalogue.found.folder)!r}"]
        for row in rows.tolist():
            name = self.catalogue.texts["instance_id"][row].as_py()
            if not name or name != name.strip() or "\n" in name:
                raise UsageError("a list holds a name a line, without space around it", got=repr(name))
            name = f" {name}" if name.startswith("#") else name
            own = self._text("split", row) if split == "as it is" else split
            lines.append(f"{name},{own}")
        return "\n".join(lines) + "\n"

    def _command(self, path: Path, split: str) -> str:
        """The build that goes on from the list."""
        found = self.catalogue.found
        words = ["dp3d-data", "build-shards", "--input", str(found.folder), "--out", f"{found.folder}-chosen"]
        kept = ["--split", "kept"] if found.kind == SHARDS else []
        words += [*(kept if split == "out" else []), "--split-list", str(path)]
        return shlex.join(words)


def _free(path: Path) -> Path:
    """The path, or with a number behind its name where there is such a file."""
    number, free = 2, path
    while free.exists():
        number, free = number + 1, path.with_stem(f"{path.stem}-{number}")
    return free
