"""Plots of a report: distributions over instances, one series for each run or split."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from pipelines.report import page
from pipelines.report.sections import Facts

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
            axes.plot(
                np.median(values),
                1.03,
                "v",
                color=colour,
                markersize=5,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    axes.locator_params(nbins=5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter("{x:g} %")
    _plain(axes)
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
    _plain(axes)
    axes.tick_params(axis="x", pad=8)
    return figure


def _look(colour: str) -> dict[str, Any]:
    return {"facecolor": to_rgba(colour, 0.16), "edgecolor": colour, "linewidth": 1.0, "fill": True}


def _plain(axes: Axes) -> None:
    """Grey lines and numbers."""
    axes.spines[:].set_color("#cbd5e1")
    axes.tick_params(colors="#64748b", width=0.6, labelsize=8)
    axes.grid(True, color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
