"""Contact sheets: instances over the whole range of scores, the worst by several measures, and those that were left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from dp3d_data.geometry.colours import colour_by_vertex
from dp3d_data.geometry.template import Template
from pipelines.report import charts, page
from pipelines.report.facts import Facts
from pipelines.report.markup import html, joined
from pipelines.report.pictures import crops, jpeg_address

# Field of the facts, whether large is bad, title.
WORST = (
    ("residual", True, "Farthest from the template under any camera", "rigid fit leaves {} of the extent"),
    ("spread", True, "Largest spread of a vertex's pixels", "spread {} of the box"),
    ("visible_area", False, "Least of the surface visible", "visible area {}"),
    ("score", False, "Lowest score", "score {}"),
)


def contact_sheet(facts: Facts, template: Template, limit: int) -> Markup:
    """Instances evenly over the range of scores, best first; those with an image before the others."""
    order = np.lexsort((np.arange(len(facts)), -facts.score, ~facts.pictured))
    pictured = int(facts.pictured.sum())
    order = order[:pictured] if pictured else order
    places = np.linspace(0, max(len(order) - 1, 0), min(limit, len(order))).round().astype(int)
    chosen = [int(order[place]) for place in dict.fromkeys(places.tolist())]
    scored = len(facts) and np.ptp(facts.score) > 0
    words = [(f"score {facts.score[i]:.2f} · " if scored else "") + f"{facts.visible_vertices[i]:,.0f} vertices" for i in chosen]
    return _sheet(facts, chosen, words, template)


def worst(facts: Facts, template: Template, limit: int) -> Markup:
    """The worst instances by each measure that tells them apart."""
    parts = []
    for field, large, title, text in WORST:
        values = getattr(facts, field)
        finite = np.flatnonzero(np.isfinite(values))
        if not len(finite) or np.ptp(values[finite]) == 0:
            continue
        order = finite[np.argsort(-values[finite] if large else values[finite], kind="stable")][:limit]
        words = [text.format(charts.number(float(values[i]))) for i in order]
        parts.append(page.titled(title, _sheet(facts, [int(i) for i in order], words, template), level=4))
    return joined(parts, "\n")


def left_out(facts: Sequence[Facts], rejects: pa.Table, template: Template, limit: int) -> Markup:
    """What build-shards left out, reason by reason, drawn from the runs that have it."""
    reasons: dict[str, dict[str, str]] = {}
    for row in rejects.to_pylist():
        value = "" if row["value"] is None else charts.number(row["value"])
        reasons.setdefault(row["reason"], {})[row["instance_id"]] = f"{row['reason']} {value}".strip()
    parts = []
    for reason, words in sorted(reasons.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        figures: list[Markup] = []
        for one in facts:
            chosen = [index for index, name in enumerate(one.instance_ids) if name in words][: limit - len(figures)]
            figures += _figures(one, chosen, [words[one.instance_ids[index]] for index in chosen], template)
        shown = page.grid(figures, 150) if figures else html('<p class="none">their keypoints are not among the folders shown here</p>')
        parts.append(page.titled(f"{reason.capitalize()}: {len(words):,}", shown))
    return joined(parts, "\n")


def _sheet(facts: Facts, chosen: Sequence[int], words: Sequence[str], template: Template) -> Markup:
    figures = _figures(facts, chosen, words, template)
    return page.grid(figures, 150) if figures else Markup("")


def _figures(facts: Facts, chosen: Sequence[int], words: Sequence[str], template: Template) -> list[Markup]:
    rows = facts.collection.rows(chosen)
    pictures = crops(rows, colour_by_vertex(template))
    return [page.figure(jpeg_address(p, 300), row["instance_id"], text) for p, row, text in zip(pictures, rows, words, strict=True)]
