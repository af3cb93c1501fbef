"""All instances of shards or of a run in columns: found by values, sorted, by likeness; each with its picture."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Complex, Float, Int

from dp3d_data.datasets.images import local_pixels
from dp3d_data.errors import NothingToDo
from dp3d_data.filters import FilterConfig, judge
from dp3d_data.geometry.renderer import colour_by_vertex
from dp3d_data.geometry.template import Template
from dp3d_data.shards.index import COLUMNS, measure
from dp3d_data.shards.inputs import Input, Partition, partitions
from dp3d_data.shards.likeness import distances, near_duplicates, patches_of, shapes_of
from dp3d_data.shards.schema import COLUMNS as SCHEMA
from dp3d_data.shards.table import KEYPOINT_COLUMNS, list_values
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

    found: Input
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
    def read(folder: str | Path, done: Callable[[int], None] = lambda _: None) -> Catalogue:
        """Read and measure all instances; keypoints are not kept.

        Args:
            done: told of so many more that are read.

        Raises:
            InputMissing, ShardError: no finished run or shards, or a file is gone or damaged; names it.
        """
        found = Input.open(folder)
        template, groups = found.load_template(), partitions([found], partition_bytes=0)
        patches, stored, made, shapes = patches_of(template), [], [], []
        for group in groups:
            group.check_files()
            for table in group.tables(_READ):
                stored.append(table.select([*TEXTS, *KINDS, *STORED, "box_x0", "box_y0", "box_x1", "box_y1"]))
                made.append(_measured(table, template))
                shapes.append(shapes_of(table, patches))
                done(table.num_rows)
        if not sum(map(len, stored)):
            raise NothingToDo("no instances to look at", path=found.folder)
        table = pa.concat_tables(stored).combine_chunks()
        columns = {name: np.concatenate([one[name] for one in made]) for name in made[0]}
        numbers = {name: _numbers(table.column(name)) for name in STORED} | columns
        numbers["box_side"] = np.maximum(
            *(_numbers(table.column(f"box_{axis}1")) - _numbers(table.column(f"box_{axis}0")) for axis in "xy")
        )
        kinds = {name: table.column(name).combine_chunks().fill_null(NOTHING) for name in KINDS}
        for name in ("view", "left_out"):
            kinds[name] = pa.array(numbers.pop(name).tolist(), pa.string())
        texts = {name: table.column(name).combine_chunks().fill_null("") for name in TEXTS}
        rows = [group for group in groups if group.rows]
        return Catalogue(found, template, texts, kinds, _known(numbers), np.concatenate(shapes), rows)

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
        stream = io.BytesIO()
        instance_crop(pixels, row_shown, self.colours, side, PALE if shown else 0).save(stream, "JPEG", quality=84)
        return stream.getvalue()


@lru_cache(4)
def _photograph(path: str) -> np.ndarray | None:
    """Several instances of a photograph are asked for one after the other."""
    return local_pixels(path)


def _numbers(column: pa.ChunkedArray) -> Float[np.ndarray, "N"]:
    return column.cast(pa.float64()).combine_chunks().fill_null(float("nan")).to_numpy(zero_copy_only=False)


def _known(numbers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns that say something, those measured first."""
    order = [*(name for name in MADE if name in numbers), *(name for name in numbers if name not in MADE)]
    return {name: numbers[name] for name in order if np.isfinite(numbers[name]).any()}


def _measured(table: pa.Table, template: Template) -> dict[str, np.ndarray]:
    """The columns of MADE but the box's side; `facts` and the filters know most of them."""
    measures, facts = measure(table), measured(table, template)
    reasons, _ = judge(FilterConfig(), measures)
    found = {name: np.asarray(facts[name], np.float64) for name in ("azimuth", "elevation", "residual")}
    found |= {name: np.asarray(getattr(measures, name), np.float64) for name in ("visible_vertices", "spread", "edges")}
    found["cycle"] = np.where(table.column("cycle").is_valid().to_numpy(), measures.cycle, np.nan)
    found["confidence"] = _row_means(table.column("confidence"))
    found["view"] = views(found["azimuth"], found["elevation"])
    found["left_out"] = np.array([reason or KEPT for reason in reasons], dtype=object)
    return found


def _row_means(lists: pa.ChunkedArray) -> Float[np.ndarray, "N"]:
    """The mean of each list, NaN where there is none."""
    offsets, values = list_values(lists)
    counts = np.diff(offsets)
    total = np.bincount(np.repeat(np.arange(len(counts)), counts), weights=values, minlength=len(counts))
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def views(azimuth: Float[np.ndarray, "N"], elevation: Float[np.ndarray, "N"]) -> np.ndarray:
    """Where the viewer stands, in words: within 45 degrees of front, left, right or rear, or steeply above or below."""
    turn = np.abs(azimuth)
    cases = [np.isnan(azimuth), elevation > STEEP, elevation < -STEEP, turn < 45, turn > 135, azimuth > 0]
    return np.select(cases, [NOTHING, "above", "below", "front", "rear", "left"], "right").astype(object)


def unit_and_text(name: str) -> tuple[str, str]:
    """The unit of a column, and what it says."""
    return MADE[name] if name in MADE else (SCHEMA[name].unit, SCHEMA[name].text)
