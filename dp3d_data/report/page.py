"""The parts of the page as HTML text: shell, sections, cards, tables, figures, and a little Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
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
"""


def page(title: str, subtitle: str, sections: Sequence[tuple[str, str]], footer: str, script: str = "") -> str:
    """A whole document; `sections` are (heading, inner HTML) and get an entry in the navigation; `script` comes last."""
    links = "".join(f'<a href="#{anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    bodies = "\n".join(f'<section id="{anchor(name)}"><h2>{escape(name)}</h2>\n{inner}</section>' for name, inner in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>\n<nav><div>{links}</div></nav>\n"
        f"<main>{bodies}</main>\n<footer>{escape(footer)}</footer>{script}</body></html>\n"
    )


def anchor(name: str) -> str:
    """A heading as an address inside the page."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def cards(values: Mapping[str, Any]) -> str:
    """Large numbers with their names."""
    shown = ((name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in values.items())
    inner = "".join(f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in shown)
    return f'<div class="cards">{inner}</div>'


def figure(content: str, caption: str, words: str = "") -> str:
    """A chart, or a picture by its data address, with its caption and more words below it."""
    inner = f'<img alt="{escape(caption)}" loading="lazy" src="{content}">' if content.startswith("data:") else content
    more = f"<small>{escape(words)}</small>" if words else ""
    below = f"<figcaption>{escape(caption)}{more}</figcaption>" if caption or words else ""
    return f"<figure>{inner}{below}</figure>"


def grid(figures: Iterable[str], cell: int = 320) -> str:
    """Figures side by side, each at least `cell` pixels wide."""
    return f'<div class="grid" style="--cell: {cell}px">{"".join(figures)}</div>'


def legend(colours: Mapping[str, str]) -> str:
    """Names of series with their colours."""
    items = "".join(f'<span><i style="background: {colour}"></i>{escape(name)}</span>' for name, colour in colours.items())
    return f'<div class="legend">{items}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A plain table; every cell is escaped."""
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def folded(title: str, inner: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def markdown(text: str) -> str:
    """Headings, paragraphs and tables of Markdown; everything else is shown as it is written."""
    parts: list[str] = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        while lines and lines[0].startswith("#"):
            parts.append(f"<h3>{escape(lines.pop(0).lstrip('#').strip())}</h3>")
        if lines and all(line.startswith("|") for line in lines):
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            parts.append(table(cells[0], [row for row in cells[1:] if set("".join(row)) - set("-: ")]))
        elif lines:
            parts.append(f'<p class="note">{escape(" ".join(lines))}</p>')
    return "\n".join(parts)
