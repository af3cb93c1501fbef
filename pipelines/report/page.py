"""The parts of the page as HTML text: shell, sections, cards, tables, figures, and a little Markdown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pipelines.report.markup import html, joined

STYLE = Markup("""
:root { color-scheme: light; --ink: #0f172a; --soft: #64748b; --line: #e2e8f0; --wash: #f8fafc; --accent: #2563eb; }
* { box-sizing: border-box; }
body { margin: 0; background: white; color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 1160px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 40px; }
h1 { font-size: 28px; margin: 0; letter-spacing: -0.01em; }
header p { color: var(--soft); margin: 6px 0 18px; }
nav { position: sticky; top: 0; background: white; border-bottom: 1px solid var(--line); z-index: 1; }
nav div { max-width: 1160px; margin: 0 auto; padding: 10px 28px; display: flex; gap: 22px; overflow-x: auto; white-space: nowrap; }
nav a { color: var(--soft); text-decoration: none; font-size: 14px; }
nav a:hover { color: var(--accent); }
section { padding: 34px 0 10px; scroll-margin-top: 44px; }
h2 { font-size: 20px; margin: 0 0 12px; }
h2 + p, h2 + h3 { margin-top: -6px; }
h3 { font-size: 15px; margin: 22px 0 6px; }
h4 { font-size: 13px; font-weight: 500; margin: 16px 0 8px; color: var(--soft); }
section > p, details > p, .note { color: var(--soft); max-width: 76ch; margin: 0 0 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin: 14px 0; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; background: var(--wash); }
.card b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.card span { color: var(--soft); font-size: 13px; }
.grid { display: grid; gap: 16px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(var(--cell, 320px), 100%), 1fr)); }
* + .grid { margin-top: 14px; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; background: white; }
figure img { display: block; width: 100%; height: auto; }
figure svg { display: block; width: 100%; padding: 8px 10px 0; }
figcaption { padding: 8px 12px; font-size: 13px; color: var(--soft); border-top: 1px solid var(--line); overflow-wrap: anywhere; }
svg text { font-size: 11px; fill: var(--soft); font-family: inherit; }
table { border-collapse: collapse; font-size: 14px; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; }
.wide { overflow-x: auto; }
.legend { display: flex; gap: 18px; font-size: 13px; color: var(--soft); margin: 0 0 10px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; opacity: .75; }
.legend { flex-wrap: wrap; }
.legend b { color: var(--ink); font-variant-numeric: tabular-nums; }
.flow { display: flex; height: 14px; border-radius: 7px; overflow: hidden; margin: 4px 0 8px; gap: 1px; }
.flow span { flex: 1 1 0; min-width: 3px; }
figcaption small { display: block; color: var(--soft); font-size: 12px; }
figcaption:has(small) { color: var(--ink); font-size: 12px; padding: 6px 10px 8px; }
.viewer canvas { display: block; width: 100%; height: min(60vh, 520px); cursor: grab; touch-action: none; background: var(--wash); }
.viewer canvas:active { cursor: grabbing; }
.viewer canvas:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.viewer .bar { display: flex; flex-wrap: wrap; gap: 6px; padding: 10px 12px; border-bottom: 1px solid var(--line); }
.viewer .stands { display: flex; gap: 6px; margin-left: auto; }
.viewer button { font: inherit; font-size: 13px; padding: 4px 11px; border: 1px solid var(--line); border-radius: 999px;
  background: white; color: var(--soft); cursor: pointer; }
.viewer button:hover { color: var(--accent); border-color: var(--accent); }
.viewer button[aria-pressed="true"] { background: var(--ink); border-color: var(--ink); color: white; }
.viewer figcaption { display: flex; gap: 8px 20px; flex-wrap: wrap; align-items: center; }
.viewer output { color: var(--ink); min-width: 26ch; }
.viewer .hint { margin-left: auto; }
.viewer .scale { display: inline-flex; align-items: center; gap: 8px; }
.viewer .scale[hidden] { display: none; }
.viewer .scale b { font-weight: 500; }
.viewer .scale i { width: 120px; height: 9px; border-radius: 5px;
  background: linear-gradient(to right, rgb(68 1 84), rgb(59 82 139), rgb(33 145 140), rgb(94 201 98), rgb(253 231 37)); }
.none { color: var(--soft); padding: 12px; }
details { margin: 12px 0; } summary { cursor: pointer; color: var(--accent); font-size: 14px; }
footer { color: var(--soft); font-size: 13px; padding: 30px 28px 50px; }
@media print { nav { display: none; } section { break-inside: avoid; } }
""")
# Nothing is fetched, and no script runs but the page's own, which its hash names: whatever else gets in stays text.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><header><h1>{title}</h1><p>{subtitle}</p></header>
<nav><div>{links}</div></nav>
<main>{bodies}</main>
<footer>{footer}</footer><script>{script}</script></body></html>
"""


def page(title: str, subtitle: str, sections: Sequence[tuple[str, Markup]], footer: str, script: str = "") -> bytes:
    """A whole document; `sections` are (heading, inner HTML) and get an entry in the navigation; `script`, a program, comes last."""
    links = joined(html('<a href="#{}">{}</a>', anchor(name), name) for name, _ in sections)
    section = '<section id="{}"><h2>{}</h2>\n{}</section>'
    bodies = joined((html(section, anchor(name), name, inner) for name, inner in sections), "\n")
    policy = POLICY.format(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode())
    words = {"title": title, "subtitle": subtitle, "footer": footer, "policy": policy}
    text = html(_PAGE, style=STYLE, links=links, bodies=bodies, script=Markup(script), **words)
    return text.encode("utf-8", "replace")


def anchor(name: str) -> str:
    """A heading as an address inside the page."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def cards(values: Mapping[str, Any]) -> Markup:
    """Large numbers with their names."""
    shown = ((name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in values.items())
    inner = joined(html('<div class="card"><b>{}</b><span>{}</span></div>', value, name) for name, value in shown)
    return html('<div class="cards">{}</div>', inner)


def figure(content: str, caption: str, words: str = "") -> Markup:
    """A chart, or a picture by its data address, with its caption and more words below it."""
    picture = '<img alt="{}" loading="lazy" src="{}">'
    inner = html(picture, caption, content) if content.startswith("data:") else content
    more = html("<small>{}</small>", words) if words else ""
    below = html("<figcaption>{}{}</figcaption>", caption, more) if caption or words else ""
    return html("<figure>{}{}</figure>", inner, below)


def grid(figures: Iterable[str], cell: int = 320) -> Markup:
    """Figures side by side, each at least `cell` pixels wide."""
    return html('<div class="grid" style="--cell: {}px">{}</div>', cell, joined(figures))


def legend(colours: Mapping[str, str]) -> Markup:
    """Names of series with their colours."""
    items = (html('<span><i style="background: {}"></i>{}</span>', colour, name) for name, colour in colours.items())
    return html('<div class="legend">{}</div>', joined(items))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A plain table."""
    top = joined(html("<th>{}</th>", cell) for cell in head)
    body = joined(html("<tr>{}</tr>", joined(html("<td>{}</td>", cell) for cell in row)) for row in rows)
    return html('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>', top, body)


def folded(title: str, inner: str) -> Markup:
    """Content that opens on a click."""
    return html("<details><summary>{}</summary>{}</details>", title, inner)


def titled(title: str, inner: str = "", level: int = 3) -> Markup:
    """A heading inside a section, and what stands below it."""
    return html("<h{level}>{}</h{level}>{}", title, inner, level=level)


def markdown(text: str) -> Markup:
    """Headings, paragraphs and tables of Markdown; everything else is shown as it is written."""
    parts: list[Markup] = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        while lines and lines[0].startswith("#"):
            parts.append(titled(lines.pop(0).lstrip("#").strip()))
        if lines and all(line.startswith("|") for line in lines):
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            parts.append(table(cells[0], [row for row in cells[1:] if set("".join(row)) - set("-: ")]))
        elif lines:
            parts.append(html('<p class="note">{}</p>', " ".join(lines)))
    return joined(parts, "\n")
