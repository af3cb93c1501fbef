"""The parts of a page as HTML text: shell, sections, cards, tables, pictures, plots, Markdown, bodies to turn."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from dp3d_data.datasets.images import read_image
from dp3d_data.geometry.renderer import colour_by_value

# Nothing is fetched, and no script runs but the page's own, which its hash names: whatever else gets in stays text.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; "
    "base-uri 'none'; form-action 'none'"
)
# Of a page that a command serves: its own pictures and answers too.
SERVED = POLICY.replace("img-src data:", "img-src data: 'self'") + "; connect-src 'self'"
_WHOLE = {".png": "image/png", ".gif": "image/gif", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_LARGEST, _LARGEST_ANIMATION = 1_500_000, 20_000_000
# Ids follow from the content alone, so that a plot has the same bytes each time; its words stay text.
_PLOT: dict[Any, Any] = {"svg.hashsalt": "dp3d", "svg.fonttype": "none"}


def html(template: str, /, *parts: object, **named: object) -> Markup:
    """A template with its {} and {names} filled: the one place that escapes what is no Markup itself."""
    return Markup(template).format(*parts, **named)


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """Parts one after the other; those that are no Markup are escaped."""
    return Markup(between).join(parts)


def asset(name: str) -> str:
    """A text file of this package."""
    return files("pipelines.report").joinpath(name).read_text(encoding="utf-8")


def page(
    title: str,
    subtitle: str,
    sections: Sequence[tuple[str, Markup]],
    footer: str,
    script: str = "",
    served: bool = False,
) -> bytes:
    """A whole document of (heading, inner HTML), each with an entry in the navigation; `script`, a program, is last.

    Args:
        served: by a command, of which it asks more; otherwise the page fetches nothing.
    """
    links = joined(html('<a href="#{}">{}</a>', anchor(name), name) for name, _ in sections)
    section = '<section id="{}"><h2>{}</h2>\n{}</section>'
    bodies = joined((html(section, anchor(name), name, inner) for name, inner in sections), "\n")
    policy = (SERVED if served else POLICY).format(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode())
    icon = Markup('<link rel="icon" href="data:,">') if served else ""  # of which a server would be asked
    words = {"icon": icon, "title": title, "subtitle": subtitle, "footer": footer, "policy": policy}
    parts = {"style": Markup(asset("page.css")), "links": links, "bodies": bodies, "script": Markup(script)}
    return html(asset("page.html"), **words, **parts).encode("utf-8", "replace")


def anchor(name: str) -> str:
    """A heading as an address inside the page."""
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")


def cards(values: Mapping[str, Any]) -> Markup:
    """Large numbers with their names."""
    shown = ((name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in values.items())
    inner = joined(html('<div class="card"><b>{}</b><span>{}</span></div>', value, name) for name, value in shown)
    return html('<div class="cards">{}</div>', inner)


def figure(address: str, caption: str, words: str = "") -> Markup:
    """A picture by its data address, with its caption and more words below it."""
    more = html("<small>{}</small>", words) if words else ""
    below = html("<figcaption>{}{}</figcaption>", caption, more) if caption or words else ""
    return html('<figure><img alt="{}" loading="lazy" src="{}">{}</figure>', caption, address, below)


def plot(drawn: Figure, caption: str, words: str = "") -> Markup:
    """A figure of matplotlib as SVG, with its caption and more words below it; the same figure has the same bytes."""
    stream = io.BytesIO()
    with matplotlib.rc_context(_PLOT):
        drawn.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return figure(_address("image/svg+xml", stream.getvalue()), caption, words)


def jpeg_address(image: Image.Image, max_side: int = 720, quality: int = 86) -> str:
    """An image as a JPEG data address, made smaller where it is larger than max_side."""
    return _address("image/jpeg", jpeg_bytes(image.convert("RGB"), max_side, quality))


def jpeg_bytes(image: Image.Image, max_side: int, quality: int) -> bytes:
    """An image as JPEG, made smaller where it is larger than max_side."""
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def shown_file(path: Path, max_side: int = 1200) -> tuple[str, bool]:
    """The data address of a picture file, as it is where small or animated, else as a JPEG; and whether it is wide.

    Raises:
        InputMissing, InputCorrupt: no picture of a format that is read, or too large.
    """
    pixels = read_image(path).pixels
    wide, kind = pixels.shape[1] > 2 * pixels.shape[0], path.suffix.lower()
    if kind in _WHOLE and path.stat().st_size <= (_LARGEST_ANIMATION if kind == ".gif" else _LARGEST):
        return _address(_WHOLE[kind], path.read_bytes()), wide
    return jpeg_address(Image.fromarray(pixels), max_side), wide


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def grid(figures: Sequence[str], cell: int = 320) -> Markup:
    """Figures side by side, each at least `cell` pixels wide; nothing where there is none."""
    if not figures:
        return Markup("")
    return html('<div class="grid" style="--cell: {}px">{}</div>', cell, joined(figures))


def legend(colours: Mapping[str, str], words: Mapping[str, str] | None = None) -> Markup:
    """Names of series or parts with their colours and, in bold, more words."""
    entry = '<span><i style="background: {}"></i>{} <b>{}</b></span>'
    items = (html(entry, colour, name, (words or {}).get(name, "")) for name, colour in colours.items())
    return html('<div class="legend">{}</div>', joined(items))


def flow(parts: Mapping[str, tuple[int, str]]) -> Markup:
    """One bar for a whole, cut into named parts with their counts and colours; empty parts are left out."""
    total = sum(count for count, _ in parts.values())
    shown = {name: pair for name, pair in parts.items() if pair[0]}
    cell = '<span style="flex-grow: {}; background: {}" title="{}"></span>'
    titles = {name: f"{name}: {count:,} of {total:,}" for name, (count, _) in shown.items()}
    cells = joined(html(cell, count, colour, titles[name]) for name, (count, colour) in shown.items())
    names = legend({name: colour for name, (_, colour) in shown.items()}, {n: f"{shown[n][0]:,}" for n in shown})
    return html('<div class="flow">{}</div>{}', cells, names)


def number(value: float) -> str:
    """A short number: three digits that count, thousands grouped."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A plain table."""
    top = joined(html("<th>{}</th>", cell) for cell in head)
    body = joined(html("<tr>{}</tr>", joined(html("<td>{}</td>", cell) for cell in row)) for row in rows)
    return html('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>', top, body)


def folded(title: str, inner: str) -> Markup:
    """Content that opens on a click."""
    return html("<details><summary>{}</summary>{}</details>", title, inner)


def written(text: str) -> Markup:
    """A text as it is written."""
    return html("<pre>{}</pre>", text)


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


SCRIPT = asset("viewer.js")
# Azimuth and elevation of the viewer in degrees; x forward, y left, z up.
VIEWS = {"front": (0, 0), "left": (90, 0), "back": (180, 0), "right": (-90, 0), "above": (0, 90)}
_VIEWER = (
    '<div class="viewer"><div class="bar">{}<span class="views">{}</span><div class="told"><output></output>{}'
    '<span class="hint">drag, arrow keys turn · shift and wheel, + and - zoom · double click resets</span></div></div>'
    '<div class="bodies">{}</div><script type="application/json">{}</script></div>'
)
_BODY = '<figure><div class="row">{}</div>{}<script type="application/json">{}</script></figure>'
_TURNING = '<canvas class="turn" tabindex="0" role="img" aria-label="{}: drag to turn"></canvas>'


@dataclass(frozen=True)
class Layer:
    """One colouring, for which each body brings an array under this title.

    Attributes:
        title: on its button.
        text: what it shows, in a sentence.
        top: value at the end of the colours, where the arrays are values; 0 where they are colours.
        factor, unit: what a value is multiplied by before it is told, and the unit that it has then.
        names: colours that have names.
        dots: title of the layer whose colours the keypoints take; this one's where empty.
    """

    title: str
    text: str
    top: float = 0.0
    factor: float = 1.0
    unit: str = ""
    names: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    dots: str = ""


@dataclass(frozen=True)
class Body:
    """One body.

    Attributes:
        vertices: template frame.
        caption: its name, and what is known of it; below it where `seen`.
        arrays: title of a layer -> RGB [K, 3] uint8, or values [K].
        before: as it was before the last step, from a camera of its own in `seen`; a button shows it.
        seen: photograph (a data address or None), ids, keypoints, camera, scale and shift, see `view.py`; None for the
            body alone.
    """

    vertices: Float[np.ndarray, "K 3"]
    caption: str
    arrays: Mapping[str, np.ndarray]
    seen: Mapping[str, Any] | None = None
    before: Body | None = None


def viewer(
    faces: Int[np.ndarray, "F 3"], layers: Sequence[Layer], bodies: Sequence[Body], stages: tuple[str, str] = ("", "")
) -> Markup:
    """The bodies of one topology; the page needs the program SCRIPT once at its end.

    Args:
        stages: what the buttons say that show the bodies as they were before, and as they are.
    """
    shared = {
        "faces": packed(faces, "<i4"),
        "ramp": packed(colour_by_value(np.linspace(0, 1, 256)), "u1"),
        "layers": [asdict(layer) for layer in layers],
    }
    buttons = joined(html('<button type="button" data-layer="{0}">{0}</button>', layer.title) for layer in layers)
    if any(body.before for body in bodies):
        stage = '<button type="button" data-stage="{}">{}</button>'
        buttons += html('<span class="stages">{}</span>', joined(html(stage, i, name) for i, name in enumerate(stages)))
    button = '<button type="button" data-view="{} {}">{}</button>'
    views = joined(html(button, azimuth, elevation, name) for name, (azimuth, elevation) in VIEWS.items())
    return html(_VIEWER, buttons, views, joined(map(_legend, layers)), joined(map(_figure, bodies)), safe_json(shared))


def _legend(layer: Layer) -> Markup:
    """What the colours of a layer mean; nothing where they are their own key."""
    inner = joined(html('<i style="background: rgb{}"></i>{}', colour, name) for name, colour in layer.names.items())
    if layer.top:
        stops = ", ".join(f"rgb{tuple(colour)}" for colour in colour_by_value(np.linspace(0, 1, 9)).tolist())
        ramp = '<b>0</b><i class="ramp" style="background: linear-gradient(to right, {})"></i><b>{:.3g} {}</b>'
        inner = html(ramp, stops, layer.top * layer.factor, layer.unit)
    return html('<span class="scale" data-layer="{}" hidden>{}</span>', layer.title, inner) if inner else Markup("")


def _figure(body: Body) -> Markup:
    """The canvases of a body: where it was seen its keypoints, the body over them and alone; last it turns."""
    shown = [body.before, body] if body.before else [body]
    names = ("keypoints", "over", "alone") if body.seen else ()
    canvases = joined(html('<canvas class="{}"></canvas>', name) for name in names) + html(_TURNING, body.caption)
    captions = joined(html("<figcaption>{}</figcaption>", one.caption) for one in shown if body.seen)
    return html(_BODY, canvases, captions, safe_json([_data(one) for one in shown]))


def _data(body: Body) -> dict[str, Any]:
    return {
        "vertices": packed(body.vertices, "<f4"),
        "values": {title: packed(values, "<f4") for title, values in body.arrays.items() if values.ndim == 1},
        "colours": {title: packed(colours, "u1") for title, colours in body.arrays.items() if colours.ndim == 2},
        "seen": body.seen,
    }


def safe_json(data: object) -> Markup:
    """JSON that no HTML parser takes for a tag."""
    return Markup(
        json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )


def packed(values: np.ndarray, kind: str) -> str:
    """The bytes of an array as text."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()
