"""Charts as inline SVG: histograms of several series and horizontal bars; numbers in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

SERIES = ("#2563eb", "#d97706", "#059669", "#7c3aed")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 340, 170, 8, 24, 10


def histogram(series: Mapping[str, np.ndarray], *, bins: int = 24, low: float | None = None, high: float | None = None) -> str:
    """Histograms over one another, each as shares of its own series, with a tick at each median.

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
    shares = {name: _shares(values, bins, low, high) for name, values in clean.items() if len(values)}
    top = max(float(share.max()) for share in shares.values()) or 1.0
    parts = []
    for colour, (name, share) in zip(SERIES, shares.items(), strict=False):
        parts.append(_bars(share / top, colour))
        parts.append(_median(clean[name], low, high, colour))
    return _framed(parts, low, high)


def _shares(values: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
    counts, _ = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    return counts / max(counts.sum(), 1)


def _bars(heights: np.ndarray, colour: str) -> str:
    """One path for all bars; heights are 0..1."""
    step = (_WIDTH - 2 * _LEFT) / len(heights)
    base, span = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    path = "".join(
        f"M{_LEFT + index * step + 0.5:.1f} {base}v{-span * height:.1f}h{step - 1:.1f}v{span * height:.1f}z"
        for index, height in enumerate(heights)
        if height > 0
    )
    return f'<path d="{path}" fill="{colour}" fill-opacity="0.55"/>'


def _median(values: np.ndarray, low: float, high: float, colour: str) -> str:
    middle = float(np.median(values))
    x = _LEFT + (_WIDTH - 2 * _LEFT) * (min(max(middle, low), high) - low) / (high - low)
    line = f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}" stroke="{colour}" stroke-dasharray="3 2"/>'
    return line + f"<title>median {number(middle)}</title>"


def _framed(parts: list[str], low: float, high: float) -> str:
    base = _HEIGHT - _BOTTOM
    axis = f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _LEFT}" y2="{base}" stroke="#94a3b8"/>'
    labels = ""
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = _LEFT + share * (_WIDTH - 2 * _LEFT)
        labels += f'<text x="{x:.0f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{number(low + share * (high - low))}</text>'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}{axis}{labels}</svg>'


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


def number(value: float) -> str:
    """A short number: three digits that count, thousands grouped."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
