"""Charts as inline SVG: histograms, roses of directions, bars and flows; numbers in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np

SERIES = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#0891b2")
KEPT, LEFT_OUT, FAILED = "#059669", "#d97706", "#dc2626"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 340, 180, 42, 24, 16


def histogram(series: Mapping[str, np.ndarray], *, bins: int = 24, low: float | None = None, high: float | None = None) -> str:
    """Outlined histograms over one another, each as shares of its own series, with a tick at each median.

    Args:
        series: name -> values; numbers that are not finite are left out.
        low, high: range of the axis; by default that of the values.
    """
    clean = {name: np.asarray(values, dtype=np.float64) for name, values in series.items()}
    clean = {name: values[np.isfinite(values)] for name, values in clean.items()}
    everything = np.concatenate([np.zeros(0), *clean.values()])
    if not len(everything):
        return '<p class="none">no values</p>'
    low = float(everything.min()) if low is None else low
    high = max(float(everything.max()) if high is None else high, low + 1e-9)
    shares = {name: _shares(values, bins, low, high) for name, values in clean.items()}
    top = max(float(share.max()) for share in shares.values()) or 1.0
    parts = [_axes(low, high, top)]
    for colour, (name, share) in zip(_colours(shares), shares.items(), strict=True):
        if len(clean[name]):
            parts.append(_outline(share / top, colour))
            parts.append(_median(name, clean[name], low, high, colour))
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _colours(series: Mapping[str, object]) -> list[str]:
    return [SERIES[index % len(SERIES)] for index in range(len(series))]


def colours_of(names: list[str]) -> dict[str, str]:
    """The colour of each series, as the charts of these names use them."""
    return dict(zip(names, _colours(dict.fromkeys(names)), strict=True))


def _shares(values: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
    counts, _ = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    return counts / max(counts.sum(), 1)


def _outline(heights: np.ndarray, colour: str) -> str:
    """The silhouette of all bars; heights are 0..1."""
    step = (_WIDTH - _LEFT - 8) / len(heights)
    base, span = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    path = f"M{_LEFT} {base}" + "".join(f"V{base - span * height:.1f}h{step:.2f}" for height in heights) + f"V{base}z"
    return f'<path d="{path}" fill="{colour}" fill-opacity="0.16" stroke="{colour}" stroke-width="1.4" stroke-linejoin="round"/>'


def _median(name: str, values: np.ndarray, low: float, high: float, colour: str) -> str:
    middle = float(np.median(values))
    x = _LEFT + (_WIDTH - _LEFT - 8) * (min(max(middle, low), high) - low) / (high - low)
    text = f"{escape(name)}: median {number(middle)}"
    return f'<path d="M{x:.1f} {_TOP - 3}l-4 -7h8z" fill="{colour}"><title>{text}</title></path>'


def _axes(low: float, high: float, top: float) -> str:
    base, span, across = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP, _WIDTH - _LEFT - 8
    parts = []
    for value in ticks(0.0, 100 * top, 3):
        y = base - span * value / (100 * top)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - 8}" y2="{y:.1f}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{number(value)} %</text>')
    for value in ticks(low, high, 5):
        x = _LEFT + across * (value - low) / (high - low)
        parts.append(f'<line x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base + 4}" stroke="#94a3b8"/>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 7}" text-anchor="middle">{number(value)}</text>')
    return "".join(parts) + f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - 8}" y2="{base}" stroke="#94a3b8"/>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers inside low..high, evenly spaced by 1, 2 or 5 times a power of ten."""
    raw = max(high - low, 1e-12) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def rose(series: Mapping[str, np.ndarray], *, wedges: int = 24) -> str:
    """Directions in degrees around a circle: the area of a wedge is its share; 0 points up, 90 to the left.

    Args:
        series: name -> azimuths; numbers that are not finite are left out.
    """
    clean = {name: np.asarray(values)[np.isfinite(values)] for name, values in series.items()}
    shares = {name: np.bincount(_wedge(values, wedges), minlength=wedges) / max(len(values), 1) for name, values in clean.items()}
    top = max((float(share.max()) for share in shares.values()), default=0.0)
    if not top:
        return '<p class="none">no values</p>'
    x, y, radius = 170, 112, 86
    parts = [f'<circle cx="{x}" cy="{y}" r="{radius * share:.0f}" fill="none" stroke="#e2e8f0"/>' for share in (0.5, 1.0)]
    for colour, share in zip(_colours(shares), shares.values(), strict=True):
        path = _petals(np.sqrt(share / top) * radius, x, y)
        parts.append(f'<path d="{path}" fill="{colour}" fill-opacity="0.16" stroke="{colour}" stroke-width="1.4" stroke-linejoin="round"/>')
    for text, angle in (("0° front", 0), ("90° left", 90), ("180° back", 180), ("-90° right", 270)):
        u, v = -math.sin(math.radians(angle)), -math.cos(math.radians(angle))
        anchor = "middle" if abs(u) < 0.5 else "end" if u < 0 else "start"
        parts.append(f'<text x="{x + (radius + 8) * u:.0f}" y="{y + (radius + 12) * v + 4:.0f}" text-anchor="{anchor}">{text}</text>')
    return f'<svg viewBox="0 0 340 224" role="img">{"".join(parts)}</svg>'


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


def bars(counts: Mapping[str, int], colour: str = SERIES[0]) -> str:
    """Horizontal bars with their names and counts."""
    if not counts:
        return '<p class="none">none</p>'
    top, row = max(max(counts.values()), 1), 26
    lines = []
    for index, (name, count) in enumerate(counts.items()):
        y, width = index * row, 150 * count / top
        lines.append(f'<text x="150" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="158" y="{y + 5}" width="{max(width, 1):.1f}" height="16" rx="2" fill="{colour}"/>')
        lines.append(f'<text x="{164 + width:.1f}" y="{y + 17}">{count:,}</text>')
    return f'<svg viewBox="0 0 380 {row * len(counts)}" role="img">{"".join(lines)}</svg>'


def flow(parts: Mapping[str, tuple[int, str]]) -> str:
    """One bar for a whole, cut into named parts with their counts and colours; empty parts are left out."""
    total = sum(count for count, _ in parts.values())
    shown = {name: pair for name, pair in parts.items() if pair[0]}
    cells = "".join(
        f'<span style="flex-grow: {count}; background: {colour}" title="{escape(name)}: {count:,} of {total:,}"></span>'
        for name, (count, colour) in shown.items()
    )
    names = "".join(
        f'<span><i style="background: {colour}"></i>{escape(name)} <b>{count:,}</b></span>' for name, (count, colour) in shown.items()
    )
    return f'<div class="flow">{cells}</div><div class="legend">{names}</div>'


def number(value: float) -> str:
    """A short number: three digits that count, thousands grouped."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
