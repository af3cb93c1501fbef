"""Charts as inline SVG: histograms, roses of directions, bars and flows; numbers in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from pipelines.report.markup import html, joined

SERIES = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#0891b2")
KEPT, LEFT_OUT, FAILED = "#059669", "#d97706", "#dc2626"
NO_VALUES = Markup('<p class="none">no values</p>')
# A drawing of a width and height, and the path of one series in its colour.
_DRAWING = '<svg viewBox="0 0 {} {}" role="img">{}</svg>'
_SERIES = '<path d="{}" fill="{colour}" fill-opacity="0.16" stroke="{colour}" stroke-width="1.4" stroke-linejoin="round"/>'
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 340, 180, 42, 24, 16


def histogram(series: Mapping[str, np.ndarray], *, bins: int = 24, low: float | None = None, high: float | None = None) -> Markup:
    """Outlined histograms over one another, each as shares of its own series, with a tick at each median.

    Args:
        series: name -> values; numbers that are not finite are left out.
        low, high: range of the axis; by default that of the values.
    """
    clean = {name: np.asarray(values, dtype=np.float64) for name, values in series.items()}
    clean = {name: values[np.isfinite(values)] for name, values in clean.items()}
    everything = np.concatenate([np.zeros(0), *clean.values()])
    if not len(everything):
        return NO_VALUES
    low = float(everything.min()) if low is None else low
    high = max(float(everything.max()) if high is None else high, low + 1e-9)
    shares = {name: _shares(values, bins, low, high) for name, values in clean.items()}
    top = max(float(share.max()) for share in shares.values()) or 1.0
    parts = [_axes(low, high, top)]
    for colour, (name, share) in zip(_colours(shares), shares.items(), strict=True):
        if len(clean[name]):
            parts.append(_outline(share / top, colour))
            parts.append(_median(name, clean[name], low, high, colour))
    return html(_DRAWING, _WIDTH, _HEIGHT, joined(parts))


def _colours(series: Mapping[str, object]) -> list[str]:
    return [SERIES[index % len(SERIES)] for index in range(len(series))]


def colours_of(names: list[str]) -> dict[str, str]:
    """The colour of each series, as the charts of these names use them."""
    return dict(zip(names, _colours(dict.fromkeys(names)), strict=True))


def _shares(values: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
    counts, _ = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    return counts / max(counts.sum(), 1)


def _outline(heights: np.ndarray, colour: str) -> Markup:
    """The silhouette of all bars; heights are 0..1."""
    step = (_WIDTH - _LEFT - 8) / len(heights)
    base, span = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    path = f"M{_LEFT} {base}" + "".join(f"V{base - span * height:.1f}h{step:.2f}" for height in heights) + f"V{base}z"
    return html(_SERIES, path, colour=colour)


def _median(name: str, values: np.ndarray, low: float, high: float, colour: str) -> Markup:
    middle = float(np.median(values))
    x = _LEFT + (_WIDTH - _LEFT - 8) * (min(max(middle, low), high) - low) / (high - low)
    text = f"{name}: median {number(middle)}"
    return html('<path d="M{:.1f} {}l-4 -7h8z" fill="{}"><title>{}</title></path>', x, _TOP - 3, colour, text)


def _axes(low: float, high: float, top: float) -> Markup:
    base, span, across = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP, _WIDTH - _LEFT - 8
    line = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>'
    text = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    parts = []
    for value in ticks(0.0, 100 * top, 3):
        y = base - span * value / (100 * top)
        parts.append(html(line, _LEFT, y, _WIDTH - 8, y, "#e2e8f0"))
        parts.append(html(text, _LEFT - 5, y + 4, "end", f"{number(value)} %"))
    for value in ticks(low, high, 5):
        x = _LEFT + across * (value - low) / (high - low)
        parts.append(html(line, x, base, x, base + 4, "#94a3b8"))
        parts.append(html(text, x, _HEIGHT - 7, "middle", number(value)))
    return joined([*parts, html(line, _LEFT, base, _WIDTH - 8, base, "#94a3b8")])


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers inside low..high, evenly spaced by 1, 2 or 5 times a power of ten."""
    raw = max(high - low, 1e-12) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def rose(series: Mapping[str, np.ndarray], *, wedges: int = 24) -> Markup:
    """Directions in degrees around a circle: the area of a wedge is its share; 0 points up, 90 to the left.

    Args:
        series: name -> azimuths; numbers that are not finite are left out.
    """
    clean = {name: np.asarray(values)[np.isfinite(values)] for name, values in series.items()}
    shares = {name: np.bincount(_wedge(values, wedges), minlength=wedges) / max(len(values), 1) for name, values in clean.items()}
    top = max((float(share.max()) for share in shares.values()), default=0.0)
    if not top:
        return NO_VALUES
    x, y, radius = 170, 112, 86
    circle = '<circle cx="{}" cy="{}" r="{:.0f}" fill="none" stroke="#e2e8f0"/>'
    parts = [html(circle, x, y, radius * share) for share in (0.5, 1.0)]
    for colour, share in zip(_colours(shares), shares.values(), strict=True):
        parts.append(html(_SERIES, _petals(np.sqrt(share / top) * radius, x, y), colour=colour))
    for text, angle in (("0° front", 0), ("90° left", 90), ("180° back", 180), ("-90° right", 270)):
        u, v = -math.sin(math.radians(angle)), -math.cos(math.radians(angle))
        anchor = "middle" if abs(u) < 0.5 else "end" if u < 0 else "start"
        place = x + (radius + 8) * u, y + (radius + 12) * v + 4
        parts.append(html('<text x="{:.0f}" y="{:.0f}" text-anchor="{}">{}</text>', *place, anchor, text))
    return html(_DRAWING, 340, 224, joined(parts))


def _wedge(azimuth: np.ndarray, wedges: int) -> np.ndarray:
    """The wedge of each direction; wedge 0 is centred on 0 degrees."""
    return np.floor(azimuth * wedges / 360 + 0.5).astype(np.int64) % wedges


def _petals(radii: np.ndarray, x: float, y: float) -> str:
    """The outline of all wedges, counter-clockwise from the top."""
    half = math.pi / len(radii)
    parts: list[str] = []
    for index, radius in enumerate(radii):
        ends = [2 * half * index + side * half for side in (-1, 1)]
        (ax, ay), (bx, by) = ((x - radius * math.sin(a), y - radius * math.cos(a)) for a in ends)
        parts.append(f"{'L' if parts else 'M'}{ax:.1f} {ay:.1f}A{radius:.1f} {radius:.1f} 0 0 0 {bx:.1f} {by:.1f}")
    return "".join(parts) + "z"


def bars(counts: Mapping[str, int], colour: str = SERIES[0]) -> Markup:
    """Horizontal bars with their names and counts."""
    if not counts:
        return Markup('<p class="none">none</p>')
    top, row = max(max(counts.values()), 1), 26
    lines = []
    for index, (name, count) in enumerate(counts.items()):
        y, width = index * row, 150 * count / top
        lines.append(html('<text x="150" y="{}" text-anchor="end">{}</text>', y + 17, name))
        lines.append(html('<rect x="158" y="{}" width="{:.1f}" height="16" rx="2" fill="{}"/>', y + 5, max(width, 1), colour))
        lines.append(html('<text x="{:.1f}" y="{}">{:,}</text>', 164 + width, y + 17, count))
    return html(_DRAWING, 380, row * len(counts), joined(lines))


def flow(parts: Mapping[str, tuple[int, str]]) -> Markup:
    """One bar for a whole, cut into named parts with their counts and colours; empty parts are left out."""
    total = sum(count for count, _ in parts.values())
    shown = {name: pair for name, pair in parts.items() if pair[0]}
    cell = '<span style="flex-grow: {}; background: {}" title="{}"></span>'
    entry = '<span><i style="background: {}"></i>{} <b>{:,}</b></span>'
    cells = joined(html(cell, count, colour, f"{name}: {count:,} of {total:,}") for name, (count, colour) in shown.items())
    names = joined(html(entry, colour, name, count) for name, (count, colour) in shown.items())
    return html('<div class="flow">{}</div><div class="legend">{}</div>', cells, names)


def number(value: float) -> str:
    """A short number: three digits that count, thousands grouped."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
