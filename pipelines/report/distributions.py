"""Distributions over instances as charts, and what each vertex of the template has to say, on a template that turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from dp3d_data.geometry.colours import colour_by_vertex
from dp3d_data.geometry.template import Template
from pipelines.report import charts, page
from pipelines.report.facts import Facts
from pipelines.report.markup import html, joined
from pipelines.report.viewer import Layer, share_layer, viewer

# Field of the facts: title, range.
INSTANCES = {
    "visible_area": ("Visible share of the template's area", 0.0, 1.0),
    "visible_vertices": ("Visible vertices", 0.0, None),
    "score": ("Score of the detection", 0.0, 1.0),
    "spread": ("Mean spread of a vertex's pixels, share of the box", 0.0, None),
}
VIEWS = {
    "elevation": ("Elevation of the viewer, degrees", -90.0, 90.0),
    "residual": ("What the rigid template leaves of the keypoints, share of its extent", 0.0, None),
}
_VIEWED = (
    "Where a picture was taken from is read off the closed-form camera: the affine map that fits the visible template vertices to their "
    "keypoints best, and the orthonormal rows nearest to it."
)


def distributions(facts: Sequence[Facts]) -> Markup:
    """Charts of the runs, and folded those of the splits; the splits alone where there is no run."""
    runs, splits = [one for one in facts if one.collection.is_run], [one for one in facts if not one.collection.is_run]
    if not runs or not splits:
        return _charts(runs or splits)
    return _charts(runs) + page.folded("The same by split of the shards", _charts(splits))


def _charts(facts: Sequence[Facts]) -> Markup:
    """A chart for each measure, with one series for each collection."""
    names = page.legend(charts.colours_of([one.name for one in facts]))
    parts = [Markup("<p>Shares of each series; the triangles are medians.</p>"), names, page.grid(_histograms(facts, INSTANCES), 240)]
    views = _histograms(facts, VIEWS)
    if views:
        azimuths = {one.name: one.azimuth for one in facts}
        around = page.figure(charts.rose(azimuths), "Azimuth of the viewer about the template's z axis, 0 along x")
        parts += [page.titled("Viewpoints", html("<p>{}</p>", _VIEWED)), page.grid([around, *views], 320)]
    return joined(parts, "\n")


def _histograms(facts: Sequence[Facts], titles: Mapping[str, tuple[str, float, float | None]]) -> list[Markup]:
    figures = []
    for field, (title, low, high) in titles.items():
        series = {one.name: getattr(one, field) for one in facts}
        if any(np.isfinite(values).any() for values in series.values()):
            figures.append(page.figure(charts.histogram(series, low=low, high=high), title))
    return figures


def template_view(template: Template, facts: Sequence[Facts]) -> Markup:
    """The key to the colours of all keypoints, and how often each vertex is visible."""
    text = f"{template.name}: {template.num_vertices:,} vertices. Each vertex has one colour, wherever its keypoints appear on this page."
    key = Layer("Colours of the vertices", "The key to the colours of all keypoints on this page.", colour_by_vertex(template))
    shares = [share_layer(f"Visible: {one.name}", one.visible_share, one.name) for one in facts if len(one.seen) and len(one)]
    return html("<p>{}</p>{}", text, viewer(template, [key, *shares]))
